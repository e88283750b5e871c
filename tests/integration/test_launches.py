"""`imds-enforcer launches` on an account with each kind of launcher: the next launch proves each verdict."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local import operator
from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.integration.measured import measured

IMAGE, V2_IMAGE = "ami-0abcdef1234567890", "ami-0000000000000v200"
OPTIONAL, REQUIRED = ({"MetadataOptions": {"HttpTokens": tokens}} for tokens in ("optional", "required"))
OFF = {"MetadataOptions": {"HttpEndpoint": "disabled"}}
REGIONS = ("eu-west-1", "us-east-1", "us-west-2")
SIZES = {"MinSize": 0, "MaxSize": 9, "AvailabilityZones": ["eu-west-1a"]}
REFUSED = "UnsupportedOperation"
"""EC2's code for a launch with optional tokens if the account enforces them."""


class Account:
    """An account with each kind of launcher."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws, self.ec2, self.groups = aws, aws.client("ec2"), aws.client("autoscaling")
        aws.knobs(imds_v2_images=[V2_IMAGE])
        self.own = self.ec2.register_image(Name="golden", RootDeviceName="/dev/xvda")["ImageId"]
        self.web = self._template("web", OPTIONAL, REQUIRED, {"ImageId": self.own})
        self.new = self._template("new", {"ImageId": V2_IMAGE})
        self._template("off", {**OFF, "ImageId": IMAGE})
        self._template("asked", {"ImageId": self.own, "MetadataOptions": {"HttpEndpoint": "enabled"}})
        self._group("pinned", LaunchTemplate={"LaunchTemplateId": self.web, "Version": "1"})
        self._group("latest", LaunchTemplate={"LaunchTemplateId": self.web, "Version": "$Latest"})
        self._group("default", LaunchTemplate={"LaunchTemplateId": self.web, "Version": "$Default"})
        self._group("mixed", MixedInstancesPolicy=self._mixed())
        for name, fields in {"old": OPTIONAL, "old-v2": REQUIRED, "old-silent": {}}.items():
            self.groups.create_launch_configuration(
                LaunchConfigurationName=name, ImageId=IMAGE, InstanceType="t3.micro", **fields
            )
            self._group(f"group-of-{name}", LaunchConfigurationName=name)
        self._node_group()

    def _template(self, name: str, *versions: Mapping[str, Any]) -> str:
        """A launch template whose second version, if any, is the default."""
        first, *later = ({"ImageId": IMAGE, **each} for each in versions)
        made = self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=first)
        template = str(made["LaunchTemplate"]["LaunchTemplateId"])
        for data in later:
            self.ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData=data)
        if later:
            self.ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion="2")
        return template

    def _group(self, name: str, **launches_with: Any) -> None:
        self.groups.create_auto_scaling_group(AutoScalingGroupName=name, **SIZES, **launches_with)

    def _mixed(self) -> dict[str, Any]:
        named = {"LaunchTemplateSpecification": {"LaunchTemplateId": self.new, "Version": "$Latest"}}
        other = {"LaunchTemplateSpecification": {"LaunchTemplateId": self.web, "Version": "1"}}
        return {"LaunchTemplate": {**named, "Overrides": [{"InstanceType": "t3.micro", **other}]}}

    def _node_group(self) -> None:
        """Make a node group with a version of the account's own template that nothing else names."""
        eks = self.aws.client("eks")
        own = self._template("nodes", REQUIRED, OPTIONAL, REQUIRED)
        eks.create_cluster(name="shop", roleArn="arn:aws:iam::1:role/eks", resourcesVpcConfig={})
        until(lambda: eks.describe_cluster(name="shop")["cluster"]["status"] == "ACTIVE")
        eks.create_nodegroup(
            clusterName="shop",
            nodegroupName="blue",
            scalingConfig={"minSize": 0, "maxSize": 9, "desiredSize": 0},
            subnets=[],
            nodeRole="arn:aws:iam::1:role/node",
            launchTemplate={"id": own, "version": "1"},
        )

    def launchers(self) -> list[dict[str, Any]]:
        """The launchers that the command lists."""
        listed = operator.answer(self.aws, "launches", "--regions", self.aws.region)
        assert listed["unread"] == []
        return list(listed["launchers"])

    def launches_imdsv1(self, launcher: Mapping[str, Any]) -> bool:
        """Launch the launcher's next instance; returns whether it allows IMDSv1. A refused launch does not."""
        launch: dict[str, Callable[[], Mapping[str, Any] | None]] = {
            "launch_template": lambda: self._run(
                LaunchTemplate={"LaunchTemplateId": launcher["id"], "Version": launcher["version"]}
            ),
            "auto_scaling_group": lambda: self._scaled(launcher["id"]),
            "launch_configuration": lambda: self._scaled(f"group-of-{launcher['id']}"),
            "image": lambda: self._run(ImageId=launcher["id"]),
            "region_defaults": lambda: self._run(ImageId=IMAGE),
        }
        options = launch[launcher["kind"]]()
        return bool(options and options["HttpTokens"] == "optional" and options["HttpEndpoint"] == "enabled")

    def _run(self, **launched_with: Any) -> Mapping[str, Any] | None:
        try:
            answer = self.ec2.run_instances(MinCount=1, MaxCount=1, **launched_with)
        except ClientError as error:
            if error.response["Error"]["Code"] != REFUSED:
                raise
            return None
        return self.aws.metadata_options(answer["Instances"][0]["InstanceId"])

    def _scaled(self, name: str) -> Mapping[str, Any] | None:
        """The options of the instance that a group adds."""
        before = self._members(name)
        self.groups.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=len(before) + 1)
        new = self._members(name) - before
        if not new:
            activity = self.groups.describe_scaling_activities(AutoScalingGroupName=name)["Activities"][0]
            assert activity["StatusCode"] == "Failed"
            return None
        return self.aws.metadata_options(*new)

    def _members(self, name: str) -> set[str]:
        [group] = self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return {each["InstanceId"] for each in group["Instances"]}


