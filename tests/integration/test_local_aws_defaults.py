"""Account defaults on the local AWS, and the options of a launch from template, defaults and image.

EC2 User Guide: "Configure instance metadata options for new instances" (order of precedence), "Set IMDSv2 as the
default for the account", "Enforce IMDSv2 at the account level", "Troubleshoot instance launch issues".
"""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.client import LocalAws
from tests.integration.local_resources import assumed, listen, outcome, refused, role

IMAGE, V2_IMAGE = "ami-0abcdef1234567890", "ami-0000000000000v200"
OPTIONAL, REQUIRED = ({"HttpTokens": tokens} for tokens in ("optional", "required"))
ENFORCED = {"HttpTokensEnforced": "enabled"}
HOPS = "HttpPutResponseHopLimit"
REFUSED = (
    "You can't launch instances with IMDSv1 because httpTokensEnforced is enabled for this account. Either launch the "
    "instance with httpTokens=required or contact your account owner to disable httpTokensEnforced using the "
    "ModifyInstanceMetadataDefaults API or the account settings in the EC2 console."
)
CALLS = {"detail-type": ["AWS API Call via CloudTrail"]}


def launched(aws: LocalAws, *, request: dict[str, Any], template: dict[str, Any], image: str) -> str:
    """An instance launched from a template with some options, by a request with others."""
    ec2 = aws.client("ec2")
    data = {"ImageId": image, **({"MetadataOptions": template} if template else {})}
    made = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)["LaunchTemplate"]
    answer = ec2.run_instances(
        LaunchTemplate={"LaunchTemplateId": made["LaunchTemplateId"]},
        MinCount=1,
        MaxCount=1,
        **({"MetadataOptions": request} if request else {}),
    )
    return str(answer["Instances"][0]["InstanceId"])


@pytest.mark.parametrize(
    ("request_", "template", "defaults", "image", "expected"),
    [
        ({}, {}, {}, IMAGE, ("optional", 1)),
        ({}, {}, {}, V2_IMAGE, ("required", 2)),
        ({}, {}, OPTIONAL, V2_IMAGE, ("optional", 2)),
        ({}, {}, REQUIRED, IMAGE, ("required", 1)),
        ({}, {}, {**REQUIRED, HOPS: 2}, IMAGE, ("required", 2)),
        ({}, OPTIONAL, REQUIRED, V2_IMAGE, ("optional", 2)),
        ({}, REQUIRED, OPTIONAL, IMAGE, ("required", 1)),
        (REQUIRED, OPTIONAL, OPTIONAL, IMAGE, ("required", 1)),
        (OPTIONAL, REQUIRED, REQUIRED, V2_IMAGE, ("optional", 2)),
        ({}, {HOPS: 5}, {**REQUIRED, HOPS: 3}, V2_IMAGE, ("required", 5)),
        ({HOPS: 7}, {HOPS: 5, **OPTIONAL}, {HOPS: 3}, V2_IMAGE, ("optional", 7)),
        ({}, {}, {HOPS: 3}, V2_IMAGE, ("required", 3)),
    ],
)
def test_the_order_of_precedence(
    aws: LocalAws,
    request_: dict[str, Any],
    template: dict[str, Any],
    defaults: dict[str, Any],
    image: str,
    expected: tuple[str, int],
) -> None:
    """For each option: the request's value, else the template's, the account's, the AMI's, EC2's own."""
    aws.knobs(imds_v2_images=[V2_IMAGE])
    if defaults:
        aws.client("ec2").modify_instance_metadata_defaults(**defaults)
    options = aws.metadata_options(launched(aws, request=request_, template=template, image=image))
    assert (options["HttpTokens"], options[HOPS]) == expected


def test_a_required_default_may_set_the_hop_limit(aws: LocalAws) -> None:
    """One paragraph of the guide says 2, another 1; a knob chooses."""
    aws.knobs(required_default_hops=True)
    aws.client("ec2").modify_instance_metadata_defaults(**REQUIRED)
    [by_default], [by_request] = aws.launch(), aws.launch(HttpPutResponseHopLimit=1)
    assert [aws.metadata_options(each)[HOPS] for each in (by_default, by_request)] == [2, 1]


