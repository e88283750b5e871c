"""The local AWS's answers about launches, as far as the audit uses them."""

from infra.local.client import LocalAws
from tests.integration.local_resources import refused

V2_IMAGE = "ami-0000000000000v200"
IMAGE = "ami-0abcdef1234567890"


def test_an_instance_is_tagged_with_its_launch_template(aws: LocalAws) -> None:
    """With the version's number, even if the launch named an alias; its own tags stay."""
    ec2 = aws.client("ec2")
    data = {"ImageId": IMAGE, "MetadataOptions": {"HttpTokens": "required"}}
    template = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
    template_id = template["LaunchTemplate"]["LaunchTemplateId"]
    ec2.create_launch_template_version(LaunchTemplateId=template_id, LaunchTemplateData={"ImageId": IMAGE})
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web-1"}]}]
    for version, number in (("$Latest", "2"), ("$Default", "1"), ("2", "2"), (None, "1")):
        specification = {"LaunchTemplateId": template_id, **({"Version": version} if version else {})}
        [launched] = ec2.run_instances(LaunchTemplate=specification, MinCount=1, MaxCount=1, TagSpecifications=tags)[
            "Instances"
        ]
        [reservation] = ec2.describe_instances(InstanceIds=[launched["InstanceId"]])["Reservations"]
        assert {tag["Key"]: tag["Value"] for tag in reservation["Instances"][0]["Tags"]} == {
            "Name": "web-1",
            "aws:ec2launchtemplate:id": template_id,
            "aws:ec2launchtemplate:version": number,
        }


def test_versions_of_a_launch_template(aws: LocalAws) -> None:
    """By numbers and aliases in one request, with their options."""
    ec2 = aws.client("ec2")
    data = {"MetadataOptions": {"HttpTokens": "optional"}}
    template = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)["LaunchTemplate"]
    template_id = template["LaunchTemplateId"]
    for _ in range(2):
        ec2.create_launch_template_version(LaunchTemplateId=template_id, LaunchTemplateData={"ImageId": IMAGE})
    found = ec2.describe_launch_template_versions(LaunchTemplateId=template_id, Versions=["$Default", "$Latest", "2"])
    described = {each["VersionNumber"]: each for each in found["LaunchTemplateVersions"]}
    assert sorted(described) == [1, 2, 3]
    assert [number for number, each in described.items() if each["DefaultVersion"]] == [1]
    assert described[1]["LaunchTemplateData"]["MetadataOptions"]["HttpTokens"] == "optional"
    assert "MetadataOptions" not in described[3]["LaunchTemplateData"]
    gone = refused(ec2.describe_launch_template_versions, LaunchTemplateId="lt-00000000000000000", Versions=["1"])
    assert gone.startswith("InvalidLaunchTemplateId.NotFound")


def test_an_image_may_require_tokens(aws: LocalAws) -> None:
    """A filter for a missing image is no error."""
    aws.knobs(imds_v2_images=[V2_IMAGE])
    wanted = [{"Name": "image-id", "Values": [V2_IMAGE, IMAGE, "ami-00000000000000000"]}]
    found = aws.client("ec2").describe_images(Filters=wanted, IncludeDeprecated=True, IncludeDisabled=True)["Images"]
    assert {each["ImageId"]: each.get("ImdsSupport") for each in found} == {V2_IMAGE: "v2.0", IMAGE: None}


def test_a_launch_configuration_keeps_its_options(aws: LocalAws) -> None:
    """If it has any; an invalid value is refused."""
    autoscaling = aws.client("autoscaling")
    for name, options in (("with", {"MetadataOptions": {"HttpTokens": "optional"}}), ("without", {})):
        autoscaling.create_launch_configuration(
            LaunchConfigurationName=name, ImageId=IMAGE, InstanceType="t3.micro", **options
        )
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="web", LaunchConfigurationName="with", MinSize=0, MaxSize=1, AvailabilityZones=["a"]
    )
    found = autoscaling.describe_launch_configurations(LaunchConfigurationNames=["with", "without", "gone"])
    assert {each["LaunchConfigurationName"]: each.get("MetadataOptions") for each in found["LaunchConfigurations"]} == {
        "with": {"HttpTokens": "optional"},
        "without": None,
    }
    [group] = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["web", "gone"])["AutoScalingGroups"]
    assert group["LaunchConfigurationName"] == "with"
    code = refused(
        autoscaling.create_launch_configuration,
        LaunchConfigurationName="wrong",
        ImageId=IMAGE,
        InstanceType="t3.micro",
        MetadataOptions={"HttpTokens": "maybe"},
    )
    assert code == "ValidationError"
