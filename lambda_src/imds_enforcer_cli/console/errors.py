"""The error that ends a command with exit code 2."""

from typer import TyperException


class CommandError(TyperException):
    """A usage error, or access denied. The message is one line for the user."""

    exit_code = 2
