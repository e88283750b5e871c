"""IAM for launches on the local AWS (Service Authorization Reference, "Amazon EC2", "Amazon EC2 Auto Scaling")."""

from typing import Any

import pytest

from infra.local.client import LocalAws
from tests.integration.local_resources import assumed, outcome, role

IMAGE = "ami-0abcdef1234567890"
OPTIONAL, REQUIRED = ({"HttpTokens": tokens} for tokens in ("optional", "required"))
EVERYTHING = {"Action": "*", "Resource": "*"}
INSTANCES = "arn:aws:ec2:*:*:instance/*"


def denied(aws: LocalAws, **statement: Any) -> dict[str, str]:
    """Keys of a role that allows everything but what the statement denies; IAM is enforced from here on."""
    keys = assumed(aws, role(aws, "operator", EVERYTHING, {"Effect": "Deny", **statement}))
    aws.enforce_iam()
    return keys


def template(aws: LocalAws, name: str, options: dict[str, Any], **fields: Any) -> str:
    """A template with these metadata options."""
    data = {"ImageId": IMAGE, **({"MetadataOptions": options} if options else {})}
    made = aws.client("ec2").create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data, **fields)
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


@pytest.mark.parametrize(
    ("in_template", "in_request", "code"),
    [
        ({}, {}, "UnauthorizedOperation"),
        ({}, OPTIONAL, "UnauthorizedOperation"),
        ({}, REQUIRED, ""),
        (REQUIRED, {}, ""),
        (OPTIONAL, {}, "UnauthorizedOperation"),
        (OPTIONAL, REQUIRED, ""),
    ],
)
def test_a_permission_may_demand_required_tokens_of_launches(
    aws: LocalAws, in_template: dict[str, Any], in_request: dict[str, Any], code: str
) -> None:
    """EC2 User Guide, "Example policies": ec2:MetadataHttpTokens on instance/*; a launch without tokens is refused.

    The account's default does not count here; whether it counts on AWS is not documented.
    """
    launched_from = template(aws, "web", in_template)
    aws.client("ec2").modify_instance_metadata_defaults(**REQUIRED)
    condition = {"StringNotEquals": {"ec2:MetadataHttpTokens": "required"}}
    ec2 = aws.client("ec2", keys=denied(aws, Action="ec2:RunInstances", Resource=INSTANCES, Condition=condition))
    fields: dict[str, Any] = {"MetadataOptions": in_request} if in_request else {}
    named = {"LaunchTemplateId": launched_from}
    assert outcome(ec2.run_instances, LaunchTemplate=named, MinCount=1, MaxCount=1, **fields) == code


def test_a_permission_may_name_templates_by_arn_and_tag(aws: LocalAws) -> None:
    """The resource of a template change is the template, and its tags are condition keys."""
    tags = [{"ResourceType": "launch-template", "Tags": [{"Key": "Owner", "Value": "web"}]}]
    tagged, named, other = template(aws, "tagged", {}, TagSpecifications=tags), template(aws, "named", {}), "other"
    template(aws, other, {})
    arn = f"arn:aws:ec2:{aws.region}:{aws.account}:launch-template"
    change = {"Action": ["ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate"]}
    keys = assumed(
        aws,
        role(
            aws,
            "fixer",
            {**change, "Resource": f"{arn}/{named}"},
            {**change, "Resource": f"{arn}/*", "Condition": {"StringEquals": {"aws:ResourceTag/Owner": "web"}}},
        ),
    )
    aws.enforce_iam()
    ec2 = aws.client("ec2", keys=keys)
    new = {"LaunchTemplateData": {"KeyName": "k"}}
    assert outcome(ec2.create_launch_template_version, LaunchTemplateId=tagged, **new) == ""
    assert outcome(ec2.create_launch_template_version, LaunchTemplateId=named, **new) == ""
    assert outcome(ec2.modify_launch_template, LaunchTemplateName="named", DefaultVersion="2") == ""
    assert outcome(ec2.create_launch_template_version, LaunchTemplateName=other, **new) == "UnauthorizedOperation"
    assert outcome(ec2.delete_launch_template_versions, LaunchTemplateId=named, Versions=["1"]) == (
        "UnauthorizedOperation"
    )


@pytest.mark.parametrize(("options", "code"), [(REQUIRED, ""), (OPTIONAL, "AccessDenied"), ({}, "AccessDenied")])
def test_a_permission_may_demand_required_tokens_of_launch_configurations(
    aws: LocalAws, options: dict[str, Any], code: str
) -> None:
    """Condition key autoscaling:MetadataHttpTokens."""
    condition = {"StringNotEquals": {"autoscaling:MetadataHttpTokens": "required"}}
    keys = denied(aws, Action="autoscaling:CreateLaunchConfiguration", Resource="*", Condition=condition)
    fields: dict[str, Any] = {"MetadataOptions": options} if options else {}
    create = aws.client("autoscaling", keys=keys).create_launch_configuration
    got = outcome(create, LaunchConfigurationName="old", ImageId=IMAGE, InstanceType="t3.micro", **fields)
    assert got == code


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ({"LaunchTemplate": {"LaunchTemplateName": "web", "Version": "1"}}, ""),
        ({"LaunchTemplate": {"LaunchTemplateName": "web"}}, "AccessDenied"),
        ({"LaunchConfigurationName": "old"}, "AccessDenied"),
        (
            {
                "MixedInstancesPolicy": {
                    "LaunchTemplate": {
                        "LaunchTemplateSpecification": {"LaunchTemplateName": "web", "Version": "$Latest"}
                    }
                }
            },
            "AccessDenied",
        ),
    ],
)
def test_a_permission_may_demand_a_template_version_of_groups(aws: LocalAws, source: dict[str, Any], code: str) -> None:
    """Condition key autoscaling:LaunchTemplateVersionSpecified: only a number specifies a version."""
    template(aws, "web", REQUIRED)
    aws.client("autoscaling").create_launch_configuration(
        LaunchConfigurationName="old", ImageId=IMAGE, InstanceType="t3.micro"
    )
    condition = {"BoolIfExists": {"autoscaling:LaunchTemplateVersionSpecified": "false"}}
    keys = denied(aws, Action="autoscaling:CreateAutoScalingGroup", Resource="*", Condition=condition)
    create = aws.client("autoscaling", keys=keys).create_auto_scaling_group
    zones = {"AvailabilityZones": ["eu-west-1a"], "MinSize": 0, "MaxSize": 1}
    assert outcome(create, AutoScalingGroupName="web", **zones, **source) == code
