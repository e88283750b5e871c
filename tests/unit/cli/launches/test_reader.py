from __future__ import annotations

import threading
from typing import Any

import pytest

from imds_enforcer.model import AwsError, LaunchTemplate
from imds_enforcer_cli.launches.inventory import Inventory, NodeGroup, TemplateLaunch
from imds_enforcer_cli.launches.reader import LaunchReader
from tests.fakes.launches import FakeLaunches

OPTIONAL = {"MetadataOptions": {"HttpTokens": "optional"}}
REQUIRED = {"MetadataOptions": {"HttpTokens": "required"}}


@pytest.fixture
def region() -> FakeLaunches:
    """An empty region."""
    return FakeLaunches()


def read(region: FakeLaunches, *templates: LaunchTemplate, images: tuple[str, ...] = ()) -> Inventory:
    """Read the region's inventory."""
    return LaunchReader(region, region, region).read(templates, images)


def calls(region: FakeLaunches, name: str) -> list[dict[str, Any]]:
    """The requests of one call."""
    return [request for call, request in region.requests if call == name]


def test_the_default_and_latest_versions_of_all_templates_are_read_in_pages(region: FakeLaunches) -> None:
    """They are not read template by template. A page may end between the two versions of a template."""
    region.page_size = 3
    region.templates = {f"lt-{number}": [OPTIONAL, REQUIRED, REQUIRED] for number in range(10)}
    region.default_versions = {"lt-3": 2, "lt-4": 3}
    found = read(region)
    assert len(calls(region, "describe_launch_template_versions")) == 7
    assert len(calls(region, "describe_launch_templates")) == 4
    assert found.numbered(LaunchTemplate("lt-0", "$Default")) == ("lt-0", "1")
    assert found.numbered(LaunchTemplate("lt-3", "$Default")) == ("lt-3", "2")
    assert found.numbered(LaunchTemplate("lt-3", "$Latest")) == ("lt-3", "3")
    assert found.numbered(LaunchTemplate("lt-4", "$Default")) == ("lt-4", "3")
    version = found.version(LaunchTemplate("lt-0", "$Latest"))
    assert version
    assert version.recipe.http_tokens == "required"


