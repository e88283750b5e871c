"""Spot Fleets on the local AWS (EC2 API Reference, RequestSpotFleet, DescribeSpotFleetRequests)."""

from typing import Any

import pytest

from infra.local.client import LocalAws
from tests.integration.local_resources import refused


@pytest.fixture
def template(aws: LocalAws) -> str:
    """A launch template."""
    made = aws.client("ec2").create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": "ami-1"})
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def config(**specification: Any) -> dict[str, Any]:
    """The launch configuration of a fleet."""
    return {"LaunchTemplateSpecification": specification, "Overrides": [{"InstanceType": "t3.micro"}]}


def test_a_spot_fleet_shows_the_version_that_it_names(aws: LocalAws, template: str) -> None:
    """In the configuration of its request."""
    ec2 = aws.client("ec2")
    wanted = [config(LaunchTemplateId=template, Version="1")]
    request = {"IamFleetRole": "arn:aws:iam::1:role/fleet", "TargetCapacity": 0, "LaunchTemplateConfigs": wanted}
    ids = [ec2.request_spot_fleet(SpotFleetRequestConfig=request)["SpotFleetRequestId"] for _ in range(2)]
    first = ec2.describe_spot_fleet_requests(MaxResults=1)
    second = ec2.describe_spot_fleet_requests(MaxResults=1, NextToken=first["NextToken"])
    found = [*first["SpotFleetRequestConfigs"], *second["SpotFleetRequestConfigs"]]
    assert [each["SpotFleetRequestId"] for each in found] == ids
    assert found[0]["SpotFleetRequestConfig"] == request
    assert found[0]["SpotFleetRequestState"] == "active"
    assert refused(ec2.describe_spot_fleet_requests, SpotFleetRequestIds=["sfr-0"]) == (
        "InvalidSpotFleetRequestId.NotFound"
    )
    empty = {**request, "LaunchTemplateConfigs": []}
    assert refused(ec2.request_spot_fleet, SpotFleetRequestConfig=empty) == "InvalidSpotFleetRequestConfig"
    assert refused(ec2.describe_spot_fleet_requests, DryRun=True) == "DryRunOperation"
    assert refused(ec2.request_spot_fleet, SpotFleetRequestConfig=request, DryRun=True) == "DryRunOperation"
