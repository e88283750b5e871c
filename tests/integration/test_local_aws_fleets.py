"""EC2 Fleets on the local AWS (EC2 User Guide, "EC2 Fleet and Spot Fleet"; API Reference, CreateFleet)."""

from typing import Any

import pytest

from infra.local.client import LocalAws
from tests.integration.local_resources import listen, refused

IMAGE = "ami-0abcdef1234567890"
OPTIONAL, REQUIRED = ({"HttpTokens": tokens} for tokens in ("optional", "required"))
LAUNCHES = {"detail-type": ["AWS API Call via CloudTrail"], "detail": {"eventName": ["RunInstances"]}}


def template(aws: LocalAws, *versions: dict[str, str]) -> str:
    """A template whose versions have these metadata options."""
    ec2 = aws.client("ec2")
    first, *later = ({"ImageId": IMAGE, "MetadataOptions": each} for each in versions)
    made = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=first)["LaunchTemplate"]
    for data in later:
        ec2.create_launch_template_version(LaunchTemplateId=made["LaunchTemplateId"], LaunchTemplateData=data)
    return str(made["LaunchTemplateId"])


def fleet(aws: LocalAws, specification: dict[str, str], *overrides: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An instant fleet of two instances."""
    config: dict[str, Any] = {"LaunchTemplateSpecification": specification, "Overrides": list(overrides)}
    target = {"TotalTargetCapacity": 2, "DefaultTargetCapacityType": "on-demand"}
    wanted = {"Type": "instant", "LaunchTemplateConfigs": [config], "TargetCapacitySpecification": target}
    return dict(aws.client("ec2").create_fleet(**{**wanted, **fields}))


def tokens(aws: LocalAws, answer: dict[str, Any]) -> list[str]:
    """HttpTokens of the launched instances."""
    ids = [each for launched in answer["Instances"] for each in launched["InstanceIds"]]
    return [aws.metadata_options(each)["HttpTokens"] for each in ids]


@pytest.mark.parametrize(
    ("version", "overrides", "expected"),
    [
        ("1", [], ["optional", "optional"]),
        ("$Latest", [], ["required", "required"]),
        ("$Default", [{"InstanceType": "t3.nano"}], ["optional", "optional"]),
        ("1", [{"InstanceType": "t3.nano"}, {"MetadataOptions": REQUIRED}], ["optional", "required"]),
    ],
)
def test_a_fleet_launches_from_its_template(
    aws: LocalAws, version: str, overrides: list[dict[str, Any]], expected: list[str]
) -> None:
    """API Reference, FleetLaunchTemplateOverridesRequest: its metadata options override the template's."""
    queue = listen(aws, LAUNCHES)
    template_id = template(aws, OPTIONAL, REQUIRED)
    answer = fleet(aws, {"LaunchTemplateName": "web", "Version": version}, *overrides)
    assert tokens(aws, answer) == expected
    event = queue.wait_for(2)[0]["detail"]
    assert event["userIdentity"]["invokedBy"] == "ec2fleet.amazonaws.com"
    [described] = aws.client("ec2").describe_fleets(FleetIds=[answer["FleetId"]])["Fleets"]
    [config] = described["LaunchTemplateConfigs"]
    assert config["LaunchTemplateSpecification"] == {
        "LaunchTemplateId": template_id,
        "LaunchTemplateName": "web",
        "Version": version,
    }


def test_a_refused_launch_is_an_error_of_the_fleet(aws: LocalAws) -> None:
    """API Reference, CreateFleet: Errors, for the type instant; EC2 makes the fleet anyway."""
    template_id = template(aws, OPTIONAL)
    aws.client("ec2").modify_instance_metadata_defaults(HttpTokens="required", HttpTokensEnforced="enabled")
    answer = fleet(aws, {"LaunchTemplateId": template_id})
    assert answer["Instances"] == []
    assert {each["ErrorCode"] for each in answer["Errors"]} == {"UnsupportedOperation"}


def test_listings_and_refusals(aws: LocalAws) -> None:
    """Other types than instant return the id alone; unknown templates, versions and fleets are refused."""
    ec2, template_id = aws.client("ec2"), template(aws, OPTIONAL)
    tags = [{"ResourceType": "fleet", "Tags": [{"Key": "Owner", "Value": "web"}]}]
    answer = fleet(aws, {"LaunchTemplateId": template_id}, Type="maintain", TagSpecifications=tags)
    assert set(answer) - {"ResponseMetadata"} == {"FleetId"}
    instant = fleet(aws, {"LaunchTemplateId": template_id})
    [described] = ec2.describe_fleets()["Fleets"]
    assert (described["Type"], described["Tags"], described["FulfilledCapacity"]) == ("maintain", tags[0]["Tags"], 2)
    found = ec2.describe_instances(Filters=[{"Name": "tag:aws:ec2:fleet-id", "Values": [answer["FleetId"]]}])
    assert len(found["Reservations"]) == 2
    assert len(ec2.describe_fleets(FleetIds=[instant["FleetId"]])["Fleets"]) == 1
    fleet(aws, {"LaunchTemplateId": template_id}, Type="request")
    pages = ec2.get_paginator("describe_fleets").paginate(PaginationConfig={"PageSize": 1})
    assert [len(page["Fleets"]) for page in pages] == [1, 1]
    gone = {"LaunchTemplateId": template_id, "Version": "7"}
    assert refused(fleet, aws=aws, specification=gone) == "InvalidLaunchTemplateId.VersionNotFound"
    named = {"LaunchTemplateName": "gone"}
    assert refused(fleet, aws=aws, specification=named) == "InvalidLaunchTemplateName.NotFoundException"
    assert refused(fleet, aws=aws, specification={"LaunchTemplateName": "web"}, DryRun=True) == "DryRunOperation"
    assert refused(ec2.describe_fleets, FleetIds=["fleet-1"]) == "InvalidFleetId.NotFound"
    [requested] = ec2.describe_fleets(Filters=[{"Name": "type", "Values": ["request"]}])["Fleets"]
    assert requested["FleetState"] == "active"
    wrong = [{"Name": "kind", "Values": ["instant"]}]
    assert refused(ec2.describe_fleets, Filters=wrong) == "InvalidParameterValue"
