"""The command, its sub-commands, and what their `--help` adds to their docstrings."""

from typing import Annotated

import typer

from imds_enforcer_cli import VERSION
from imds_enforcer_cli.command_group import Commands, Deferred
from imds_enforcer_cli.console.actions import FIND, QUERY, READ_LAUNCHERS, READ_PARAMETERS, UNDO, UNLISTED
from imds_enforcer_cli.console.manual import help_if_alone, manual

_ONE_INSTANCE = "One instance"
_FLEET = "The fleet"
_DEPLOYED = "The deployed enforcer"
_CHANGES = "Changes, reverts and holds"
_PREVENTION = "Prevention"

# In the order of the help: a panel appears where its first command does.
_COMMANDS = (
    Deferred(
        "set",
        "set_options:set_options",
        panel=_ONE_INSTANCE,
        summary="Require IMDSv2 on instances in any region, or make it optional.",
        epilog=manual(
            "set --version-2-state required --instance-id i-0123456789abcdef0",
            "set --version-2-state required",
            ends="0 every instance has the options (a stopped one applies them when it starts); 1 an instance is held, "
            "exempt or otherwise left alone, a change failed, or EC2 did not apply a change in time",
            needs=f"{FIND}, {READ_PARAMETERS}, ec2:DescribeInstances and ec2:ModifyInstanceMetadataOptions; "
            "to look for instances or the stack in other regions, ec2:DescribeRegions; if the stack is deployed, "
            f"sts:GetCallerIdentity, {QUERY} and dynamodb:BatchWriteItem",
        ),
    ),
    Deferred(
        "verify",
        "verify:verify",
        panel=_ONE_INSTANCE,
        summary="Check that instances have the expected IMDSv2 state, required or optional, and that EC2 applied it.",
        epilog=manual(
            "verify i-0123456789abcdef0",
            "verify --probe",
            ends="0 every check passed; 1 a check failed",
            needs=f"ec2:DescribeInstances; to look for instances in other regions, ec2:DescribeRegions; without "
            f"--version-2-state, {READ_PARAMETERS}",
        ),
    ),
    Deferred(
        "audit",
        "audit:audit",
        panel=_FLEET,
        summary="Show whether each instance follows the policy, and why not.",
        epilog=manual(
            "audit --regions eu-west-1,us-east-1",
            "audit --group-by source --no-calls",
            "audit --instance i-0123456789abcdef0",
            "audit --output html > audit.html",
            ends="0 no instance is in a state that `--fail-on` names; 1 an instance is, or the audit could not read "
            "something (a region that a service control policy denies does not count)",
            needs=f"{FIND}, {READ_PARAMETERS}, sts:GetCallerIdentity, {QUERY}, ec2:DescribeRegions, "
            f"ec2:DescribeInstances and cloudwatch:GetMetricData; to find what launched the instances, "
            f"{READ_LAUNCHERS}",
        ),
    ),
    Deferred(
        "launches",
        "launches_group:app",
        panel=_FLEET,
        summary="Show which launch templates, groups, images and account defaults give new instances IMDSv1, who owns "
        "them, and how to change them.",
    ),
    Deferred(
        "enforce",
        "enforce:enforce",
        panel=_FLEET,
        summary="Bring every instance in line with the policy: one sweep, run from this machine.",
        epilog=manual(
            "enforce --regions eu-west-1,us-east-1 --dry-run",
            "enforce --policy policy.json --yes",
            ends="0 nothing is left to do, or `--dry-run` showed the plan; 1 a change was deferred or failed, "
            "the command could not read a region, the policy's mode is audit, or you answered no; 130 interrupted",
            needs=f"{FIND}, sts:GetCallerIdentity, {READ_PARAMETERS}, ec2:DescribeRegions, ec2:DescribeInstances and "
            "ec2:ModifyInstanceMetadataOptions; if the policy makes tokens optional, ec2:GetInstanceMetadataDefaults; "
            f"if the policy has a gate, cloudwatch:GetMetricData; if the stack is deployed, {QUERY}, dynamodb:Scan "
            "on its indexes and dynamodb:BatchWriteItem",
        ),
    ),
    Deferred(
        "policy",
        "policy_group:app",
        panel=_DEPLOYED,
        summary="Show, check or replace the deployed enforcer's policy.",
    ),
    Deferred(
        "toggle",
        "policy_change:toggle",
        panel=_DEPLOYED,
        summary="Require tokens on every instance that the policy covers, or make them optional again.",
        epilog=manual(
            "toggle required",
            "toggle optional --yes",
            ends="0 the toggle has the value; 1 you answered no, or someone else changed the policy meanwhile",
            needs=f"{FIND}, {READ_PARAMETERS} and ssm:PutParameter",
        ),
    ),
    Deferred(
        "status",
        "status:status",
        panel=_DEPLOYED,
        summary="Show the enforcer's health: stack, policy, last sweep, queues, alarms, holds and refused launches.",
        epilog=manual(
            "status",
            "status --output json",
            ends="0 all is well; 1 an alarm is raised, a dead-letter queue has a message, the policy is invalid, or "
            "the stack is in a failed state",
            needs=f"{FIND}, {READ_PARAMETERS}, cloudwatch:GetMetricData, cloudwatch:DescribeAlarms, "
            f"logs:FilterLogEvents, sqs:GetQueueAttributes and {QUERY}",
        ),
    ),
    Deferred(
        "sweep",
        "sweep:sweep",
        panel=_DEPLOYED,
        summary="Start a sweep of the deployed enforcer, and wait for its report.",
        epilog=manual(
            "sweep",
            "sweep --no-wait",
            ends="0 the sweep completed; 1 part of it failed, it was cut short, or there is no report",
            needs=f"{FIND}, lambda:InvokeFunction and logs:FilterLogEvents",
        ),
    ),
    Deferred(
        "redrive",
        "redrive:redrive",
        panel=_DEPLOYED,
        summary="Move failed events from the dead-letter queue back to the event queue.",
        epilog=manual(
            "redrive",
            ends="0 every message was moved, or the queue is empty; 1 the move failed, or did not end in time",
            needs=f"{FIND}; on both queues, sqs:GetQueueAttributes; on the dead-letter queue, sqs:StartMessageMoveTask,"
            " sqs:ListMessageMoveTasks, sqs:ReceiveMessage and sqs:DeleteMessage; on the event queue, "
            "sqs:SendMessage; on the stack's key, kms:Decrypt and kms:GenerateDataKey",
        ),
    ),
    Deferred(
        "history",
        "history:history",
        panel=_CHANGES,
        summary="Show the enforcer's changes, oldest first: to one instance, by one run, or all recent ones.",
        epilog=manual(
            "history i-0123456789abcdef0",
            "history --since 1 --output csv",
            ends="0 shown, even if there are no changes",
            needs=f"{FIND}, {QUERY} and its indexes",
        ),
    ),
    Deferred(
        "revert",
        "revert:revert",
        panel=_CHANGES,
        summary="Revert changes by the enforcer, `imds-enforcer enforce` or `imds-enforcer set`, and hold the "
        "instances.",
        epilog=manual(
            "revert i-0123456789abcdef0 --dry-run",
            "revert --run 1c2d3e4f-5a6b-7c8d-9e0f-a1b2c3d4e5f6 --yes",
            "revert --defaults eu-west-1 us-east-1",
            ends="0 everything is reverted, or nothing is left to revert; 1 a revert failed, the command left "
            "an option that someone else has changed since, or you answered no",
            needs=f"{FIND}, sts:GetCallerIdentity, {UNDO} and ec2:ModifyInstanceMetadataOptions; {UNLISTED}; "
            "with --defaults, ec2:GetInstanceMetadataDefaults and ec2:ModifyInstanceMetadataDefaults",
        ),
    ),
    Deferred(
        "hold",
        "hold:hold",
        panel=_CHANGES,
        summary="Keep the enforcer from changing instances, whatever the policy says.",
        epilog=manual(
            "hold i-0123456789abcdef0 --until 2027-06-30 --reason migration",
            ends="0 every instance is held",
            needs=f"{FIND}, sts:GetCallerIdentity, {QUERY}, dynamodb:BatchWriteItem, ec2:DescribeInstances and "
            f"ec2:DescribeRegions; {UNLISTED}",
        ),
    ),
    Deferred(
        "release",
        "hold:release",
        panel=_CHANGES,
        summary="End the holds on instances, so that the next event or sweep brings the instances in line again.",
        epilog=manual(
            "release i-0123456789abcdef0",
            ends="0 no instance is held any more",
            needs=f"{FIND}, {QUERY} and dynamodb:BatchWriteItem",
        ),
    ),
    Deferred(
        "guardrails",
        "guardrails_group:app",
        panel=_PREVENTION,
        summary="Print the service control policy (SCP) that keeps an organization's accounts in line.",
    ),
)


class _ImdsEnforcer(Commands):
    """All commands."""

    deferred = _COMMANDS


app = typer.Typer(
    name="imds-enforcer",
    cls=_ImdsEnforcer,
    epilog=manual(
        "audit --output html > audit.html",
        "history --since 1 --output csv > changes.csv",
        ends="0 done, no findings; 1 findings or failures",
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
    version: Annotated[  # noqa: ARG001  # its callback does the work
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """One policy for the instance metadata service (IMDS) of every EC2 instance.

    Audit and change one instance or the fleet, and operate the enforcer that is deployed in an account: its policy,
    its health, its changes, and how to revert them.

    Data goes to standard output, everything else to standard error. Credentials and region come from the same places
    as for the AWS CLI: environment variables, profiles, or the instance's role.
    """
    help_if_alone(context)
