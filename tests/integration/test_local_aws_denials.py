"""Denials with the condition keys of an organization's SCP, as the documents that each test names describe them."""

from typing import Any

import pytest

from infra.local.client import LocalAws
from tests.integration.local_resources import assumed, outcome, role

ALLOWED = {"Action": "*", "Resource": "*"}
REFUSED = "UnauthorizedOperation"
INSTANCES = "arn:aws:ec2:*:*:instance/*"
GROUPS = "arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/*"
GROUP_CALLS = ["autoscaling:CreateAutoScalingGroup", "autoscaling:UpdateAutoScalingGroup"]
SIZES = {"MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["eu-west-1a"]}
LAUNCH = {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1}


def denied(action: str | list[str], resource: str, **condition: Any) -> dict[str, Any]:
    """A deny statement."""
    return {"Effect": "Deny", "Action": action, "Resource": resource, "Condition": condition}


def keys(aws: LocalAws, *denials: dict[str, Any]) -> dict[str, str]:
    """Keys of a role that allows everything else; IAM is enforced from here on."""
    found = assumed(aws, role(aws, "limited", ALLOWED, *denials))
    aws.enforce_iam()
    return found


def test_the_principal_of_a_session_is_its_role(aws: LocalAws) -> None:
    """The ARN has the role's path (IAM User Guide, "aws:PrincipalArn")."""
    [instance] = aws.launch(HttpTokens="required")
    unless = {"ArnNotLike": {"aws:PrincipalArn": ["arn:aws:iam::*:role/ops/lead", "arn:aws:iam::*:role/others"]}}
    statements = (ALLOWED, denied("ec2:ModifyInstanceMetadataOptions", "*", **unless))
    lead = assumed(aws, role(aws, "lead", *statements, path="/ops/"))
    namesake = assumed(aws, role(aws, "ops", *statements))
    aws.enforce_iam()
    for session, code in ((lead, ""), (namesake, REFUSED)):
        modify = aws.client("ec2", keys=session).modify_instance_metadata_options
        assert outcome(modify, InstanceId=instance, HttpTokens="required") == code


@pytest.mark.parametrize(
    ("options", "code"),
    [({"HttpTokens": "required"}, ""), ({"HttpTokens": "optional"}, REFUSED), ({}, REFUSED)],
)
@pytest.mark.parametrize("by_template", [False, True])
def test_a_launch_is_denied_by_its_tokens(
    aws: LocalAws, options: dict[str, str], code: str, *, by_template: bool
) -> None:
    """They come from the request or its launch template; a launch without any is denied too.

    EC2 User Guide, "Example policies".
    """
    launch: dict[str, Any] = {"MetadataOptions": options} if options else {}
    if by_template:
        data = {"ImageId": "ami-1", **launch}
        template = aws.client("ec2").create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
        launch = {"LaunchTemplate": {"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"]}}
    unless = {"StringNotEquals": {"ec2:MetadataHttpTokens": "required"}}
    ec2 = aws.client("ec2", keys=keys(aws, denied("ec2:RunInstances", INSTANCES, **unless)))
    assert outcome(ec2.run_instances, **LAUNCH, **launch) == code


def test_a_launch_configuration_is_denied_by_its_tokens(aws: LocalAws) -> None:
    """Auto Scaling User Guide, "Require the use of instance metadata service version 2"."""
    resource = "arn:aws:autoscaling:*:*:launchConfiguration:*:launchConfigurationName/*"
    unless = {"StringNotEquals": {"autoscaling:MetadataHttpTokens": "required"}}
    found = keys(aws, denied("autoscaling:CreateLaunchConfiguration", resource, **unless))
    create = aws.client("autoscaling", keys=found).create_launch_configuration
    same = {"ImageId": "ami-1", "InstanceType": "t3.micro"}
    required, optional = {"HttpTokens": "required"}, {"HttpTokens": "optional"}
    assert outcome(create, LaunchConfigurationName="a", MetadataOptions=required, **same) == ""
    assert outcome(create, LaunchConfigurationName="b", MetadataOptions=optional, **same) == "AccessDenied"
    assert outcome(create, LaunchConfigurationName="c", **same) == "AccessDenied"


def test_a_group_is_denied_by_its_launch_source(aws: LocalAws) -> None:
    """The same guide, "Require a launch template and a version number"."""
    aws.client("ec2").create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": "ami-1"})
    aws.client("autoscaling").create_launch_configuration(
        LaunchConfigurationName="old", ImageId="ami-1", InstanceType="t3.micro"
    )
    found = keys(
        aws,
        denied(GROUP_CALLS, GROUPS, Bool={"autoscaling:LaunchTemplateVersionSpecified": "false"}),
        denied(GROUP_CALLS, GROUPS, Null={"autoscaling:LaunchConfigurationName": "false"}),
    )
    client = aws.client("autoscaling", keys=found)
    template = {"LaunchTemplateName": "web"}
    for name, launched, code in (
        ("number", {"LaunchTemplate": {**template, "Version": "1"}}, ""),
        ("latest", {"LaunchTemplate": {**template, "Version": "$Latest"}}, "AccessDenied"),
        ("default", {"LaunchTemplate": template}, "AccessDenied"),
        ("configuration", {"LaunchConfigurationName": "old"}, "AccessDenied"),
    ):
        assert outcome(client.create_auto_scaling_group, AutoScalingGroupName=name, **SIZES, **launched) == code
        if name != "number":
            update = {"AutoScalingGroupName": "number", **launched}
            assert outcome(client.update_auto_scaling_group, **update) == code
    assert outcome(client.update_auto_scaling_group, AutoScalingGroupName="number", MaxSize=2) == ""


def test_tags_are_denied_by_their_keys(aws: LocalAws) -> None:
    """Tags of an instance, with any values (IAM User Guide, "aws:TagKeys")."""
    [instance] = aws.launch(HttpTokens="required")
    exempting = {"ForAnyValue:StringLike": {"aws:TagKeys": ["imds-*"]}}
    ec2 = aws.client("ec2", keys=keys(aws, denied(["ec2:CreateTags", "ec2:DeleteTags"], INSTANCES, **exempting)))
    for call in (ec2.create_tags, ec2.delete_tags):
        tags = [{"Key": "Name", "Value": "web"}]
        assert outcome(call, Resources=[instance], Tags=tags) == ""
        tags.append({"Key": "imds-v1", "Value": "yes"})
        assert outcome(call, Resources=[instance], Tags=tags) == REFUSED
