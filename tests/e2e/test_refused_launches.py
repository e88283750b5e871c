"""Launches that EC2 refuses because of their tokens: the enforcer names the launcher and does nothing else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local import operator
from tests.e2e.stage import FORWARDED, HOME, Stage
from tests.integration.local_resources import assumed, outcome, role

DIGEST = "imds-enforcer: Instances that need attention"
REFUSED = "a launch was refused"
LAUNCH = {"ImageId": "ami-0abcdef1234567890", "MinCount": 1, "MaxCount": 1}
OLD = {"ImageId": LAUNCH["ImageId"], "MetadataOptions": {"HttpTokens": "optional"}}


@pytest.fixture
def template(stage: Stage) -> str:
    """A launch template that allows IMDSv1."""
    answer = stage.aws.client("ec2", FORWARDED).create_launch_template(LaunchTemplateName="old", LaunchTemplateData=OLD)
    return str(answer["LaunchTemplate"]["LaunchTemplateId"])


@pytest.fixture
def enforced(stage: Stage, template: str) -> Iterator[Stage]:
    """The forwarder's region enforces tokens, set by hand, and has a group that launches from the template."""
    ec2, autoscaling = (stage.aws.client(service, FORWARDED) for service in ("ec2", "autoscaling"))
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="web",
        LaunchTemplate={"LaunchTemplateId": template, "Version": "$Default"},
        MinSize=0,
        MaxSize=1,
        AvailabilityZones=[f"{FORWARDED}a"],
    )
    ec2.modify_instance_metadata_defaults(HttpTokens="required", HttpTokensEnforced="enabled")
    yield stage
    ec2.modify_instance_metadata_defaults(HttpTokens="no-preference", HttpTokensEnforced="no-preference")
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)


def launch(stage: Stage, template: str) -> str:
    """EC2 refuses a role twice and a group once; the organization refuses the role once at home. Returns its ARN."""
    arn = role(stage.aws, "launchers", {"Action": "ec2:*", "Resource": "*"})
    away, home = (stage.aws.client("ec2", region, keys=assumed(stage.aws, arn)) for region in (FORWARDED, HOME))
    wanted: Any = {**LAUNCH, "LaunchTemplate": {"LaunchTemplateId": template, "Version": "1"}}
    assert outcome(away.run_instances, **wanted, DryRun=True) == "UnsupportedOperation"
    assert outcome(away.run_instances, **LAUNCH, DryRun=True) == "DryRunOperation"
    for _ in range(2):
        assert outcome(away.run_instances, **wanted) == "UnsupportedOperation"
    stage.aws.client("autoscaling", FORWARDED).set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=1)
    stage.wait_for_lines(3, message=REFUSED, region=FORWARDED)
    stage.aws.deny("ec2:RunInstances", region=HOME, caller="role/launchers")
    assert outcome(home.run_instances, **LAUNCH) == "UnauthorizedOperation"
    stage.wait_for_lines(message=REFUSED, region=HOME)
    return arn


def test_digest_and_status_name_refused_launchers(enforced: Stage, template: str) -> None:
    """They name the template to change, and how often it was refused. Dry runs do not count; no instance is read."""
    stage, aws = enforced, enforced.aws
    before = {region: stage.metric("LaunchesRefused", region) for region in ("", FORWARDED)}
    arn = launch(stage, template)
    # The change of the defaults is an event too, for which the enforcer lists the regions.
    assert {action for action in stage.calls() if action.startswith("ec2:")} <= {"ec2:DescribeRegions"}
    assert len(stage.log_lines(message=REFUSED)) == 4

    by_group, denied, by_role = sorted(
        stage.invoke({"inventory": True})["refused_launchers"],
        key=lambda each: (each["invoked_by"] is None, each["region"] == FORWARDED),
    )
    change = (
        f"set MetadataOptions.HttpTokens=required in a new version of launch template {template}, "
        "and launch from that version"
    )
    enforcement = {"region": FORWARDED, "cause": "HttpTokensEnforced is enabled", "change": change}
    wanted = {"principal": arn, "launch_template": template, "launch_template_version": "1", "launches": 2}
    assert (enforcement | wanted).items() <= by_role.items()
    wanted = {"auto_scaling_group": "web", "launch_template": template, "launches": 1}
    assert (enforcement | wanted).items() <= by_group.items()
    assert by_group["principal"].endswith("/AWSServiceRoleForAutoScaling")
    assert (denied["region"], denied["launches"], "possibly" in denied["cause"]) == (HOME, 1, True)

    text = stage.mailbox.wait_for(DIGEST)
    for each in (by_group, denied, by_role):
        assert f"\nLaunches refused: {each['line']}" in text
    # The exit code is 1 while an alarm is raised, which an earlier test may have left.
    shown = json.loads(operator.run(aws, "status", "--output", "json").stdout)["refused_launchers"]
    assert sorted(each["line"] for each in shown) == sorted(each["line"] for each in (by_group, denied, by_role))
    assert {region: stage.metric("LaunchesRefused", region) - counted for region, counted in before.items()} == {
        "": 4,
        FORWARDED: 3,
    }
