"""The command with its sub-commands, and what their manuals add to their docstrings."""

from typing import Annotated

import typer

from imds_enforcer_cli import VERSION
from imds_enforcer_cli.command_group import Commands
from imds_enforcer_cli.commands import guardrails, launches_group, policy, policy_change
from imds_enforcer_cli.commands.actions import FIND, QUERY, READ_LAUNCHERS, READ_PARAMETERS, UNDO, UNLISTED
from imds_enforcer_cli.commands.audit import audit
from imds_enforcer_cli.commands.enforce import enforce
from imds_enforcer_cli.commands.history import history
from imds_enforcer_cli.commands.hold import hold, release
from imds_enforcer_cli.commands.redrive import redrive
from imds_enforcer_cli.commands.revert import revert
from imds_enforcer_cli.commands.set_options import set_options
from imds_enforcer_cli.commands.status import status
from imds_enforcer_cli.commands.sweep import sweep
from imds_enforcer_cli.commands.verify import verify
from imds_enforcer_cli.console.manual import manual

_ONE_INSTANCE = "One instance"
_FLEET = "The fleet"
_DEPLOYED = "The deployed enforcer"
_WAY_BACK = "What was changed, and the way back"
_PREVENTION = "Prevention"


app = typer.Typer(
    name="imds-enforcer",
    cls=Commands,
    epilog=manual(
        "audit --output html > audit.html",
        "history --since 1 --output csv > changes.csv",
        ends="0 done, and all as it should be; 1 something was found or failed",
    ),
    rich_markup_mode="markdown",  # which joins the lines of a paragraph
    pretty_exceptions_enable=False,
)
_policy = typer.Typer(
    help="Show, check and replace the policy that the deployed enforcer follows.",
    epilog=manual(
        "policy check policy.json",
        "policy set policy.json",
        ends="those of its sub-commands",
    ),
    rich_markup_mode="markdown",
)
_guardrails = typer.Typer(
    help="What an organization refuses so that the policy holds.",
    epilog=manual("guardrails scp --operator-role 'arn:aws:iam::*:role/ops'", ends="those of its sub-commands"),
    rich_markup_mode="markdown",
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001  # as typer calls it
    if wanted:
        typer.echo(f"imds-enforcer {VERSION}")
        raise typer.Exit


def _help_if_alone(context: typer.Context) -> None:
    """Show the help where no command is named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.callback(invoke_without_command=True)
def _describe(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001  # its callback has done all
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """One policy for the instance metadata service (IMDS) of every EC2 instance.

    For one instance, for the fleet, and for the enforcer deployed in an account: its policy, its health, what it
    has changed, and the way back.

    Data goes to standard output, everything else to standard error. Credentials and region come from where the
    other tools of AWS look for them.
    """
    _help_if_alone(context)


for _group in (_policy, _guardrails):
    _group.callback(invoke_without_command=True)(_help_if_alone)


# The order is that of the help: the panels stand in it as their first commands do.
app.command(
    "set",
    rich_help_panel=_ONE_INSTANCE,
    epilog=manual(
        "set --version-2-state required --instance-id i-0123456789abcdef0",
        "set --version-2-state required",
        ends="0 set and applied, or so already; 1 not all could be set, or not in time",
        needs=f"{FIND}, {READ_PARAMETERS}, ec2:DescribeInstances and ec2:ModifyInstanceMetadataOptions; for ids of "
        "other regions, and where the stack is not in the home region, ec2:DescribeRegions; where it is "
        f"sts:GetCallerIdentity, {QUERY} and dynamodb:BatchWriteItem",
    ),
)(set_options)
app.command(
    rich_help_panel=_ONE_INSTANCE,
    epilog=manual(
        "verify i-0123456789abcdef0",
        "verify --probe",
        ends="0 as it is to be, and applied; 1 otherwise",
        needs=f"ec2:DescribeInstances; for ids of other regions ec2:DescribeRegions; {READ_PARAMETERS}, unless "
        "--version-2-state is named",
    ),
)(verify)
app.command(
    rich_help_panel=_FLEET,
    epilog=manual(
        "audit --regions eu-west-1,us-east-1",
        "audit --group-by source --no-calls",
        "audit --instance i-0123456789abcdef0",
        "audit --output html > audit.html",
        ends="0 nothing found of what `--fail-on` names; 1 found, or something could not be read, unless a service "
        "control policy denies the region",
        needs=f"{FIND}, {READ_PARAMETERS}, sts:GetCallerIdentity, {QUERY}, ec2:DescribeRegions, "
        f"ec2:DescribeInstances and cloudwatch:GetMetricData; for what launched the instances {READ_LAUNCHERS}",
    ),
)(audit)
app.add_typer(launches_group.app, name="launches", rich_help_panel=_FLEET)
app.command(
    rich_help_panel=_FLEET,
    epilog=manual(
        "enforce --regions eu-west-1,us-east-1 --dry-run",
        "enforce --policy policy.json --yes",
        ends="0 all done; 1 something was deferred or failed, or not agreed to; 130 interrupted",
        needs=f"{FIND}, sts:GetCallerIdentity, {READ_PARAMETERS}, ec2:DescribeRegions, ec2:DescribeInstances, "
        "ec2:ModifyInstanceMetadataOptions, where tokens become optional ec2:GetInstanceMetadataDefaults, where the "
        f"policy has a gate cloudwatch:GetMetricData, and where the stack is deployed {QUERY}, dynamodb:Scan on its "
        "indexes and dynamodb:BatchWriteItem",
    ),
)(enforce)
app.add_typer(_policy, name="policy", rich_help_panel=_DEPLOYED)
_policy.command(
    "show",
    epilog=manual("policy show", ends="0 valid; 1 invalid", needs=f"{FIND} and {READ_PARAMETERS}"),
)(policy.show)
_policy.command(
    "check",
    epilog=manual("policy check policy.json", "policy check - < policy.json", ends="0 valid; 1 invalid"),
)(policy.check)
_policy.command(
    "set",
    epilog=manual(
        "policy set policy.json",
        "policy set --yes - < policy.json",
        ends="0 stored, or as it was; 1 not agreed to, or changed by someone else meanwhile",
        needs=f"{FIND}, {READ_PARAMETERS} and ssm:PutParameter; where the policy has `account_defaults` "
        f"ec2:DescribeRegions, ec2:DescribeInstances, {READ_LAUNCHERS}, {QUERY}, and if it has a gate too "
        "cloudwatch:GetMetricData and dynamodb:BatchWriteItem",
    ),
)(policy_change.put)
_policy.command("schema", epilog=manual("policy schema > policy.schema.json", ends="0 printed"))(policy.schema)
app.command(
    rich_help_panel=_DEPLOYED,
    epilog=manual(
        "toggle required",
        "toggle optional --yes",
        ends="0 turned, or so already; 1 not agreed to, or changed by someone else meanwhile",
        needs=f"{FIND}, {READ_PARAMETERS} and ssm:PutParameter",
    ),
)(policy_change.toggle)
app.command(
    rich_help_panel=_DEPLOYED,
    epilog=manual(
        "status",
        "status --output json",
        ends="0 all is well; 1 an alarm is raised, events were given up, the policy is invalid or the stack broken",
        needs=f"{FIND}, {READ_PARAMETERS}, cloudwatch:GetMetricData, cloudwatch:DescribeAlarms, "
        f"logs:FilterLogEvents, sqs:GetQueueAttributes and {QUERY}",
    ),
)(status)
app.command(
    rich_help_panel=_DEPLOYED,
    epilog=manual(
        "sweep",
        "sweep --no-wait",
        ends="0 swept; 1 something in it failed or was cut short",
        needs=f"{FIND}, lambda:InvokeFunction and logs:FilterLogEvents",
    ),
)(sweep)
app.command(
    rich_help_panel=_DEPLOYED,
    epilog=manual(
        "redrive",
        ends="0 moved; 1 not all could be moved, or not known to be",
        needs=f"{FIND}; of both queues sqs:GetQueueAttributes; of the dead-letter queue sqs:StartMessageMoveTask, "
        "sqs:ListMessageMoveTasks, sqs:ReceiveMessage and sqs:DeleteMessage; of the event queue sqs:SendMessage; "
        "of the stack's key kms:Decrypt and kms:GenerateDataKey",
    ),
)(redrive)
app.command(
    rich_help_panel=_WAY_BACK,
    epilog=manual(
        "history i-0123456789abcdef0",
        "history --since 1 --output csv",
        ends="0 shown, also where there is nothing to show",
        needs=f"{FIND}, {QUERY} and its indexes",
    ),
)(history)
app.command(
    rich_help_panel=_WAY_BACK,
    epilog=manual(
        "revert i-0123456789abcdef0 --dry-run",
        "revert --run 1c2d3e4f-5a6b-7c8d-9e0f-a1b2c3d4e5f6 --yes",
        "revert --defaults eu-west-1 us-east-1",
        ends="0 all is set back, or nothing is left to undo; 1 something could not be set back, an option stays as "
        "someone else has set it since, or not agreed to",
        needs=f"{FIND}, sts:GetCallerIdentity, {UNDO} and ec2:ModifyInstanceMetadataOptions; {UNLISTED}; "
        "with --defaults ec2:GetInstanceMetadataDefaults and ec2:ModifyInstanceMetadataDefaults",
    ),
)(revert)
app.command(
    rich_help_panel=_WAY_BACK,
    epilog=manual(
        "hold i-0123456789abcdef0 --until 2027-06-30 --reason migration",
        ends="0 held",
        needs=f"{FIND}, sts:GetCallerIdentity, {QUERY}, dynamodb:BatchWriteItem, ec2:DescribeInstances and "
        f"ec2:DescribeRegions; {UNLISTED}",
    ),
)(hold)
app.command(
    rich_help_panel=_WAY_BACK,
    epilog=manual(
        "release i-0123456789abcdef0",
        ends="0 released",
        needs=f"{FIND}, {QUERY} and dynamodb:BatchWriteItem",
    ),
)(release)
app.add_typer(_guardrails, name="guardrails", rich_help_panel=_PREVENTION)
_guardrails.command(
    "scp",
    epilog=manual(
        "guardrails scp --operator-role 'arn:aws:iam::*:role/ops' --deploy-role 'arn:aws:iam::*:role/cfn' > scp.json",
        ends="0 printed",
        needs=f"{FIND}, {READ_PARAMETERS} and lambda:GetFunctionConfiguration",
    ),
)(guardrails.scp)
