"""Auto Scaling groups on the local AWS, which launch into its EC2.

Auto Scaling User Guide: "Launch templates", "Mixed instances groups", "Launch configurations", "Control Amazon EC2
launch template usage"; Auto Scaling API Reference.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.integration.local_resources import listen, refused

IMAGE = "ami-0abcdef1234567890"
OPTIONAL, REQUIRED = ({"HttpTokens": tokens} for tokens in ("optional", "required"))
LAUNCHES = {"detail-type": ["AWS API Call via CloudTrail"], "detail": {"eventName": ["RunInstances"]}}
SIZES = {"MinSize": 0, "MaxSize": 9}


class Groups:
    """The groups of an account, and the instances that they launch."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws, self.ec2, self.api = aws, aws.client("ec2"), aws.client("autoscaling")

    def template(self, name: str, *versions: Mapping[str, Any]) -> str:
        """A template whose versions have these metadata options; the first is the default."""
        first, *later = (
            {"ImageId": IMAGE, "MetadataOptions": each} if each else {"ImageId": IMAGE} for each in versions
        )
        answer = self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=first)
        template_id = str(answer["LaunchTemplate"]["LaunchTemplateId"])
        for data in later:
            self.ec2.create_launch_template_version(LaunchTemplateId=template_id, LaunchTemplateData=data)
        return template_id

    def create(self, name: str = "web", *, desired: int = 0, **fields: Any) -> None:
        """A group."""
        zones = {"AvailabilityZones": ["eu-west-1a"]}
        self.api.create_auto_scaling_group(
            AutoScalingGroupName=name, DesiredCapacity=desired, **SIZES, **zones, **fields
        )

    def scale(self, desired: int, name: str = "web") -> None:
        """Set the desired capacity."""
        self.api.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=desired)

    def described(self, name: str = "web") -> dict[str, Any]:
        """The group."""
        [group] = self.api.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return dict(group)

    def instances(self, name: str = "web") -> list[dict[str, Any]]:
        """The group's instances that are not terminated, as EC2 describes them."""
        wanted = {"tag:aws:autoscaling:groupName": name, "instance-state-name": "running"}
        filters = [{"Name": key, "Values": [value]} for key, value in wanted.items()]
        answer = self.ec2.describe_instances(Filters=filters)
        return [each for group in answer["Reservations"] for each in group["Instances"]]

    def tokens(self, name: str = "web") -> list[str]:
        """HttpTokens of each instance."""
        return [each["MetadataOptions"]["HttpTokens"] for each in self.instances(name)]

    def activities(self, name: str = "web") -> list[dict[str, Any]]:
        """The activities of the group, newest first."""
        return list(self.api.describe_scaling_activities(AutoScalingGroupName=name)["Activities"])


@pytest.fixture
def groups(aws: LocalAws) -> Groups:
    """The groups of a new account."""
    return Groups(aws)


