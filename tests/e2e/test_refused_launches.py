"""Launches that are refused for the sake of tokens: who launches them is named, and nothing else is done."""

from collections.abc import Iterator

import pytest

from infra.local import operator
from tests.e2e.stage import FORWARDED, HOME, Stage
from tests.integration.local_resources import assumed, outcome, role

DIGEST = "imds-enforcer: Instances that need attention"
REFUSED = "a launch was refused"
LAUNCH = {"ImageId": "ami-0abcdef1234567890", "MinCount": 1, "MaxCount": 1}
OPTIONAL = {"HttpTokens": "optional"}


@pytest.fixture
def enforced(stage: Stage) -> Iterator[Stage]:
    """Someone has the region of the forwarder enforce tokens, by hand."""
    ec2 = stage.aws.client("ec2", FORWARDED)
    ec2.modify_instance_metadata_defaults(HttpTokens="required", HttpTokensEnforced="enabled")
    yield stage
    ec2.modify_instance_metadata_defaults(HttpTokens="no-preference", HttpTokensEnforced="no-preference")


def test_who_is_refused_is_in_the_digest_and_in_the_status(enforced: Stage) -> None:
    """With the template to change, and how often; dry runs are no launches, and no instance is looked at."""
    stage, aws = enforced, enforced.aws
    arn = role(aws, "launchers", {"Action": "ec2:*", "Resource": "*"})
    ec2 = aws.client("ec2", FORWARDED, keys=assumed(aws, arn))
    template = ec2.create_launch_template(
        LaunchTemplateName="old", LaunchTemplateData={"ImageId": LAUNCH["ImageId"], "MetadataOptions": OPTIONAL}
    )["LaunchTemplate"]["LaunchTemplateId"]
    wanted = {**LAUNCH, "LaunchTemplate": {"LaunchTemplateId": template, "Version": "1"}}
    before = {region: stage.metric("LaunchesRefused", region) for region in ("", FORWARDED)}
    assert outcome(ec2.run_instances, **wanted, DryRun=True) == "UnsupportedOperation"
    assert outcome(ec2.run_instances, **LAUNCH, DryRun=True) == "DryRunOperation"
    for _ in range(2):
        assert outcome(ec2.run_instances, **wanted) == "UnsupportedOperation"
    stage.wait_for_lines(2, message=REFUSED, region=FORWARDED)
    aws.deny("ec2:RunInstances", region=HOME, caller="role/launchers")
    assert outcome(aws.client("ec2", HOME, keys=assumed(aws, arn)).run_instances, **LAUNCH) == "UnauthorizedOperation"
    stage.wait_for_lines(message=REFUSED, region=HOME)
    assert not {action for action in stage.calls() if action.startswith("ec2:")}
    assert len(stage.log_lines(message=REFUSED)) == 3

    by_region = {each["region"]: each for each in stage.invoke({"inventory": True})["refused_launchers"]}
    assert by_region.keys() == {HOME, FORWARDED}
    change = f"set MetadataOptions.HttpTokens=required in a new version of launch template {template}, and have it used"
    expected = {
        "principal": arn,
        "launch_template": template,
        "launch_template_version": "1",
        "cause": "HttpTokensEnforced is enabled",
        "launches": 2,
        "change": change,
    }
    assert expected.items() <= by_region[FORWARDED].items()
    assert (by_region[HOME]["launches"], "possibly" in by_region[HOME]["cause"]) == (1, True)
    text = stage.mailbox.wait_for(DIGEST)
    for each in by_region.values():
        assert f"\nLaunches refused: {each['line']}" in text
    status = operator.answer(aws, "status")
    assert {each["region"]: each for each in status["refused_launchers"]} == by_region
    assert {region: stage.metric("LaunchesRefused", region) - counted for region, counted in before.items()} == {
        "": 3,
        FORWARDED: 2,
    }
