"""What stands below the options in every command's help: what it needs, how it ends, and how it is used."""

import typer


def manual(*examples: str, ends: str, needs: str = "") -> str:
    """The last paragraphs of a command's help.

    Args:
        examples: calls of the command, as they are typed after `imds-enforcer`.
        ends: what the exit codes 0 and 1 mean; 2 always means usage or access.
        needs: the IAM actions that it takes; empty if it does not call AWS.
    """
    return "\n\n".join(
        [
            *([f"Needs the IAM actions {needs}."] if needs else []),
            f"Exit codes: {ends}; 2 usage error or access denied.",
            *(f"Example: imds-enforcer {example}" for example in examples),
        ]
    )


def help_if_alone(context: typer.Context) -> None:
    """Show the help of a group where no command is named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
