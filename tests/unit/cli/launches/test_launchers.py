from __future__ import annotations

from typing import Any

import pytest

from imds_enforcer.model import LaunchTemplate, Source
from imds_enforcer_cli.launches.launcher import Launcher, ordered
from imds_enforcer_cli.launches.launchers import launchers
from imds_enforcer_cli.launches.reader import LaunchReader
from tests.fakes.launches import ANN, FakeLaunches, one_of_each

OPTIONAL = {"MetadataOptions": {"HttpTokens": "optional"}}
LAUNCHED = [
    ("i-1", Source("web", LaunchTemplate("lt-web", "1"), "ami-old")),
    ("i-2", Source("web", LaunchTemplate("lt-web", "2"), "ami-old")),
    ("i-3", Source("batch", None, "ami-old")),
    ("i-4", Source(None, None, "ami-new")),
]


@pytest.fixture
def region() -> FakeLaunches:
    """A region with a launcher of each kind."""
    region = FakeLaunches()
    one_of_each(region)
    return region


def found_in(region: FakeLaunches) -> list[Launcher]:
    """The launchers of the region, sorted."""
    inventory = LaunchReader(region, region, region).read(images=["ami-old", "ami-new"])
    return ordered(launchers("eu-west-1", inventory, LAUNCHED))


def by_name(region: FakeLaunches) -> dict[str, Launcher]:
    """The launchers by their names."""
    return {str(each): each for each in found_in(region)}


def test_every_kind_with_its_outlook_its_uses_and_its_instances(region: FakeLaunches) -> None:
    """Those of most concern come first."""
    assert [
        (str(each), each.outlook.launches_imdsv1, each.used_as, len(each.instance_ids)) for each in found_in(region)
    ] == [
        ("account defaults of eu-west-1", True, (), 4),
        ("image golden (ami-old)", True, (), 3),
        ("Auto Scaling group web", True, (), 2),
        ("launch template web (lt-web) version 1", True, ("group web",), 1),
        ("Auto Scaling group batch", True, (), 1),
        ("launch configuration old", True, ("group batch",), 1),
        ("launch template eks-0a1b (lt-eks) version 1", True, ("$Default", "$Latest"), 0),
        ("launch template web (lt-web) version 3", True, ("$Latest",), 0),
        ("Auto Scaling group eks-blue", True, (), 0),
        ("launch template bare (lt-bare) version 1", None, ("$Default", "$Latest"), 0),
        ("launch template web (lt-web) version 2", False, ("$Default",), 1),
        ("launch template lt-new version 1", False, ("$Default", "$Latest", "node group shop/blue"), 0),
        ("launch template lt-off version 1", False, ("$Default", "$Latest"), 0),
    ]


def test_the_owner_of_each_launcher(region: FakeLaunches) -> None:
    """By its tags. A launch configuration, which has none, belongs to the owner of its group."""
    assert {name: str(each.owner) for name, each in by_name(region).items() if each.owner} == {
        "launch template web (lt-web) version 1": "CloudFormation stack shop, resource Template",
        "launch template web (lt-web) version 2": "CloudFormation stack shop, resource Template",
        "launch template web (lt-web) version 3": "CloudFormation stack shop, resource Template",
        "launch template eks-0a1b (lt-eks) version 1": "EKS cluster shop, node group blue",
        "launch template bare (lt-bare) version 1": f"created by {ANN}",
        "Auto Scaling group batch": "Elastic Beanstalk environment jobs",
        "Auto Scaling group eks-blue": "EKS cluster shop, node group blue",
        "launch configuration old": "Elastic Beanstalk environment jobs",
    }


def test_the_advice_for_each_launcher(region: FakeLaunches) -> None:
    """None if it launches no IMDSv1. For a node group, the account's own template, which EKS has copied."""
    found = by_name(region)
    assert {name for name, each in found.items() if not each.advice} == {
        name for name, each in found.items() if each.outlook.launches_imdsv1 is False
    }
    group, template = found["Auto Scaling group web"], found["launch template web (lt-web) version 1"]
    assert group.advice == "MetadataOptions.HttpTokens of launch template lt-web version 1: required"
    assert template.advice == (
        "LaunchTemplateData.MetadataOptions.HttpTokens of Template in stack shop: required; name it in group web"
    )
    assert found["Auto Scaling group eks-blue"].advice.startswith("MetadataOptions.HttpTokens of lt-new: required")


def test_the_advice_for_defaults_that_an_organization_manages(region: FakeLaunches) -> None:
    """Only the organization's policy can change them."""
    region.defaults = {"HttpTokens": "optional", "ManagedBy": "declarative-policy"}
    defaults = by_name(region)["account defaults of eu-west-1"]
    assert defaults.advice == "http_tokens of the organization's declarative policy: required"


def test_if_the_defaults_require_tokens_only_launchers_that_set_optional_are_left(region: FakeLaunches) -> None:
    """And the launch configuration, for which AWS does not document the precedence."""
    region.defaults = {"HttpTokens": "required"}
    concerns = {
        name: each.outlook.launches_imdsv1
        for name, each in by_name(region).items()
        if each.outlook.launches_imdsv1 is not False
    }
    assert concerns == {
        "Auto Scaling group web": True,
        "launch template web (lt-web) version 1": True,
        "launch template eks-0a1b (lt-eks) version 1": True,
        "Auto Scaling group eks-blue": True,
        "Auto Scaling group batch": None,
        "launch configuration old": None,
    }