def test_a_group_launches_and_terminates_in_ec2(groups: Groups) -> None:
    """The desired number of instances, tagged with the group and its template, each with an event."""
    queue = listen(groups.aws, LAUNCHES)
    template = groups.template("web", OPTIONAL, REQUIRED)
    tag = {"Key": "Team", "Value": "web", "PropagateAtLaunch": True}
    groups.create(desired=2, LaunchTemplate={"LaunchTemplateName": "web", "Version": "$Latest"}, Tags=[tag])
    assert groups.tokens() == ["required", "required"]
    assert {each["Key"]: each["Value"] for each in groups.instances()[0]["Tags"]} == {
        "aws:autoscaling:groupName": "web",
        "aws:ec2launchtemplate:id": template,
        "aws:ec2launchtemplate:version": "2",
        "Team": "web",
    }
    members = groups.described()["Instances"]
    assert [each["InstanceId"] for each in members] == [each["InstanceId"] for each in groups.instances()]
    assert members[0]["LaunchTemplate"] == {
        "LaunchTemplateId": template,
        "LaunchTemplateName": "web",
        "Version": "2",
    }
    dry, *launches = (event["detail"] for event in queue.wait_for(3))
    assert dry["errorCode"] == "Client.DryRunOperation"
    assert (dry["userIdentity"]["type"], dry["userIdentity"]["invokedBy"]) == ("Root", "autoscaling.amazonaws.com")
    for each in launches:
        assert each["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"] == "AWSServiceRoleForAutoScaling"
        assert each["userIdentity"]["invokedBy"] == each["sourceIPAddress"] == "autoscaling.amazonaws.com"
        assert each["requestParameters"]["launchTemplate"] == {"launchTemplateId": template, "version": "$Latest"}
    ids = {each["responseElements"]["instancesSet"]["items"][0]["instanceId"] for each in launches}
    assert ids == {each["InstanceId"] for each in members}
    groups.scale(1)
    assert [each["InstanceId"] for each in groups.instances()] == [members[0]["InstanceId"]]
    newest = groups.activities()[0]
    assert newest["Description"] == f"Terminating EC2 instance: {members[1]['InstanceId']}"
    assert newest["StatusCode"] == "Successful"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1", ["optional", "optional"]), ("$Default", ["optional", "optional"]), ("$Latest", ["optional", "required"])],
)
def test_versions_are_resolved_at_each_launch(groups: Groups, version: str, expected: list[str]) -> None:
    """User Guide: a group on `$Latest` launches a new version without an update; running instances stay as they are."""
    template = groups.template("web", OPTIONAL)
    groups.create(desired=1, LaunchTemplate={"LaunchTemplateId": template, "Version": version})
    data = {"MetadataOptions": REQUIRED}
    groups.ec2.create_launch_template_version(LaunchTemplateId=template, SourceVersion="1", LaunchTemplateData=data)
    groups.scale(2)
    assert groups.tokens() == expected
    groups.ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion="2")
    groups.scale(3)
    assert groups.tokens()[-1] == ("optional" if version == "1" else "required")


def test_an_instance_that_is_terminated_is_replaced(groups: Groups) -> None:
    """User Guide, "Health checks": the group launches another."""
    groups.create(desired=1, LaunchTemplate={"LaunchTemplateId": groups.template("web", OPTIONAL)})
    [first] = groups.instances()
    groups.ec2.terminate_instances(InstanceIds=[first["InstanceId"]])
    [second] = groups.instances()
    assert first["InstanceId"] != second["InstanceId"]
    assert [each["InstanceId"] for each in groups.described()["Instances"]] == [second["InstanceId"]]


@pytest.mark.parametrize(
    ("options", "defaults", "allow", "expected"),
    [
        (OPTIONAL, REQUIRED, False, ("optional", 1)),
        ({**REQUIRED, "HttpPutResponseHopLimit": 2}, {}, False, ("required", 2)),
        ({}, {}, False, ("optional", 1)),
        ({}, REQUIRED, False, ("required", 1)),
        ({}, REQUIRED, True, ("optional", 1)),
    ],
)
def test_launch_configurations(
    groups: Groups, options: dict[str, Any], defaults: dict[str, Any], expected: tuple[str, int], *, allow: bool
) -> None:
    """User Guide: without options "the default is to support both"; a knob decides if the account's comes first."""
    groups.aws.knobs(configurations_allow_imdsv1=allow)
    if defaults:
        groups.ec2.modify_instance_metadata_defaults(**defaults)
    fields = {"ImageId": IMAGE, "InstanceType": "t3.micro", **({"MetadataOptions": options} if options else {})}
    groups.api.create_launch_configuration(LaunchConfigurationName="old", **fields)
    groups.create(desired=1, LaunchConfigurationName="old")
    [instance] = groups.instances()
    shown = instance["MetadataOptions"]
    assert (shown["HttpTokens"], shown["HttpPutResponseHopLimit"]) == expected
    assert groups.described()["Instances"][0]["LaunchConfigurationName"] == "old"
    assert refused(groups.api.delete_launch_configuration, LaunchConfigurationName="old") == "ResourceInUse"


