"""`imds-enforcer policy`: its sub-commands and their help."""

import typer

from imds_enforcer_cli.commands import policy, policy_change
from imds_enforcer_cli.console.actions import FIND, QUERY, READ_LAUNCHERS, READ_PARAMETERS
from imds_enforcer_cli.console.manual import help_if_alone, manual

app = typer.Typer(
    help="Show, check or replace the deployed enforcer's policy.",
    epilog=manual(
        "policy check policy.json",
        "policy set policy.json",
        ends="see each sub-command",
    ),
    rich_markup_mode="markdown",
    add_completion=False,
)
app.callback(invoke_without_command=True)(help_if_alone)
app.command(
    "show",
    epilog=manual("policy show", ends="0 the policy is valid; 1 it is invalid", needs=f"{FIND} and {READ_PARAMETERS}"),
)(policy.show)
app.command(
    "check",
    epilog=manual(
        "policy check policy.json", "policy check - < policy.json", ends="0 the policy is valid; 1 it is invalid"
    ),
)(policy.check)
app.command(
    "set",
    epilog=manual(
        "policy set policy.json",
        "policy set --yes - < policy.json",
        ends="0 the policy is stored, or unchanged; 1 you answered no, or someone else changed the policy meanwhile",
        needs=f"{FIND}, {READ_PARAMETERS} and ssm:PutParameter; if the policy has `account_defaults`, "
        f"{QUERY}, ec2:DescribeRegions, ec2:DescribeInstances, {READ_LAUNCHERS}; if it also has a gate, "
        "cloudwatch:GetMetricData and dynamodb:BatchWriteItem",
    ),
)(policy_change.put)
app.command("schema", epilog=manual("policy schema > policy.schema.json", ends="0 printed"))(policy.schema)
