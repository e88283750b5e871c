"""How every sub-command ends: 0 done, 1 findings or failures, 2 usage or access."""

import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from imds_enforcer_cli.account.connection import ACCESS_ERRORS
from imds_enforcer_cli.console.interruption import EXIT_CODE
from imds_enforcer_cli.console.output import output_written, say

_USAGE_OR_ACCESS = 2


class Commands(TyperGroup):
    """Says in one line what the user can fix, and leaves tracebacks to faults of its own."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run one sub-command; the process ends with its exit code."""
        options["standalone_mode"] = False
        try:
            with output_written():
                status = super().main(*args, **options)
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context else ""
            say(f"imds-enforcer: {error.format_message()}{hint}")
            status = _USAGE_OR_ACCESS
        except ACCESS_ERRORS as error:
            say(f"imds-enforcer: {error}")
            status = _USAGE_OR_ACCESS
        except typer.Abort:
            status = EXIT_CODE
        sys.exit(status or 0)