@pytest.fixture
def account(aws: LocalAws) -> Account:
    """A new account."""
    return Account(aws)


def called(launcher: Mapping[str, Any]) -> str:
    """A launcher's kind and name, without ids that differ in every run."""
    if launcher["kind"] == "launch_template":
        return f"{launcher['name'].partition('-')[0]} {launcher['version']}"
    return str(launcher["name"] or launcher["id"]).partition("-0")[0]


VERDICTS = {
    "eu-west-1": True,
    "golden": True,
    "web 1": True,
    "web 2": False,
    "web 3": True,
    "new 1": False,
    "off 1": False,
    "asked 1": True,
    "nodes 1": False,
    "nodes 2": True,
    "nodes 3": False,
    "eks 1": False,
    "pinned": True,
    "latest": True,
    "default": False,
    "mixed": True,
    "old": True,
    "old-v2": False,
    "old-silent": True,
    "group-of-old": True,
    "group-of-old-v2": False,
    "group-of-old-silent": True,
}
"""The verdicts in a region without defaults."""


def test_the_verdicts_on_each_kind_of_launcher(account: Account) -> None:
    """The table has every version in use, and no other."""
    found = {called(each): each for each in account.launchers()}
    [nodes] = [name for name in found if name.startswith("eks-")]
    assert {name: each["launches_imdsv1"] for name, each in found.items() if name != nodes} == VERDICTS
    assert found["nodes 1"]["used_as"] == ["node group shop/blue"]
    assert found["web 1"]["used_as"] == ["group mixed", "group pinned"]
    assert found[nodes]["owner"]["text"] == "EKS cluster shop, node group blue"