def test_a_launch_configuration_keeps_every_field(groups: Groups) -> None:
    """API Reference, LaunchConfiguration: a field that was not given is an empty text."""
    fields = {
        "ImageId": IMAGE,
        "InstanceType": "t3.micro",
        "UserData": "#!/bin/sh",
        "IamInstanceProfile": "web",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8, "Encrypted": True}}],
        "MetadataOptions": REQUIRED,
    }
    groups.api.create_launch_configuration(LaunchConfigurationName="old", **fields)
    [shown] = groups.api.describe_launch_configurations()["LaunchConfigurations"]
    assert {name: shown[name] for name in fields} == {**fields, "UserData": "IyEvYmluL3No"}
    assert (shown["KernelId"], shown["RamdiskId"]) == ("", "")


def mixed(template: str, *overrides: Mapping[str, Any], version: str = "$Default") -> dict[str, Any]:
    """A mixed instances policy."""
    base = {"LaunchTemplateId": template, "Version": version}
    return {"LaunchTemplate": {"LaunchTemplateSpecification": base, "Overrides": list(overrides)}}


def test_mixed_instances_launch_each_override(groups: Groups) -> None:
    """API Reference, LaunchTemplateOverrides: another instance type, and another template if it names one."""
    base, other = groups.template("web", OPTIONAL), groups.template("arm", REQUIRED)
    arm = {"InstanceType": "t4g.nano", "LaunchTemplateSpecification": {"LaunchTemplateId": other, "Version": "1"}}
    groups.create(desired=2, MixedInstancesPolicy=mixed(base, {"InstanceType": "t3.nano"}, arm))
    launched = [(each["InstanceType"], each["MetadataOptions"]["HttpTokens"]) for each in groups.instances()]
    assert launched == [("t3.nano", "optional"), ("t4g.nano", "required")]
    policy = groups.described()["MixedInstancesPolicy"]
    named = policy["LaunchTemplate"]["LaunchTemplateSpecification"]
    assert named == {"LaunchTemplateId": base, "LaunchTemplateName": "web", "Version": "$Default"}
    assert policy["LaunchTemplate"]["Overrides"][1]["LaunchTemplateSpecification"]["LaunchTemplateName"] == "arm"
    assert policy["InstancesDistribution"]["OnDemandBaseCapacity"] == 0
    assert "LaunchTemplate" not in groups.described()


def test_an_update_replaces_the_launch_source_of_a_group(groups: Groups) -> None:
    """API Reference, UpdateAutoScalingGroup: from the next launch on; the other fields stay."""
    first, second = groups.template("web", OPTIONAL), groups.template("new", OPTIONAL, REQUIRED)
    groups.api.create_launch_configuration(LaunchConfigurationName="old", ImageId=IMAGE, InstanceType="t3.micro")
    groups.create(desired=1, LaunchConfigurationName="old")
    update = groups.api.update_auto_scaling_group
    update(AutoScalingGroupName="web", MixedInstancesPolicy=mixed(first, {"InstanceType": "t3.nano"}))
    assert {"LaunchConfigurationName", "LaunchTemplate"} & groups.described().keys() == set()
    update(AutoScalingGroupName="web", LaunchTemplate={"LaunchTemplateId": second, "Version": "2"}, MaxSize=3)
    described = groups.described()
    assert (described["LaunchTemplate"]["Version"], described["MaxSize"], described["DesiredCapacity"]) == ("2", 3, 1)
    assert "MixedInstancesPolicy" not in described
    assert groups.tokens() == ["optional"]
    update(AutoScalingGroupName="web", MinSize=2)
    assert groups.tokens() == ["optional", "required"]
    update(AutoScalingGroupName="web", LaunchConfigurationName="old", DesiredCapacity=3)
    assert groups.tokens() == ["optional", "required", "optional"]


