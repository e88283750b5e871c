"""The command with its sub-commands, and what their manuals add to their docstrings."""

from typing import Annotated

import typer

from imds_enforcer_cli import VERSION
from imds_enforcer_cli.command_group import Commands, Deferred
from imds_enforcer_cli.console.actions import FIND, QUERY, READ_LAUNCHERS, READ_PARAMETERS, UNDO, UNLISTED
from imds_enforcer_cli.console.manual import help_if_alone, manual

_ONE_INSTANCE = "One instance"
_FLEET = "The fleet"
_DEPLOYED = "The deployed enforcer"
_WAY_BACK = "What was changed, and the way back"
_PREVENTION = "Prevention"

# The order is that of the help: the panels stand in it as their first commands do.
_COMMANDS = (
    Deferred(
        "set",
        "set_options:set_options",
        panel=_ONE_INSTANCE,
        summary="Require IMDSv2 of instances, or make it optional, wherever they are.",
        epilog=manual(
            "set --version-2-state required --instance-id i-0123456789abcdef0",
            "set --version-2-state required",
            ends="0 set and applied, or so already; 1 not all could be set, or not in time",
            needs=f"{FIND}, {READ_PARAMETERS}, ec2:DescribeInstances and ec2:ModifyInstanceMetadataOptions; for ids of "
            "other regions, and where the stack is not in the home region, ec2:DescribeRegions; where it is "
            f"sts:GetCallerIdentity, {QUERY} and dynamodb:BatchWriteItem",
        ),
    ),
    Deferred(
        "verify",
        "verify:verify",
        panel=_ONE_INSTANCE,
        summary="Show whether instances require IMDSv2, or have it optional, and whether EC2 has applied that.",
        epilog=manual(
            "verify i-0123456789abcdef0",
            "verify --probe",
            ends="0 as it is to be, and applied; 1 otherwise",
            needs=f"ec2:DescribeInstances; for ids of other regions ec2:DescribeRegions; {READ_PARAMETERS}, unless "
            "--version-2-state is named",
        ),
    ),
    Deferred(
        "audit",
        "audit:audit",
        panel=_FLEET,
        summary="Show how every instance stands under the policy, and why.",
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
    ),
    Deferred(
        "launches",
        "launches_group:app",
        panel=_FLEET,
        summary="Show what will launch instances that allow IMDSv1, whose it is, and what to change.",
    ),
    Deferred(
        "enforce",
        "enforce:enforce",
        panel=_FLEET,
        summary="Bring every instance in line with the policy: one sweep, from here.",
        epilog=manual(
            "enforce --regions eu-west-1,us-east-1 --dry-run",
            "enforce --policy policy.json --yes",
            ends="0 all done; 1 something was deferred or failed, or not agreed to; 130 interrupted",
            needs=f"{FIND}, sts:GetCallerIdentity, {READ_PARAMETERS}, ec2:DescribeRegions, ec2:DescribeInstances, "
            "ec2:ModifyInstanceMetadataOptions, where tokens become optional ec2:GetInstanceMetadataDefaults, where "
            f"the policy has a gate cloudwatch:GetMetricData, and where the stack is deployed {QUERY}, dynamodb:Scan "
            "on its indexes and dynamodb:BatchWriteItem",
        ),
    ),
    Deferred(
        "policy",
        "policy_group:app",
        panel=_DEPLOYED,
        summary="Show, check and replace the policy that the deployed enforcer follows.",
    ),
    Deferred(
        "toggle",
        "policy_change:toggle",
        panel=_DEPLOYED,
        summary="Require tokens of every instance that the policy covers, or make them optional again.",
        epilog=manual(
            "toggle required",
            "toggle optional --yes",
            ends="0 turned, or so already; 1 not agreed to, or changed by someone else meanwhile",
            needs=f"{FIND}, {READ_PARAMETERS} and ssm:PutParameter",
        ),
    ),
    Deferred(
        "status",
        "status:status",
        panel=_DEPLOYED,
        summary="Show the enforcer's health: stack, policy, last sweep, queues, alarms, holds, and refused launches.",
        epilog=manual(
            "status",
            "status --output json",
            ends="0 all is well; 1 an alarm is raised, events were given up, the policy is invalid or the stack broken",
            needs=f"{FIND}, {READ_PARAMETERS}, cloudwatch:GetMetricData, cloudwatch:DescribeAlarms, "
            f"logs:FilterLogEvents, sqs:GetQueueAttributes and {QUERY}",
        ),
    ),
    Deferred(
        "sweep",
        "sweep:sweep",
        panel=_DEPLOYED,
        summary="Start a sweep of the deployed enforcer, and follow it to its report.",
        epilog=manual(
            "sweep",
            "sweep --no-wait",
            ends="0 swept; 1 something in it failed or was cut short",
            needs=f"{FIND}, lambda:InvokeFunction and logs:FilterLogEvents",
        ),
    ),
    Deferred(
        "redrive",
        "redrive:redrive",
        panel=_DEPLOYED,
        summary="Move what is in the dead-letter queue of the events back to the event queue.",
        epilog=manual(
            "redrive",
            ends="0 moved; 1 not all could be moved, or not known to be",
            needs=f"{FIND}; of both queues sqs:GetQueueAttributes; of the dead-letter queue sqs:StartMessageMoveTask, "
            "sqs:ListMessageMoveTasks, sqs:ReceiveMessage and sqs:DeleteMessage; of the event queue sqs:SendMessage; "
            "of the stack's key kms:Decrypt and kms:GenerateDataKey",
        ),
    ),
    Deferred(
        "history",
        "history:history",
        panel=_WAY_BACK,
        summary="Every change of the enforcer, oldest first: of one instance, of one run, or the latest of all.",
        epilog=manual(
            "history i-0123456789abcdef0",
            "history --since 1 --output csv",
            ends="0 shown, also where there is nothing to show",
            needs=f"{FIND}, {QUERY} and its indexes",
        ),
    ),
    Deferred(
        "revert",
        "revert:revert",
        panel=_WAY_BACK,
        summary="Revert changes by the enforcer, by `enforce` or by `set`, and hold those instances.",
        epilog=manual(
            "revert i-0123456789abcdef0 --dry-run",
            "revert --run 1c2d3e4f-5a6b-7c8d-9e0f-a1b2c3d4e5f6 --yes",
            "revert --defaults eu-west-1 us-east-1",
            ends="0 all is set back, or nothing is left to undo; 1 something could not be set back, an option stays as "
            "someone else has set it since, or not agreed to",
            needs=f"{FIND}, sts:GetCallerIdentity, {UNDO} and ec2:ModifyInstanceMetadataOptions; {UNLISTED}; "
            "with --defaults ec2:GetInstanceMetadataDefaults and ec2:ModifyInstanceMetadataDefaults",
        ),
    ),
    Deferred(
        "hold",
        "hold:hold",
        panel=_WAY_BACK,
        summary="Keep the enforcer from changing instances, whatever the policy says.",
        epilog=manual(
            "hold i-0123456789abcdef0 --until 2027-06-30 --reason migration",
            ends="0 held",
            needs=f"{FIND}, sts:GetCallerIdentity, {QUERY}, dynamodb:BatchWriteItem, ec2:DescribeInstances and "
            f"ec2:DescribeRegions; {UNLISTED}",
        ),
    ),
    Deferred(
        "release",
        "hold:release",
        panel=_WAY_BACK,
        summary="End the holds of instances: the next event or sweep brings them in line again.",
        epilog=manual(
            "release i-0123456789abcdef0",
            ends="0 released",
            needs=f"{FIND}, {QUERY} and dynamodb:BatchWriteItem",
        ),
    ),
    Deferred(
        "guardrails",
        "guardrails_group:app",
        panel=_PREVENTION,
        summary="What an organization refuses so that the policy holds.",
    ),
)


class _ImdsEnforcer(Commands):
    """All of them."""

    deferred = _COMMANDS


app = typer.Typer(
    name="imds-enforcer",
    cls=_ImdsEnforcer,
    epilog=manual(
        "audit --output html > audit.html",
        "history --since 1 --output csv > changes.csv",
        ends="0 done, and all as it should be; 1 something was found or failed",
    ),
    rich_markup_mode="markdown",  # which joins the lines of a paragraph
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001  # as typer calls it
    if wanted:
        typer.echo(f"imds-enforcer {VERSION}")
        raise typer.Exit


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
    help_if_alone(context)
