"""How sub-commands are loaded, and their exit codes: 0 done, 1 findings or failures, 2 usage error or access denied."""

import sys
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from imds_enforcer_cli.console.interruption import EXIT_CODE
from imds_enforcer_cli.console.output import output_written, say

_USAGE_OR_ACCESS = 2


class Deferred(TyperCommand):
    """A command whose module is imported on first use, so that listing the commands imports none of them.

    Args:
        name: the command's name.
        path: the module in `commands` and the function or command group in it, as `module:name`.
        panel: the command's panel in the list of commands.
        summary: its line in that list: the first paragraph of its docstring.
        epilog: the text that its help shows below the options; a group has its own.
    """

    def __init__(self, name: str, path: str, *, panel: str, summary: str, epilog: str | None = None) -> None:
        super().__init__(name, help=summary, rich_help_panel=panel, rich_markup_mode="markdown")
        self._path = path
        self._epilog = epilog

    @cached_property
    def loaded(self) -> Any:
        """The command itself, or the group."""
        module, name = self._path.split(":")
        found = getattr(import_module(f"imds_enforcer_cli.commands.{module}"), name)
        if not isinstance(found, typer.Typer):
            app = typer.Typer(rich_markup_mode="markdown", add_completion=False)
            app.command(self.name, epilog=self._epilog)(found)
            found = app
        return get_command(found)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command, and start parsing its arguments."""
        return self.loaded.make_context(info_name, args, parent, **extra)


class Commands(TyperGroup):
    """Reports errors that the user can fix in one line; only bugs end in a traceback."""

    deferred: ClassVar[tuple[Deferred, ...]]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for each in self.deferred:
            self.add_command(each)

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run one sub-command, and exit with its exit code."""
        options["standalone_mode"] = False
        try:
            with output_written():
                status = super().main(*args, **options)
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context else ""
            say(f"imds-enforcer: {error.format_message()}{hint}")
            status = _USAGE_OR_ACCESS
        except typer.Abort:
            status = EXIT_CODE
        except _access_errors() as error:
            say(f"imds-enforcer: {error}")
            status = _USAGE_OR_ACCESS
        sys.exit(status or 0)


def _access_errors() -> tuple[type[Exception], ...]:
    """The errors of the AWS libraries, which take longest to import: this is called only after an exception."""
    from imds_enforcer_cli.account.connection import ACCESS_ERRORS  # noqa: PLC0415

    return ACCESS_ERRORS
