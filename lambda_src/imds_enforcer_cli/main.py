"""The command with its sub-commands, and its exit codes: 0 done, 1 findings or failures, 2 usage or access."""

import sys
from typing import Any, NoReturn

import typer
from botocore.exceptions import BotoCoreError
from typer.core import TyperGroup

from imds_enforcer.failures import AwsError
from imds_enforcer_cli.history import history
from imds_enforcer_cli.hold import hold, release
from imds_enforcer_cli.output import say
from imds_enforcer_cli.revert import revert

_USAGE_OR_ACCESS = 2
_INTERRUPTED = 130


class _Commands(TyperGroup):
    """Says in one line what the user of a command can mend, and leaves tracebacks to faults of its own."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run one sub-command; the process ends with its exit code."""
        options["standalone_mode"] = False
        try:
            status = super().main(*args, **options)
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context else ""
            say(f"imds-enforcer: {error.format_message()}{hint}")
            status = _USAGE_OR_ACCESS
        except (AwsError, BotoCoreError) as error:
            say(f"imds-enforcer: {error}")
            status = _USAGE_OR_ACCESS
        except typer.Abort:
            status = _INTERRUPTED
        sys.exit(status or 0)


app = typer.Typer(
    name="imds-enforcer",
    cls=_Commands,
    help="What the enforcer did to the EC2 instances of this account, and the way back.",
    epilog="Example: imds-enforcer history --since 1 --region eu-west-1",
    rich_markup_mode="markdown",  # which joins the lines of a paragraph
    pretty_exceptions_enable=False,
)


app.command(epilog="Example: imds-enforcer history i-0123456789abcdef0")(history)
app.command(epilog="Example: imds-enforcer revert i-0123456789abcdef0 --dry-run")(revert)
app.command(epilog="Example: imds-enforcer hold i-0123456789abcdef0 --until 2027-06-30 --reason migration")(hold)
app.command(epilog="Example: imds-enforcer release i-0123456789abcdef0")(release)