def test_only_versions_in_use_are_listed(region: FakeLaunches) -> None:
    """Not the older version that launched an instance, if nothing uses it any more."""
    region.templates["lt-web"].append({})
    inventory = LaunchReader(region, region, region).read([LaunchTemplate("lt-web", "3")])
    found = launchers("eu-west-1", inventory, LAUNCHED)
    assert sorted(each.version for each in found if each.id == "lt-web") == ["1", "2", "4"]


def test_images_of_other_accounts_are_not_listed(region: FakeLaunches) -> None:
    """Only their owners can change them. They still count in the outlook of a template."""
    region.own.clear()
    assert [name for name in by_name(region) if name.startswith("image")] == []


def test_an_override_of_the_image_decides(region: FakeLaunches) -> None:
    """One image of a group that does not require tokens is enough."""
    specification = {"LaunchTemplateId": "lt-new"}
    mixed = {"LaunchTemplateSpecification": specification, "Overrides": [{"ImageId": "ami-old"}]}
    region.groups = [{"AutoScalingGroupName": "mixed", "MixedInstancesPolicy": {"LaunchTemplate": mixed}}]
    outlook = by_name(region)["Auto Scaling group mixed"].outlook
    assert outlook.launches_imdsv1
    assert outlook.why.endswith("image ami-old does not require tokens")


def test_a_template_without_an_image_is_judged_by_the_images_of_its_instances(region: FakeLaunches) -> None:
    """A parameter or the launch names the image. One image that does not require tokens is enough."""
    bare = LaunchTemplate("lt-bare", "1")
    name = "launch template bare (lt-bare) version 1"
    inventory = LaunchReader(region, region, region).read(images=["ami-old", "ami-new"])

    def answer(*images: str) -> bool | None:
        launched = [(f"i-{image}", Source(None, bare, image)) for image in images]
        return {str(each): each for each in launchers("eu-west-1", inventory, launched)}[name].outlook.launches_imdsv1

    assert answer() is None
    assert answer("ami-new") is False
    assert answer("ami-new", "ami-old") is True


def test_the_outlook_is_unknown_if_the_defaults_decide_and_cannot_be_read(region: FakeLaunches) -> None:
    """Templates that set HttpTokens are judged anyway."""
    region.refused = {"get_instance_metadata_defaults": "UnauthorizedOperation"}
    found = by_name(region)
    assert "account defaults of eu-west-1" not in found
    assert found["launch template web (lt-web) version 3"].outlook.launches_imdsv1 is None
    assert found["launch template web (lt-web) version 1"].outlook.launches_imdsv1 is True


def test_the_owner_is_the_creator_of_the_version_if_templates_cannot_be_read(region: FakeLaunches) -> None:
    """DescribeLaunchTemplates is denied, but the version itself names its creator."""
    region.refused = {"describe_launch_templates": "UnauthorizedOperation"}
    region.created_by = ANN
    assert str(by_name(region)["launch template web (lt-web) version 1"].owner) == f"created by {ANN}"


def test_a_launcher_as_json(region: FakeLaunches) -> None:
    """Programs rely on the names."""
    assert by_name(region)["launch template web (lt-web) version 1"].as_json() == {
        "launcher": "launch template web (lt-web) version 1",
        "kind": "launch_template",
        "region": "eu-west-1",
        "id": "lt-web",
        "name": "web",
        "arn": None,
        "version": "1",
        "used_as": ["group web"],
        "instances": 1,
        "launches_imdsv1": True,
        "why": "launch template lt-web version 1 sets HttpTokens optional",
        "exempt": None,
        "owner": {
            "kind": "cloudformation",
            "name": "shop",
            "part": "Template",
            "text": "CloudFormation stack shop, resource Template",
        },
        "advice": (
            "LaunchTemplateData.MetadataOptions.HttpTokens of Template in stack shop: required; name it in group web"
        ),
    }


def silent(region: FakeLaunches) -> dict[str, tuple[str, dict[str, Any]]]:
    """The launchers that set no HttpTokens, with the image and the tags of their instances."""
    return {str(each): (each.image_id, dict(each.tags)) for each in found_in(region) if each.silent}


def test_the_image_and_tags_of_launchers_that_set_no_tokens(region: FakeLaunches) -> None:
    """The tags are the template's, those that the group propagates, and those that AWS adds."""
    given = [
        {"ResourceType": "instance", "Tags": [{"Key": "imds", "Value": "v1"}, {"Key": "team", "Value": "a"}]},
        {"ResourceType": "volume", "Tags": [{"Key": "backup", "Value": "daily"}]},
    ]
    region.templates = {"lt-web": [{"ImageId": "ami-old", "TagSpecifications": given}], "lt-set": [OPTIONAL]}
    region.templates["lt-off"] = [{"MetadataOptions": {"HttpEndpoint": "disabled"}}]  # it has no IMDSv1 to lose
    region.default_versions.clear()
    region.groups = [
        {
            "AutoScalingGroupName": "web",
            "LaunchTemplate": {"LaunchTemplateId": "lt-web"},
            "Tags": [
                {"Key": "team", "Value": "b", "PropagateAtLaunch": True},
                {"Key": "cost", "Value": "7", "PropagateAtLaunch": False},
            ],
        }
    ]
    launched_from = {"aws:ec2launchtemplate:id": "lt-web", "aws:ec2launchtemplate:version": "1"}
    assert silent(region) == {
        "launch template web (lt-web) version 1": ("ami-old", {"imds": "v1", "team": "a", **launched_from}),
        "Auto Scaling group web": (
            "ami-old",
            {"imds": "v1", "team": "b", **launched_from, "aws:autoscaling:groupName": "web"},
        ),
        "launch configuration old": ("ami-old", {}),
    }