def test_a_launch_that_ec2_refuses_is_a_failed_activity_and_a_record(groups: Groups) -> None:
    """User Guide, "Troubleshoot": the activity has EC2's message; enforcement applies to service-linked roles too."""
    template = groups.template("web", OPTIONAL)
    groups.create(desired=1, LaunchTemplate={"LaunchTemplateId": template})
    groups.ec2.modify_instance_metadata_defaults(HttpTokens="required", HttpTokensEnforced="enabled")
    queue = listen(groups.aws, LAUNCHES)
    groups.scale(2)
    assert groups.tokens() == ["optional"]
    failed = groups.activities()[0]
    assert failed["StatusCode"] == "Failed"
    assert failed["StatusMessage"].startswith("You can't launch instances with IMDSv1 because httpTokensEnforced is")
    [event] = queue.wait_for(1)
    detail = event["detail"]
    assert (detail["errorCode"], detail["responseElements"]) == ("Client.UnsupportedOperation", None)
    assert detail["errorMessage"].startswith("You can't launch instances with IMDSv1")
    assert detail["userIdentity"]["invokedBy"] == "autoscaling.amazonaws.com"
    assert detail["requestParameters"]["launchTemplate"]["launchTemplateId"] == template
    tags = detail["requestParameters"]["tagSpecificationSet"]["items"][0]["tags"]
    assert tags[0] == {"key": "aws:autoscaling:groupName", "value": "web"}
    groups.ec2.modify_instance_metadata_defaults(HttpTokensEnforced="no-preference")
    groups.scale(2)
    assert groups.tokens() == ["optional", "optional"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "ValidationError"),
        ({"LaunchConfigurationName": "gone"}, "ValidationError"),
        ({"LaunchTemplate": {"LaunchTemplateName": "gone"}}, "ValidationError"),
        ({"LaunchTemplate": {"LaunchTemplateName": "web", "Version": "9"}}, "ValidationError"),
        ({"LaunchTemplate": {"LaunchTemplateName": "web"}, "LaunchConfigurationName": "old"}, "ValidationError"),
        ({"LaunchTemplate": {"LaunchTemplateName": "web"}, "desired": 10}, "ValidationError"),
        ({"LaunchTemplate": {"LaunchTemplateName": "web"}, "name": "there"}, "AlreadyExists"),
    ],
)
def test_refused_creations(groups: Groups, fields: dict[str, Any], code: str) -> None:
    """A group needs exactly one existing source to launch from, consistent sizes, and a new name."""
    groups.create("there", LaunchTemplate={"LaunchTemplateId": groups.template("web", OPTIONAL)})
    groups.api.create_launch_configuration(LaunchConfigurationName="old", ImageId=IMAGE, InstanceType="t3.micro")
    assert refused(groups.create, **fields) == code
    assert len(groups.api.describe_auto_scaling_groups()["AutoScalingGroups"]) == 1


def test_the_dry_run_refuses_a_template_that_cannot_launch(groups: Groups) -> None:
    """User Guide: a group makes it when it is created or gets another template."""
    template = groups.template("web", OPTIONAL, REQUIRED)
    groups.ec2.modify_instance_metadata_defaults(HttpTokens="required", HttpTokensEnforced="enabled")
    named = {"LaunchTemplateId": template}
    assert refused(groups.create, LaunchTemplate=named) == "ValidationError"
    groups.create(LaunchTemplate={**named, "Version": "2"})
    update = groups.api.update_auto_scaling_group
    assert refused(update, AutoScalingGroupName="web", LaunchTemplate=named) == "ValidationError"
    assert groups.described()["LaunchTemplate"]["Version"] == "2"


def test_a_group_with_instances_is_deleted_by_force(groups: Groups) -> None:
    """API Reference, DeleteAutoScalingGroup: ForceDelete terminates them."""
    groups.create(desired=1, LaunchTemplate={"LaunchTemplateId": groups.template("web", OPTIONAL)})
    delete = groups.api.delete_auto_scaling_group
    assert refused(delete, AutoScalingGroupName="web") == "ResourceInUse"
    delete(AutoScalingGroupName="web", ForceDelete=True)
    assert groups.instances() == []
    assert groups.api.describe_auto_scaling_groups()["AutoScalingGroups"] == []
    assert refused(groups.scale, desired=1) == "ValidationError"


def test_the_desired_capacity_lies_between_the_sizes(groups: Groups) -> None:
    """API Reference, SetDesiredCapacity."""
    groups.create(LaunchTemplate={"LaunchTemplateId": groups.template("web", OPTIONAL)})
    groups.api.update_auto_scaling_group(AutoScalingGroupName="web", MinSize=1)
    assert [refused(groups.scale, desired=each) for each in (0, 10)] == ["ValidationError", "ValidationError"]
    assert len(groups.instances()) == 1