@pytest.mark.parametrize(
    ("template", "defaults", "image", "refusal"),
    [
        (OPTIONAL, {**REQUIRED, **ENFORCED}, IMAGE, "UnsupportedOperation"),
        ({}, ENFORCED, IMAGE, "UnsupportedOperation"),
        ({}, {**OPTIONAL, **ENFORCED}, V2_IMAGE, "UnsupportedOperation"),
        ({}, ENFORCED, V2_IMAGE, ""),
        ({}, {**REQUIRED, **ENFORCED}, IMAGE, ""),
        (REQUIRED, ENFORCED, IMAGE, ""),
    ],
)
def test_enforcement_comes_after_precedence(
    aws: LocalAws, template: dict[str, Any], defaults: dict[str, Any], image: str, refusal: str
) -> None:
    """EC2 refuses optional tokens from any source; with enforcement alone, it refuses a launch without tokens."""
    aws.knobs(imds_v2_images=[V2_IMAGE])
    aws.client("ec2").modify_instance_metadata_defaults(**defaults)
    assert outcome(launched, aws=aws, request={}, template=template, image=image) == refusal


def test_existing_instances_stay_and_can_only_be_tightened(aws: LocalAws) -> None:
    """Enforcement changes no instance, but forbids to set `optional`; `no-preference` ends it."""
    ec2 = aws.client("ec2")
    [before] = aws.launch(HttpTokens="optional")
    ec2.modify_instance_metadata_defaults(**REQUIRED, **ENFORCED)
    assert aws.metadata_options(before)["HttpTokens"] == "optional"
    ec2.modify_instance_metadata_options(InstanceId=before, HttpTokens="required")
    with pytest.raises(ClientError) as answer:
        ec2.modify_instance_metadata_options(InstanceId=before, HttpTokens="optional")
    assert answer.value.response["Error"] == {"Code": "UnsupportedOperation", "Message": REFUSED}
    ec2.modify_instance_metadata_defaults(HttpTokensEnforced="no-preference")
    assert ec2.get_instance_metadata_defaults()["AccountLevel"] == {**REQUIRED, "ManagedBy": "account"}
    ec2.modify_instance_metadata_options(InstanceId=before, HttpTokens="optional")


@pytest.mark.parametrize("message", [None, "Ask <security> & wait"])
def test_a_declarative_policy_wins_and_the_account_cannot_modify_it(aws: LocalAws, message: str | None) -> None:
    """Organizations User Guide, "Declarative policies": its values and message; detached, the earlier ones are back."""
    ec2 = aws.client("ec2")
    ec2.modify_instance_metadata_defaults(HttpTokens="optional", InstanceMetadataTags="enabled")
    aws.knobs(declarative_defaults={**REQUIRED, **ENFORCED, HOPS: 2}, declarative_policy_message=message)
    spoken = message or "This action is denied due to an organizational policy in effect"
    assert ec2.get_instance_metadata_defaults()["AccountLevel"] == {
        **REQUIRED,
        **ENFORCED,
        HOPS: 2,
        "InstanceMetadataTags": "enabled",
        "ManagedBy": "declarative-policy",
        "ManagedExceptionMessage": spoken,
    }
    with pytest.raises(ClientError) as answer:
        ec2.modify_instance_metadata_defaults(HttpTokens="optional")
    assert answer.value.response["Error"] == {"Code": "OperationNotPermitted", "Message": spoken}
    assert refused(aws.launch, HttpTokens="optional") == "UnsupportedOperation"
    [instance] = aws.launch()
    assert aws.metadata_options(instance)["HttpTokens"] == "required"
    aws.knobs(declarative_defaults={}, declarative_policy_message=None)
    level = ec2.get_instance_metadata_defaults()["AccountLevel"]
    assert level == {"HttpTokens": "optional", "InstanceMetadataTags": "enabled", "ManagedBy": "account"}
    with pytest.raises(ValueError, match=r"knob declarative_defaults is .*; allowed: metadata defaults"):
        aws.knobs(declarative_defaults=["required"])


