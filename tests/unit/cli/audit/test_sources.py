from __future__ import annotations

from typing import Any

import pytest

from imds_enforcer_cli.audit.findings import Audited
from imds_enforcer_cli.audit.judge import Judgement, Status
from imds_enforcer_cli.audit.sources import SourceAudit, sources
from imds_enforcer_cli.launches.reader import LaunchReader
from tests.fakes.examples import an_instance
from tests.fakes.launches import FakeLaunches

OPTIONAL = {"MetadataOptions": {"HttpTokens": "optional"}}
UNSET = "launch configuration lc does not set HttpTokens"
REQUIRED = {"MetadataOptions": {"HttpTokens": "required"}}


@pytest.fixture
def launches() -> FakeLaunches:
    """A region with two images and nothing else."""
    launches = FakeLaunches()
    launches.images = {"ami-1": None, "ami-2": "v2.0"}
    return launches


def an_audited(
    number: int = 1, template: str = "", version: str = "1", group: str = "", status: Status = Status.DRIFT
) -> Audited:
    """An instance with the tags that AWS gives it."""
    tags = {"aws:ec2launchtemplate:id": template, "aws:ec2launchtemplate:version": version} if template else {}
    tags |= {"aws:autoscaling:groupName": group} if group else {}
    return Audited.of(an_instance(number, image_id="ami-1", tags=tags), Judgement(status, "why"), None)


def sources_of(launches: FakeLaunches, *instances: Audited) -> list[SourceAudit]:
    """The sources of these instances."""
    from_these = [each.source for each in instances]
    templates = [each.launch_template for each in from_these if each.launch_template]
    reader = LaunchReader(launches, launches, launches)
    return sources(instances, reader.read(templates, [each.image_id for each in from_these]))


def only(launches: FakeLaunches, instance: Audited) -> tuple[bool | None, str]:
    """Whether the only source will launch instances that allow IMDSv1, and why."""
    (source,) = sources_of(launches, instance)
    return source.outlook.launches_imdsv1, source.outlook.why


def a_group(name: str = "web", **launched_with: Any) -> dict[str, Any]:
    """An Auto Scaling group as AWS describes it."""
    return {"AutoScalingGroupName": name, **launched_with}


def test_instances_are_grouped_by_what_launched_them(launches: FakeLaunches) -> None:
    """Group, template version and image make the difference."""
    launches.templates = {"lt-1": [OPTIONAL, REQUIRED]}
    found = sources_of(
        launches,
        an_audited(1, "lt-1", "1"),
        an_audited(2, "lt-1", "2", status=Status.COMPLIANT),
        an_audited(3, "lt-1", "1", status=Status.HELD),
        an_audited(4),
    )
    assert [each.as_json() for each in found[:2]] == [
        {
            "auto_scaling_group": None,
            "launch_template": {"id": "lt-1", "version": "1"},
            "image_id": "ami-1",
            "region": "eu-west-1",
            "instances": 2,
            "findings": 1,
            "instance_ids": ["i-00000000000000001"],
            "launches_imdsv1": True,
            "why": "launch template lt-1 version 1 sets HttpTokens optional",
        },
        {
            "auto_scaling_group": None,
            "launch_template": {"id": "lt-1", "version": "2"},
            "image_id": "ami-1",
            "region": "eu-west-1",
            "instances": 1,
            "findings": 0,
            "instance_ids": [],
            "launches_imdsv1": False,
            "why": "launch template lt-1 version 2 sets HttpTokens required",
        },
    ]
    assert [each.instances for each in found] == [2, 1, 1]


def test_one_request_for_all_versions_of_a_template(launches: FakeLaunches) -> None:
    """All groups take one request, too; all images take one, and those that the account owns another."""
    launches.templates = {"lt-1": [OPTIONAL] * 9}
    sources_of(launches, *(an_audited(number, "lt-1", str(number), group=f"g-{number}") for number in range(1, 10)))
    assert sorted(call for call, _ in launches.requests) == [
        "describe_auto_scaling_groups",
        "describe_images",
        "describe_images",
        "describe_launch_configurations",
        "describe_launch_template_versions",
        "describe_launch_template_versions",
        "describe_launch_templates",
        "get_instance_metadata_defaults",
        "list_clusters",
    ]


