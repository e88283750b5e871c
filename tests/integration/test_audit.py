"""The installed command audits fleets of the local AWS."""

import json
import re
from typing import Any

from infra.local import operator
from infra.local.client import LocalAws
from tests.integration.measured import measured

REGIONS = ("ap-southeast-1", "eu-central-1", "eu-west-1", "us-east-1", "us-west-2")
EVERYWHERE = ("--regions", ",".join(REGIONS))
DAY = 86_400
LATENCY_SECONDS = 0.05
V2_IMAGE = "ami-0000000000000v200"


def launched_from(aws: LocalAws, template_id: str, **fields: Any) -> str:
    """An instance of a launch template."""
    answer = aws.client("ec2").run_instances(
        LaunchTemplate={"LaunchTemplateId": template_id}, MinCount=1, MaxCount=1, **fields
    )
    return str(answer["Instances"][0]["InstanceId"])


def template(aws: LocalAws, name: str, *versions: dict[str, Any]) -> str:
    """A launch template with these versions; the first is its default."""
    ec2 = aws.client("ec2")
    first, *later = versions
    answer = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=first)
    template_id = str(answer["LaunchTemplate"]["LaunchTemplateId"])
    for each in later:
        ec2.create_launch_template_version(LaunchTemplateId=template_id, LaunchTemplateData=each)
    return template_id


def test_five_thousand_instances_in_five_regions(aws: LocalAws) -> None:
    """In less than 15 s at 50 ms a call, with memory for one page of each region.

    The test adds CPU time and the latency of the calls, so that it does not depend on how busy the machine is.
    """
    aws.knobs(cloudtrail_events=False, state_change_events=False, attached_seconds=3 * DAY)
    for region in REGIONS:
        aws.launch(region, 700, tags={"Name": "web"}, HttpTokens="optional")
        aws.launch(region, 300, tags={"Name": "web"}, HttpTokens="required")
    aws.knobs(latency_seconds=LATENCY_SECONDS, request_buckets="published")
    for output, shown in (("table", 3_500), ("html", 5_000)):
        aws.reset_calls()
        written, took = measured(aws, "audit", *EVERYWHERE, "--output", output)
        print(output, took, aws.calls())  # noqa: T201  # for `pytest -rP`
        assert len(set(re.findall(r"\bi-[0-9a-f]{17}", written))) == shown
        assert took["exit_code"] == 1
        assert took["megabytes"] < 300
        assert took["computing"] + aws.calls() * LATENCY_SECONDS < 15


def test_where_imdsv1_instances_come_from(aws: LocalAws) -> None:
    """From a template, one that was fixed since, a launch configuration, an image, or the region's default."""
    aws.knobs(imds_v2_images=[V2_IMAGE])
    ec2, autoscaling = aws.client("ec2"), aws.client("autoscaling")
    optional, required = ({"MetadataOptions": {"HttpTokens": tokens}} for tokens in ("optional", "required"))
    fixed = template(aws, "fixed", optional, required)
    group = [{"Key": "aws:autoscaling:groupName", "Value": "web"}]
    first = launched_from(aws, fixed, TagSpecifications=[{"ResourceType": "instance", "Tags": group}])
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="web",
        LaunchTemplate={"LaunchTemplateId": fixed, "Version": "$Latest"},
        MinSize=0,
        MaxSize=1,
        AvailabilityZones=["eu-west-1a"],
    )
    autoscaling.create_launch_configuration(
        LaunchConfigurationName="old", ImageId=V2_IMAGE, InstanceType="t3.micro", **optional
    )
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="batch",
        LaunchConfigurationName="old",
        MinSize=0,
        MaxSize=1,
        AvailabilityZones=["eu-west-1a"],
    )
    [second] = aws.launch(auto_scaling_group="batch", HttpTokens="optional")
    third = launched_from(aws, template(aws, "bare", {"ImageId": V2_IMAGE}))
    document = audited(aws, "--regions", "eu-west-1")
    sources = {(each["auto_scaling_group"], each["launches_imdsv1"]): each for each in document["sources"]}
    assert sources["web", False]["instance_ids"] == [first]
    assert sources["web", False]["why"] == f"launch template {fixed} version 2 sets HttpTokens required"
    assert sources["batch", True]["instance_ids"] == [second]
    assert sources["batch", True]["why"] == "launch configuration old sets HttpTokens optional"
    assert sources[None, False]["why"].endswith(f"image {V2_IMAGE} requires tokens")
    assert {each["instance_id"]: each["status"] for each in document["instances"]}[third] == "COMPLIANT"
    ec2.modify_instance_metadata_defaults(HttpTokens="optional")
    document = audited(aws, "--regions", "eu-west-1")
    assert {each["auto_scaling_group"]: each["launches_imdsv1"] for each in document["sources"]}[None]


def test_hidden_managed_instances_are_counted(aws: LocalAws) -> None:
    """They count beside the account's own, even if EC2 does not know the parameter and hides no instance."""
    [own] = aws.launch(HttpTokens="optional")
    [managed] = aws.launch(HttpTokens="optional", managed_by="eks.amazonaws.com")

    def statuses() -> dict[str, str]:
        document = audited(aws, "--regions", "eu-west-1")
        return {each["instance_id"]: each["status"] for each in document["instances"]}

    assert statuses() == {own: "DRIFT", managed: "MANAGED"}
    aws.knobs(managed_visible=True)
    aws.fail("ec2:DescribeInstances", "UnknownParameter", status=400, parameters={"IncludeManagedResources": "true"})
    assert statuses() == {own: "DRIFT", managed: "MANAGED"}


def test_a_denial_by_the_organization_is_no_finding(aws: LocalAws) -> None:
    """If it denies a region, or the list of regions, the exit code is 0 and the audit claims no 100 %."""
    aws.launch(HttpTokens="required")
    aws.deny("ec2:DescribeInstances", region="us-east-1")
    denied = operator.run(aws, "audit", "--regions", "eu-west-1,us-east-1")
    assert denied.returncode == 0, denied.stderr
    assert "us-east-1: denied by the organization: UnauthorizedOperation: You are not authorized" in denied.stderr
    assert "1 instance in 2 regions, 99.9 % compliant" in denied.stderr
    aws.deny("ec2:DescribeRegions")
    unlisted = operator.run(aws, "audit")
    assert unlisted.returncode == 0, unlisted.stderr
    assert "This covers only eu-west-1; name others in the policy's regions.include." in unlisted.stderr
    aws.clear_faults()
    aws.fail("ec2:DescribeInstances", "UnauthorizedOperation", status=403, message="No.", region="us-east-1")
    assert operator.run(aws, "audit", "--regions", "eu-west-1,us-east-1").returncode == 1


def audited(aws: LocalAws, *arguments: str) -> Any:
    """The document of an audit that finds something."""
    done = operator.run(aws, "audit", *arguments, "--output", "json")
    assert done.returncode == 1, done.stderr
    return json.loads(done.stdout)
