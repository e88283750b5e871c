"""The text below the options in every command's help: permissions, exit codes and examples."""

import typer


def manual(*examples: str, ends: str, needs: str = "") -> str:
    """The last paragraphs of a command's help.

    Args:
        examples: command lines without the leading `imds-enforcer`.
        ends: what the exit codes other than 2 mean; 2 is the same for every command.
        needs: the IAM actions that the command needs; empty if it does not call AWS.
    """
    return "\n\n".join(
        [
            *([f"Needs the IAM actions {needs}."] if needs else []),
            f"Exit codes: {ends}; 2 usage error or access denied.",
            # As code: Markdown would read the asterisks of a role pattern as markup.
            *(f"Example: `imds-enforcer {example}`" for example in examples),
        ]
    )


def help_if_alone(context: typer.Context) -> None:
    """Show a group's help if the user names no sub-command."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
