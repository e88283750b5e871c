"""`imds-enforcer launches` with its sub-commands, and their manuals."""

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
        ends="0 listed, and nothing found of what `--fail-on` names; 1 found, or something could not be read, unless a "
        "service control policy denies it",
        needs=f"ec2:DescribeRegions, ec2:DescribeInstances, {READ_LAUNCHERS}; what is denied is left out, and named",
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
        ends="0 fixed, or nothing to fix; 1 a template is held, left or could not be fixed, or not agreed to; "
        "130 interrupted",
        needs=f"{FIND}, {READ_PARAMETERS}, ec2:DescribeRegions, ec2:DescribeInstances, {READ_LAUNCHERS}; "
        f"ec2:CreateLaunchTemplateVersion, {_CHANGE}; where the policy has a gate cloudwatch:GetMetricData; where the "
        f"stack is deployed sts:GetCallerIdentity, {QUERY} and dynamodb:BatchWriteItem; where an interrupted fix has "
        "left a version ec2:DescribeFleets and ec2:DescribeSpotFleetRequests",
    ),
)(fix)
app.command(
    "undo",
    epilog=manual(
        "launches undo web --dry-run",
        "launches undo 1c2d3e4f-5a6b-7c8d-9e0f-a1b2c3d4e5f6 --yes",
        ends="0 undone, or nothing is left to undo; 1 something could not be undone, stays as someone else has set it "
        "since, or not agreed to",
        needs=f"{FIND}, ec2:DescribeLaunchTemplateVersions, {READ_VERSION_USERS}, {_CHANGE}; where the stack is "
        f"deployed {QUERY} and dynamodb:BatchWriteItem",
    ),
)(undo)
