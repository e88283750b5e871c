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
        ends="0 nothing found that `--fail-on` names; 1 found, or something could not be read (what a service control "
        "policy denies does not count)",
        needs=f"ec2:DescribeRegions, ec2:DescribeInstances, {READ_LAUNCHERS}; the command goes on without what it is "
        "not allowed to read, and names it",
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
        ends="0 every template is fixed, or `--dry-run` showed the plan; 1 a template is held, left or could not be "
        "fixed, something could not be read, or you answered no; 130 interrupted",
        needs=f"{FIND}, {READ_PARAMETERS}, ec2:DescribeRegions, ec2:DescribeInstances, {READ_LAUNCHERS}; "
        f"ec2:CreateLaunchTemplateVersion, {_CHANGE}; if the policy has a gate, cloudwatch:GetMetricData; if the "
        f"stack is deployed, sts:GetCallerIdentity, {QUERY} and dynamodb:BatchWriteItem; if an interrupted fix has "
        "left a version, ec2:DescribeFleets and ec2:DescribeSpotFleetRequests",
    ),
)(fix)
app.command(
    "undo",
    epilog=manual(
        "launches undo web --dry-run",
        "launches undo 1c2d3e4f-5a6b-7c8d-9e0f-a1b2c3d4e5f6 --yes",
        ends="0 undone, or nothing is left to undo; 1 something could not be undone, something was left because "
        "someone else has changed it since, or you answered no",
        needs=f"{FIND}, ec2:DescribeLaunchTemplateVersions, {READ_VERSION_USERS}, {_CHANGE}; if the stack is "
        f"deployed, {QUERY} and dynamodb:BatchWriteItem",
    ),
)(undo)