def test_a_region_without_instances_has_no_source(launches: FakeLaunches) -> None:
    """This holds even if a template there would launch instances that allow IMDSv1."""
    launches.templates = {"lt-1": [OPTIONAL]}
    assert sources_of(launches) == []


def test_all_pages_of_groups_are_read(launches: FakeLaunches) -> None:
    """All pages of launch configurations are read, too."""
    launches.page_size = 50
    launches.groups = [a_group(f"g-{number}", LaunchConfigurationName=f"lc-{number}") for number in range(120)]
    launches.configurations = [{"LaunchConfigurationName": f"lc-{number}", **OPTIONAL} for number in range(120)]
    found = sources_of(launches, *(an_audited(number, group=f"g-{number}") for number in range(120)))
    assert all(each.outlook.launches_imdsv1 for each in found)


@pytest.mark.parametrize(
    ("version", "launches_imdsv1", "shown"),
    [("3", True, 3), ("$Latest", True, 3), ("$Default", False, 2), (None, False, 2)],
)
def test_a_group_launches_with_its_current_template(
    launches: FakeLaunches, version: str | None, shown: int, *, launches_imdsv1: bool
) -> None:
    """The version that launched its instances does not count."""
    launches.templates, launches.default_versions = {"lt-1": [OPTIONAL, REQUIRED, OPTIONAL]}, {"lt-1": 2}
    launches.groups = [
        a_group(LaunchTemplate={"LaunchTemplateId": "lt-1", **({"Version": version} if version else {})})
    ]
    wanted = f"launch template lt-1 version {shown} sets HttpTokens {'optional' if launches_imdsv1 else 'required'}"
    assert only(launches, an_audited(template="lt-1", version="1", group="web")) == (launches_imdsv1, wanted)


def test_a_group_with_several_templates(launches: FakeLaunches) -> None:
    """One template that launches IMDSv1 instances is enough."""
    launches.templates = {"lt-1": [REQUIRED], "lt-2": [OPTIONAL]}
    overrides = [{"InstanceType": "m7g.large", "LaunchTemplateSpecification": {"LaunchTemplateId": "lt-2"}}, {}]
    specification = {"LaunchTemplateId": "lt-1", "Version": "1"}
    mixed = {"LaunchTemplate": {"LaunchTemplateSpecification": specification, "Overrides": overrides}}
    launches.groups = [a_group(MixedInstancesPolicy=mixed)]
    assert only(launches, an_audited(group="web")) == (True, "launch template lt-2 version 1 sets HttpTokens optional")


@pytest.mark.parametrize(
    ("configuration", "launches_imdsv1", "why"),
    [
        (OPTIONAL, True, "launch configuration lc sets HttpTokens optional"),
        (REQUIRED, False, "launch configuration lc sets HttpTokens required"),
        (
            {"ImageId": "ami-2"},
            None,
            (
                "launch configuration lc does not set HttpTokens, the region has no default; image ami-2 requires "
                "tokens; AWS does not document whether that applies to launch configurations"
            ),
        ),
        (None, None, "launch configuration lc: it no longer exists"),
    ],
)
def test_a_group_with_a_launch_configuration(
    launches: FakeLaunches, configuration: dict[str, Any] | None, why: str, *, launches_imdsv1: bool | None
) -> None:
    """Launch configurations are the predecessors of launch templates."""
    launches.groups = [a_group(LaunchConfigurationName="lc")]
    if configuration is not None:
        launches.configurations = [{"LaunchConfigurationName": "lc", **configuration}]
    assert only(launches, an_audited(group="web")) == (launches_imdsv1, why)


