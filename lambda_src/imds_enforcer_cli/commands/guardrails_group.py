"""`imds-enforcer guardrails`: its sub-commands and their help."""

import typer

from imds_enforcer_cli.commands import guardrails
from imds_enforcer_cli.console.actions import FIND, READ_PARAMETERS
from imds_enforcer_cli.console.manual import help_if_alone, manual

app = typer.Typer(
    help="Print the service control policy (SCP) that keeps an organization's accounts in line.",
    epilog=manual("guardrails scp --operator-role 'arn:aws:iam::*:role/ops'", ends="see each sub-command"),
    rich_markup_mode="markdown",
    add_completion=False,
)
app.callback(invoke_without_command=True)(help_if_alone)
app.command(
    "scp",
    epilog=manual(
        "guardrails scp --operator-role 'arn:aws:iam::*:role/ops' --deploy-role 'arn:aws:iam::*:role/cfn' > scp.json",
        ends="0 printed",
        needs=f"{FIND}, {READ_PARAMETERS} and lambda:GetFunctionConfiguration",
    ),
)(guardrails.scp)
