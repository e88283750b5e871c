"""What ends a command with exit code 2."""

from typer import TyperException


class CommandError(TyperException):
    """The command was given something it cannot use, or has no access. The message is one line for its user."""

    exit_code = 2