def test_the_template_counts_if_the_group_is_gone(launches: FakeLaunches) -> None:
    """It may still launch instances."""
    launches.templates = {"lt-1": [OPTIONAL]}
    wanted = (True, "launch template lt-1 version 1 sets HttpTokens optional")
    assert only(launches, an_audited(template="lt-1", group="gone")) == wanted


@pytest.mark.parametrize(
    ("image", "launches_imdsv1", "says"),
    [
        ("ami-2", False, "image ami-2 requires tokens"),
        ("", True, "image ami-1 does not require tokens"),
        ("resolve:ssm:/golden", True, "image ami-1 does not require tokens"),
        ("ami-9", None, "image ami-9 is no longer visible"),
    ],
)
def test_the_image_of_the_template_counts(
    launches: FakeLaunches, image: str, says: str, *, launches_imdsv1: bool | None
) -> None:
    """If the template names no image by its id, the image of its instances counts."""
    launches.templates = {"lt-1": [{"ImageId": image} if image else {}]}
    unset = "launch template lt-1 version 1 does not set HttpTokens, the region has no default"
    assert only(launches, an_audited(template="lt-1")) == (launches_imdsv1, f"{unset}; {says}")


def test_a_deleted_version_does_not_hide_the_others(launches: FakeLaunches) -> None:
    """EC2 refuses a request for several versions if one of them is gone."""
    launches.templates = {"lt-1": [OPTIONAL]}
    found = sources_of(launches, an_audited(1, "lt-1", "1"), an_audited(2, "lt-1", "7"), an_audited(3, "lt-0"))
    assert [(each.outlook.launches_imdsv1, each.outlook.why) for each in found] == [
        (True, "launch template lt-1 version 1 sets HttpTokens optional"),
        (False, "launch template lt-1 version 7 no longer exists"),
        (False, "launch template lt-0 version 1 no longer exists"),
    ]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("describe_auto_scaling_groups", "Auto Scaling group web: AccessDenied: AWS said so"),
        ("describe_launch_configurations", "launch configuration lc: AccessDenied: AWS said so"),
        (
            "get_instance_metadata_defaults",
            f"{UNSET}; the region's defaults are not known (AccessDenied: AWS said so)",
        ),
        (
            "describe_images",
            f"{UNSET}, the region has no default; image ami-1: AccessDenied: AWS said so",
        ),
    ],
)
def test_a_denied_call_makes_the_outlook_unknown(launches: FakeLaunches, call: str, why: str) -> None:
    """The reason has the service's own message, and nothing about other calls."""
    launches.groups = [a_group(LaunchConfigurationName="lc")]
    launches.configurations = [{"LaunchConfigurationName": "lc"}]
    launches.refused = {call: "AccessDenied"}
    assert only(launches, an_audited(group="web")) == (None, why)


def test_denied_templates_are_asked_for_once(launches: FakeLaunches) -> None:
    """There is no request for each template."""
    launches.refused = {"describe_launch_template_versions": "UnauthorizedOperation"}
    found = sources_of(launches, an_audited(1, "lt-1"), an_audited(2, "lt-2"))
    assert [each.outlook.why for each in found] == [
        f"launch template lt-{number} version 1: UnauthorizedOperation: AWS said so" for number in (1, 2)
    ]
    assert [call for call, _ in launches.requests].count("describe_launch_template_versions") == 1


def test_the_defaults_of_the_region_count(launches: FakeLaunches) -> None:
    """They take precedence over the image; `no-preference` counts as no default."""
    launches.defaults = {"HttpTokens": "required"}
    assert only(launches, an_audited()) == (False, "no launch template; the region's default is required")
    launches.defaults = {"HttpTokens": "no-preference", "HttpTokensEnforced": "enabled"}
    refused = "image ami-1 does not require tokens; the region refuses optional tokens (HttpTokensEnforced)"
    assert only(launches, an_audited()) == (False, f"no launch template, the region has no default; {refused}")