def test_dry_runs_and_the_attributes_that_a_permission_names(aws: LocalAws) -> None:
    """Service authorization reference, ec2:Attribute/${AttributeName}: the parameters of a change."""
    ec2 = aws.client("ec2")
    assert refused(ec2.modify_instance_metadata_defaults, **REQUIRED, DryRun=True) == "DryRunOperation"
    assert ec2.get_instance_metadata_defaults()["AccountLevel"] == {}
    allowed = {"Action": "ec2:ModifyInstanceMetadataDefaults", "Resource": "*"}
    arn = role(aws, "keeper", {**allowed, "Condition": {"Null": {"ec2:Attribute/HttpTokensEnforced": "true"}}})
    keeper = aws.client("ec2", keys=assumed(aws, arn))
    aws.enforce_iam()
    assert outcome(keeper.modify_instance_metadata_defaults, **REQUIRED) == ""
    assert outcome(keeper.modify_instance_metadata_defaults, **REQUIRED, **ENFORCED) == "UnauthorizedOperation"


def test_a_change_of_the_defaults_is_an_event_of_its_region(aws: LocalAws) -> None:
    """In the form of ModifyInstanceMetadataOptions, for lack of a sample; a forwarded event is the same."""
    pattern = {**CALLS, "detail": {"eventName": ["ModifyInstanceMetadataDefaults"]}}
    queue = listen(aws, pattern)
    events = aws.client("events", "us-east-1")
    listen(aws, pattern, "us-east-1")
    [rule] = events.list_rules()["Rules"]
    bus = f"arn:aws:events:{aws.region}:{aws.account}:event-bus/default"
    target = {"Id": "home", "Arn": bus, "RoleArn": role(aws, "forwarder")}
    events.put_targets(Rule=rule["Name"], Targets=[target])
    ec2 = aws.client("ec2", "us-east-1")
    ec2.modify_instance_metadata_defaults(**REQUIRED, **ENFORCED, HttpPutResponseHopLimit=2)
    [event] = queue.wait_for(1)
    detail = event["detail"]
    assert (event["region"], detail["awsRegion"], detail["userIdentity"]["type"]) == ("us-east-1", "us-east-1", "Root")
    assert detail["requestParameters"] == {
        "ModifyInstanceMetadataDefaultsRequest": {**REQUIRED, **ENFORCED, "HttpPutResponseHopLimit": 2}
    }
    assert "errorCode" not in detail


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({}, "Client.UnsupportedOperation", REFUSED),
        (
            {"MetadataOptions": REQUIRED, "DryRun": True},
            "Client.DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        ),
    ],
)
def test_a_launch_that_failed_is_recorded(aws: LocalAws, fields: dict[str, Any], code: str, message: str) -> None:
    """CloudTrail User Guide, "CloudTrail record contents": errorCode, errorMessage, responseElements null."""
    queue = listen(aws, {**CALLS, "detail": {"eventName": ["RunInstances"]}})
    ec2 = aws.client("ec2")
    ec2.modify_instance_metadata_defaults(**ENFORCED)
    made = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": IMAGE})["LaunchTemplate"]
    template = {"LaunchTemplateId": made["LaunchTemplateId"], "Version": "$Latest"}
    refused(ec2.run_instances, LaunchTemplate=template, MinCount=1, MaxCount=1, **fields)
    [event] = queue.wait_for(1)
    detail = event["detail"]
    assert (detail["errorCode"], detail["errorMessage"], detail["responseElements"]) == (code, message, None)
    assert detail["requestParameters"]["launchTemplate"] == {
        "launchTemplateId": made["LaunchTemplateId"],
        "version": "$Latest",
    }