def test_listings_have_pages_and_filters(groups: Groups) -> None:
    """API Reference: 50 a page unless asked otherwise, at most 100; filters by tags."""
    template = groups.template("web", OPTIONAL)
    for number in range(52):
        tags = [{"Key": "Number", "Value": str(number)}]
        groups.create(f"web-{number}", LaunchTemplate={"LaunchTemplateId": template}, Tags=tags)
    ask = groups.api.describe_auto_scaling_groups
    first = ask()
    assert [len(first["AutoScalingGroups"]), len(ask(NextToken=first["NextToken"])["AutoScalingGroups"])] == [50, 2]
    assert len(ask(MaxRecords=100)["AutoScalingGroups"]) == 52
    assert refused(ask, MaxRecords=101) == "ValidationError"
    [found] = ask(Filters=[{"Name": "tag:Number", "Values": ["51"]}])["AutoScalingGroups"]
    assert found["AutoScalingGroupName"] == "web-51"


def test_launchers_of_a_stack(groups: Groups) -> None:
    """CloudFormation tags its resources, and its groups launch like others; an update makes a template version."""
    data = {"ImageId": IMAGE, "MetadataOptions": OPTIONAL}
    spec = {"LaunchTemplateId": {"Ref": "Template"}, "Version": {"Fn::GetAtt": ["Template", "LatestVersionNumber"]}}
    resources: dict[str, Any] = {
        "Template": {"Type": "AWS::EC2::LaunchTemplate", "Properties": {"LaunchTemplateData": data}},
        "Group": {
            "Type": "AWS::AutoScaling::AutoScalingGroup",
            "Properties": {
                "AutoScalingGroupName": "web",
                "MinSize": "1",
                "MaxSize": "3",
                "MixedInstancesPolicy": {"LaunchTemplate": {"LaunchTemplateSpecification": spec}},
            },
        },
        "Old": {
            "Type": "AWS::AutoScaling::LaunchConfiguration",
            "Properties": {"ImageId": IMAGE, "InstanceType": "t3.micro", "MetadataOptions": REQUIRED},
        },
    }
    stacks = groups.aws.client("cloudformation")
    stacks.create_stack(StackName="app", TemplateBody=json.dumps({"Resources": resources}))
    until(lambda: stacks.describe_stacks()["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE")
    [template] = groups.ec2.describe_launch_templates()["LaunchTemplates"]
    for tags in (template["Tags"], groups.described()["Tags"]):
        shown = {tag["Key"]: tag["Value"] for tag in tags}
        assert shown["aws:cloudformation:stack-name"] == "app"
        assert shown["aws:cloudformation:logical-id"] in {"Template", "Group"}
    assert groups.tokens() == ["optional"]
    [configuration] = groups.api.describe_launch_configurations()["LaunchConfigurations"]
    assert configuration["MetadataOptions"] == REQUIRED
    made = groups.ec2.create_launch_template_version(
        LaunchTemplateId=template["LaunchTemplateId"], SourceVersion="1", LaunchTemplateData={"KeyName": "k"}
    )
    assert made["LaunchTemplateVersion"]["VersionNumber"] == 2
    groups.ec2.delete_launch_template_versions(LaunchTemplateId=template["LaunchTemplateId"], Versions=["2"])
    data["MetadataOptions"] = REQUIRED
    stacks.update_stack(StackName="app", TemplateBody=json.dumps({"Resources": resources}))
    until(lambda: stacks.describe_stacks()["Stacks"][0]["StackStatus"] == "UPDATE_COMPLETE")
    [template] = groups.ec2.describe_launch_templates()["LaunchTemplates"]
    assert (template["DefaultVersionNumber"], template["LatestVersionNumber"]) == (1, 3)
    groups.scale(2)
    assert groups.tokens() == ["optional", "required"]
    stacks.delete_stack(StackName="app")
    until(lambda: groups.instances() == [])