@pytest.mark.parametrize(
    "defaults",
    [
        {},
        {"HttpTokens": "optional"},
        {"HttpTokens": "required"},
        {"HttpTokens": "required", "HttpTokensEnforced": "enabled"},
        {"HttpTokensEnforced": "enabled"},
        {"HttpEndpoint": "disabled"},
    ],
    ids=lambda each: ",".join(f"{name}={value}" for name, value in each.items()) or "none",
)
def test_the_next_launch_proves_each_verdict(account: Account, defaults: dict[str, str]) -> None:
    """Under each default that a region can have; only launch configurations may have an unknown verdict."""
    if defaults:
        account.ec2.modify_instance_metadata_defaults(**defaults)
    listed = account.launchers()
    known = [each for each in listed if each["launches_imdsv1"] is not None]
    proven = {called(each): account.launches_imdsv1(each) for each in known}
    assert proven == {called(each): each["launches_imdsv1"] for each in known}
    unknown = {called(each) for each in listed if each["launches_imdsv1"] is None}
    assert {name for name in unknown if "old" not in name} == set()


def test_instances_are_counted_by_launcher(account: Account) -> None:
    """The running instances, by template, group, image and region."""
    pinned = {"kind": "auto_scaling_group", "id": "pinned"}
    account.launches_imdsv1(pinned)
    account.launches_imdsv1(pinned)
    account.launches_imdsv1({"kind": "image", "id": account.own})
    found = {called(each): each["instances"] for each in account.launchers()}
    assert {name: number for name, number in found.items() if number} == {
        "pinned": 2,
        "web 1": 2,
        "golden": 1,
        "eu-west-1": 3,
    }


def test_a_denied_service_adds_one_line(account: Account) -> None:
    """The command lists the rest; the exit code shows that the list is incomplete."""
    account.aws.fail("eks:ListClusters", "AccessDeniedException", status=403, message="No.")
    done = operator.run(account.aws, "launches", "--regions", ",".join(REGIONS), "--output", "json")
    assert done.returncode == 1
    said, summary = done.stderr.splitlines()
    assert said == f"EKS did not list node groups in {', '.join(REGIONS)}: AccessDeniedException: No."
    assert "launchers in 3 regions" in summary
    assert "web 3" in {called(each) for each in json.loads(done.stdout)["launchers"]}


TEMPLATES, GROUPS = 167, 17
"""In each region; 501 templates in all. Each group pins a version that is neither default nor latest."""

LATENCY_SECONDS = 0.05


def test_the_listing_of_500_templates_in_3_regions(aws: LocalAws) -> None:
    """Within 5 seconds at 50 ms a call: CPU time plus the calls made one after another.

    These are the list of regions, nine calls in each region, and five rounds of four versions. Other tests, of the
    reader and the command, show that regions and versions are read concurrently.
    """
    for region in REGIONS:
        ec2, groups = aws.client("ec2", region), aws.client("autoscaling", region)
        data = {"ImageId": IMAGE}
        for number in range(TEMPLATES):
            made = ec2.create_launch_template(LaunchTemplateName=f"template-{number}", LaunchTemplateData=data)
            if number < GROUPS:
                template = made["LaunchTemplate"]["LaunchTemplateId"]
                for _ in range(2):
                    ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData=data)
                pinned = {"LaunchTemplateId": template, "Version": "2"}
                groups.create_auto_scaling_group(AutoScalingGroupName=f"group-{number}", **SIZES, LaunchTemplate=pinned)
    aws.reset_calls()
    written, took = measured(aws, "launches", "--regions", ",".join(REGIONS), "--output", "json")
    found = json.loads(written)["launchers"]
    assert len(found) == len(REGIONS) * (TEMPLATES + 2 * GROUPS + GROUPS + 1)
    calls = {(row["region"], row["action"]): row["count"] for row in aws.call_rows()}
    assert {calls[region, "ec2:DescribeLaunchTemplateVersions"] for region in REGIONS} == {1 + GROUPS}
    assert {sum(calls[each] for each in calls if each[0] == region) for region in REGIONS[1:]} == {9 + GROUPS}
    assert took["computing"] + (1 + 9 + 5) * LATENCY_SECONDS < 5
