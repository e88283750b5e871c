"""`imds-enforcer launches`: its sub-commands and their help."""

import typer

from imds_enforcer_cli.commands.launches import launches
from imds_enforcer_cli.commands.launches_fix import fix
from imds_enforcer_cli.commands.launches_undo import undo
from imds_enforcer_cli.console.actions import FIND, QUERY, READ_LAUNCHERS, READ_PARAMETERS, READ_VERSION_USERS
from imds_enforcer_cli.console.manual import manual

_CHANGE = "ec2:ModifyLaunchTemplate and ec2:DeleteLaunchTemplateVersions"

app = typer.Typer(
    epilog=manual(
        "launches --regions eu-west-1,us-east-1",
        "launches --policy policy.json --output csv > launchers.csv",
        "launches --fail-on launches-imdsv1",
        ends="0 the command found nothing that `--fail-on` names; 1 it did, or it could not read something (what a "
        "service control policy denies does not count)",
        needs=f"ec2:DescribeRegions, ec2:DescribeInstances, {READ_LAUNCHERS}; if one is denied, the command names "
        "what it cannot read, and goes on",
    ),
    rich_markup_mode="markdown",
    add_completion=False,
)
app.callback(invoke_without_command=True)(launches)
app.command(
    "fix",
    epilog=manual(
        "launches fix web --dry-run",
        "launches fix --all --include-managed-by cloudformation",
        ends="0 every template is fixed, or `--dry-run` showed the plan; 1 a template is held or left, a fix failed, "
        "the command could not read something, or you answered no; 130 interrupted",
        needs=f"{FIND}, {READ_PARAMETERS}, ec2:DescribeRegions, ec2:DescribeInstances, {READ_LAUNCHERS}; "
        f"to change templates, ec2:CreateLaunchTemplateVersion, {_CHANGE}; if the policy has a gate, "
        f"cloudwatch:GetMetricData; if the stack is deployed, sts:GetCallerIdentity, {QUERY} and "
        "dynamodb:BatchWriteItem; if an interrupted fix has left a version, ec2:DescribeFleets and "
        "ec2:DescribeSpotFleetRequests",
    ),
)(fix)
app.command(
    "undo",
    epilog=manual(
        "launches undo web --dry-run",
        "launches undo 1c2d3e4f-5a6b-7c8d-9e0f-a1b2c3d4e5f6 --yes",
        ends="0 every fix is undone, or nothing is left to undo; 1 an undo failed, the command left something that "
        "someone else has changed since the fix, or you answered no",
        needs=f"{FIND}, ec2:DescribeLaunchTemplateVersions, {READ_VERSION_USERS}, {_CHANGE}; if the stack is "
        f"deployed, {QUERY} and dynamodb:BatchWriteItem",
    ),
)(undo)