def test_versions_named_by_number_are_read_by_template(region: FakeLaunches) -> None:
    """Groups, node groups or instances name them. Default and latest versions are not read again."""
    region.templates = {f"lt-{number}": [OPTIONAL, REQUIRED, OPTIONAL, REQUIRED] for number in range(4)}
    region.groups = [
        {"AutoScalingGroupName": "a", "LaunchTemplate": {"LaunchTemplateId": "lt-0", "Version": "2"}},
        {"AutoScalingGroupName": "b", "LaunchTemplate": {"LaunchTemplateId": "lt-0", "Version": "3"}},
        {"AutoScalingGroupName": "c", "LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "4"}},
        {"AutoScalingGroupName": "d", "LaunchTemplate": {"LaunchTemplateId": "lt-3", "Version": "$Latest"}},
    ]
    region.node_groups = {"shop": [{"nodegroupName": "blue", "launchTemplate": {"id": "lt-2", "version": "2"}}]}
    read(region, LaunchTemplate("lt-3", "3"), LaunchTemplate("lt-3", "1"))
    _, *by_template = calls(region, "describe_launch_template_versions")
    asked = {request["LaunchTemplateId"]: request["Versions"] for request in by_template}
    assert asked == {"lt-0": ["2", "3"], "lt-2": ["2"], "lt-3": ["3"]}


def test_a_template_of_another_account_is_read_by_its_id(region: FakeLaunches) -> None:
    """EC2 does not list a shared template."""
    region.templates = {"lt-0": [OPTIONAL, REQUIRED]}
    region.unlisted = {"lt-0"}
    region.groups = [{"AutoScalingGroupName": "a", "LaunchTemplate": {"LaunchTemplateId": "lt-0"}}]
    version = read(region).version(LaunchTemplate("lt-0", "$Default"))
    assert version
    assert version.template == ("lt-0", "1")


def test_versions_that_cannot_be_read_do_not_hide_the_others(region: FakeLaunches) -> None:
    """The others may be of other templates or, after a deletion, of the same template."""
    region.templates = {"lt-0": [OPTIONAL] * 4, "lt-1": [OPTIONAL] * 4}
    region.throttled = {"lt-1"}
    wanted = [LaunchTemplate("lt-0", "2"), LaunchTemplate("lt-0", "9"), LaunchTemplate("lt-1", "2")]
    found = read(region, *wanted, LaunchTemplate("lt-8", "1"))
    assert [found.version(each) is not None for each in wanted] == [True, False, False]
    assert found.failures["versions"].failure.code == "RequestLimitExceeded"


def test_a_group_launches_with_its_own_template_and_those_of_its_overrides(region: FakeLaunches) -> None:
    """An override may name its own template or image; otherwise it launches with the group's."""
    region.templates = {"lt-0": [OPTIONAL], "lt-1": [OPTIONAL]}
    overrides = [
        {"InstanceType": "m7g.large"},
        {"InstanceType": "m7i.large", "LaunchTemplateSpecification": {"LaunchTemplateId": "lt-1", "Version": "1"}},
        {"InstanceType": "m7a.large", "ImageId": "ami-2"},
    ]
    base = {"LaunchTemplateId": "lt-0", "LaunchTemplateName": "web", "Version": "$Latest"}
    region.groups = [
        {
            "AutoScalingGroupName": "web",
            "MixedInstancesPolicy": {
                "LaunchTemplate": {"LaunchTemplateSpecification": base, "Overrides": overrides},
            },
            "Tags": [
                {"Key": "team", "Value": "shop", "PropagateAtLaunch": True},
                {"Key": "cost", "Value": "7", "PropagateAtLaunch": False},
            ],
        }
    ]
    group = read(region).groups["web"]
    latest = LaunchTemplate("lt-0", "$Latest")
    assert group.launches == (
        TemplateLaunch(latest),
        TemplateLaunch(latest, "ami-2"),
        TemplateLaunch(LaunchTemplate("lt-1", "1")),
    )
    assert group.instance_tags == {"team": "shop"}
    assert group.marks.tags == {"team": "shop", "cost": "7"}


def test_the_service_that_manages_a_template_or_a_group_is_read(region: FakeLaunches) -> None:
    """EC2 returns a flag, with or without a principal; Auto Scaling returns only the principal."""
    region.templates = {"lt-0": [OPTIONAL], "lt-1": [OPTIONAL], "lt-2": [OPTIONAL]}
    region.descriptions = {
        "lt-0": {"Operator": {"Managed": True, "Principal": "ecs.amazonaws.com"}},
        "lt-1": {"Operator": {"Managed": True}},
        "lt-2": {"Operator": {"Managed": False}},
    }
    region.groups = [{"AutoScalingGroupName": "web", "Operator": {"Principal": "eks.amazonaws.com"}}]
    found = read(region)
    assert [each.marks.operator for each in found.templates.values()] == ["ecs.amazonaws.com", "an AWS service", ""]
    assert found.groups["web"].marks.operator == "eks.amazonaws.com"


def test_the_node_groups_of_every_cluster_are_read(region: FakeLaunches) -> None:
    """A node group that is deleted after the listing is left out."""
    region.page_size = 1
    region.node_groups = {
        "shop": [
            {"nodegroupName": "blue", "launchTemplate": {"id": "lt-2", "name": "mine", "version": "2"}},
            {"nodegroupName": "gone", "status": "DELETED"},
        ],
        "till": [{"nodegroupName": "red"}],
    }
    found = read(region)
    assert found.node_groups == [
        NodeGroup("shop", "blue", LaunchTemplate("lt-2", "2")),
        NodeGroup("till", "red"),
    ]
    assert found.failures == {}


def test_four_templates_are_read_in_parallel(region: FakeLaunches, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call waits until three others are under way, and fails otherwise."""
    region.templates = {f"lt-{number}": [OPTIONAL] * 3 for number in range(8)}
    together, describe = threading.Barrier(4, timeout=30), region.describe_launch_template_versions

    def meet(**request: Any) -> Any:
        if "LaunchTemplateId" in request:
            together.wait()
        return describe(**request)

    monkeypatch.setattr(region, "describe_launch_template_versions", meet)
    wanted = [LaunchTemplate(each, "2") for each in region.templates]
    found = read(region, *wanted)
    assert all(found.version(each) for each in wanted)


def test_only_images_that_do_not_require_tokens_are_read_twice(region: FakeLaunches) -> None:
    """The second read shows whether the account owns them."""
    region.images = {f"ami-{number}": "v2.0" if number % 2 else None for number in range(6)}
    region.own = {"ami-0": {"Name": "golden"}, "ami-1": {}}
    region.templates = {"lt-0": [{"ImageId": "ami-0"}], "lt-1": [{"ImageId": "resolve:ssm:/golden"}]}
    region.configurations = [{"LaunchConfigurationName": "old", "ImageId": "ami-1"}]
    mixed = {"LaunchTemplateSpecification": {"LaunchTemplateId": "lt-1"}, "Overrides": [{"ImageId": "ami-3"}]}
    region.groups = [{"AutoScalingGroupName": "web", "MixedInstancesPolicy": {"LaunchTemplate": mixed}}]
    found = read(region, images=("ami-2", "ami-9", ""))
    assert {each: (image.requires_tokens, image.own) for each, image in found.images.items()} == {
        "ami-0": (False, True),
        "ami-1": (True, False),
        "ami-2": (False, False),
        "ami-3": (True, False),
    }
    first, second = calls(region, "describe_images")
    assert first["Filters"] == [{"Name": "image-id", "Values": ["ami-0", "ami-1", "ami-2", "ami-3", "ami-9"]}]
    assert second["Filters"] == [{"Name": "image-id", "Values": ["ami-0", "ami-2"]}]
    assert second["Owners"] == ["self"]


def test_the_number_of_requests_grows_with_pages_and_not_with_templates(region: FakeLaunches) -> None:
    """5,000 templates, the most in a region, take 25 pages of templates and 50 of versions."""
    region.page_size = 200
    region.templates = {f"lt-{number}": [{"ImageId": "ami-0", **OPTIONAL}, REQUIRED] for number in range(5_000)}
    region.images = {"ami-0": None}
    read(region)
    assert len(calls(region, "describe_launch_templates")) == 25
    assert len(calls(region, "describe_launch_template_versions")) == 50
    assert len(region.requests) == 25 + 50 + 6


@pytest.mark.parametrize(
    ("call", "kinds"),
    [
        ("describe_auto_scaling_groups", ["groups"]),
        ("describe_launch_configurations", ["configurations"]),
        ("describe_launch_templates", ["templates"]),
        ("describe_launch_template_versions", ["versions"]),
        ("describe_images", ["images"]),
        ("get_instance_metadata_defaults", ["defaults"]),
        ("list_clusters", ["node_groups"]),
        ("list_nodegroups", ["node_groups"]),
        ("describe_nodegroup", ["node_groups"]),
    ],
)
def test_a_denied_call_hides_only_what_it_reads(region: FakeLaunches, call: str, kinds: list[str]) -> None:
    """The failure has the service's own code."""
    region.templates = {"lt-0": [{"ImageId": "ami-0"}]}
    region.images = {"ami-0": None}
    region.groups = [{"AutoScalingGroupName": "web", "LaunchConfigurationName": "old"}]
    region.configurations = [{"LaunchConfigurationName": "old", "ImageId": "ami-0"}]
    region.node_groups = {"shop": [{"nodegroupName": "blue"}]}
    whole = read(region)
    region.refused = {call: "AccessDenied"}
    found = read(region)
    assert {kind: error.failure.code for kind, error in found.failures.items()} == dict.fromkeys(kinds, "AccessDenied")
    fields = {"templates", "versions", "groups", "configurations", "node_groups", "images", "defaults"}
    if call != "describe_launch_template_versions":
        assert {each for each in fields if getattr(found, each) != getattr(whole, each)} == set(kinds)


def test_rejected_credentials_end_the_reading(region: FakeLaunches) -> None:
    """AWS would reject them for every other call too."""
    region.refused = {"describe_auto_scaling_groups": "ExpiredToken"}
    with pytest.raises(AwsError, match="ExpiredToken"):
        read(region)
    calls = [call for call, _ in region.requests]
    assert len(calls) == len(set(calls))
    assert set(calls) <= {
        "describe_launch_template_versions",
        "describe_launch_templates",
        "describe_auto_scaling_groups",
        "describe_launch_configurations",
        "list_clusters",
        "get_instance_metadata_defaults",
    }


def test_a_page_that_names_itself_as_the_next_ends_the_listing(region: FakeLaunches) -> None:
    """It counts as a failure."""
    region.page_size = 0
    region.templates = {"lt-0": [OPTIONAL]}
    assert read(region).failures["templates"].failure.code == "EndlessListing"
