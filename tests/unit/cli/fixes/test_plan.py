from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.model.instance import LAUNCH_TEMPLATE_TAG, LAUNCH_TEMPLATE_VERSION_TAG
from imds_enforcer.policy import Match, RegionSelection
from imds_enforcer_cli.fixes.plan import Wishes
from imds_enforcer_cli.launches.owners import OwnerKind
from tests.fakes.examples import a_policy, an_exemption, an_instance
from tests.fakes.fixing import TEMPLATE, Fixing

if TYPE_CHECKING:
    from imds_enforcer_cli.fixes.plan import FixPlan

LAX: dict[str, Any] = {"ImageId": "ami-1", "MetadataOptions": {"HttpTokens": "optional"}}
STRICT: dict[str, Any] = {"ImageId": "ami-1", "MetadataOptions": {"HttpTokens": "required"}}
OFF: dict[str, Any] = {"ImageId": "ami-1", "MetadataOptions": {"HttpEndpoint": "disabled"}}
OF_TEMPLATE = {LAUNCH_TEMPLATE_TAG: TEMPLATE, LAUNCH_TEMPLATE_VERSION_TAG: "1"}
REGION = "--region eu-west-1"
LEFT_ALONE = "aws ec2 create-launch-template-version"


def group(version: str, name: str = "web", **fields: Any) -> dict[str, Any]:
    """A group that launches with this version of the template."""
    launches = {"LaunchTemplateId": TEMPLATE, "LaunchTemplateName": "web", "Version": version}
    return {"AutoScalingGroupName": name, "LaunchTemplate": launches, **fields}


def hops(fixing: Fixing) -> int | None:
    """The hop limit that the new version sets; None if it sets none."""
    found: int | None = fixing.plan().options.get("HttpPutResponseHopLimit")
    return found


def test_every_other_option_of_the_source_stays() -> None:
    """Only the tokens change, to required."""
    options = {"HttpEndpoint": "enabled", "HttpProtocolIpv6": "enabled", "HttpPutResponseHopLimit": 5}
    plan = Fixing({"ImageId": "ami-1", "MetadataOptions": {**options, "State": "applied"}}).plan()
    assert plan.options == {**options, "HttpTokens": "required"}
    assert (plan.outcome, plan.source, plan.moves_default) == ("WOULD_FIX", "1", True)


@pytest.mark.parametrize("versions", [(STRICT,), (OFF,), (LAX, STRICT)])
def test_a_template_that_does_not_launch_imdsv1_is_compliant(versions: tuple[dict[str, Any], ...]) -> None:
    """So is a template that turns the metadata service off."""
    assert Fixing(*versions).plan().outcome == "COMPLIANT"


def test_the_latest_is_fixed_and_another_default_stays() -> None:
    """This holds if the default already requires tokens."""
    fixing = Fixing(STRICT, LAX, default=1)
    fixed = fixing.fix()
    assert (fixed.plan.outcome, fixed.version) == ("FIXED", "3")
    assert fixing.state[0] == 1
    assert fixing.undo().outcome == "UNDONE"
    assert fixing.state == (1, {1: STRICT, 2: LAX})


@pytest.mark.parametrize("latest", [LAX, STRICT])
def test_a_default_version_that_is_not_the_latest_is_left_with_two_commands(latest: dict[str, Any]) -> None:
    """A new version made from the default would become the latest version."""
    fixing = Fixing(LAX, latest, default=1)
    before = fixing.state
    plan = fixing.fix().plan
    assert plan.outcome == "LEFT"
    assert "it is not known what uses $Latest" in plan.reason
    create, move = plan.commands
    assert create == (
        f"{LEFT_ALONE} {REGION} --launch-template-id {TEMPLATE} --source-version 1 "
        """--launch-template-data '{"MetadataOptions":{"HttpTokens":"required"}}'"""
    )
    assert move == (
        f"aws ec2 modify-launch-template {REGION} --launch-template-id {TEMPLATE} --default-version NEW_NUMBER"
    )
    assert fixing.state == before


# Groups and node groups that name a version by its number.


def test_the_command_for_a_group_that_names_the_number() -> None:
    """The command has the new number once that is known. A second fix leaves only these commands."""
    fixing = Fixing(LAX)
    fixing.region.groups = [group("1"), group("$Latest", "other")]
    fixing.region.node_groups = {
        "shop": [{"nodegroupName": "blue", "launchTemplate": {"id": TEMPLATE, "version": "1"}}]
    }
    moves = (
        (
            f"aws autoscaling update-auto-scaling-group {REGION} --auto-scaling-group-name web "
            f"--launch-template LaunchTemplateId={TEMPLATE},Version=2"
        ),
        (
            f"aws eks update-nodegroup-version {REGION} --cluster-name shop --nodegroup-name blue "
            f"--launch-template id={TEMPLATE},version=2"
        ),
    )
    assert fixing.fix().plan.commands == moves
    again = fixing.fix("run-2").plan
    assert (again.outcome, again.commands) == ("LEFT", moves)
    assert again.reason == "its default and latest versions require tokens; still named by number: 1"


def test_a_group_that_names_another_number_gets_a_new_version_of_its_own() -> None:
    """It is not moved to the version that the fix created for the default."""
    fixing = Fixing(LAX, LAX)
    fixing.region.groups = [group("1", "old"), group("2", "web")]
    move, create, other = fixing.fix().plan.commands
    assert move.endswith(f"--auto-scaling-group-name web --launch-template LaunchTemplateId={TEMPLATE},Version=3")
    assert "--source-version 1" in create
    assert other.endswith(
        f"--auto-scaling-group-name old --launch-template LaunchTemplateId={TEMPLATE},Version=NEW_NUMBER"
    )


def test_a_group_is_not_moved_to_other_content_by_a_copied_description() -> None:
    """The group gets a new version made from the version that it names."""
    fixing = Fixing(LAX)
    fixing.region.groups = [group("1")]
    fixing.fix()
    fixing.region.default_versions[TEMPLATE] = fixing.edit({**STRICT, "InstanceType": "m5.large"})
    fixing.region.described_as[TEMPLATE, 3] = fixing.region.described_as[TEMPLATE, 2]
    create, move = fixing.plan().commands
    assert "--source-version 1 " in create
    assert move.endswith("Version=NEW_NUMBER")


def test_the_command_for_a_mixed_instances_policy_sends_it_whole() -> None:
    """Only the number is replaced, and the template is named only by its id."""
    named = {"LaunchTemplateId": TEMPLATE, "LaunchTemplateName": "web", "Version": "1"}
    other = {"LaunchTemplateId": "lt-other", "Version": "1"}
    mixed = {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": named,
            "Overrides": [{"InstanceType": "t3.micro", "LaunchTemplateSpecification": other}],
        },
        "InstancesDistribution": {"OnDemandBaseCapacity": 0},
    }
    fixing = Fixing(LAX)
    fixing.region.groups = [{"AutoScalingGroupName": "web", "MixedInstancesPolicy": mixed}]
    [command] = fixing.plan().commands
    policy = (
        '{"LaunchTemplate":{"LaunchTemplateSpecification":{"LaunchTemplateId":"lt-web","Version":"FIXED_NUMBER"},'
        '"Overrides":[{"InstanceType":"t3.micro","LaunchTemplateSpecification":{"LaunchTemplateId":"lt-other",'
        '"Version":"1"}}]},"InstancesDistribution":{"OnDemandBaseCapacity":0}}'
    )
    assert command.endswith(f"--auto-scaling-group-name web --mixed-instances-policy '{policy}'")


def test_a_group_that_names_an_older_version_is_not_moved_to_the_fixed_one() -> None:
    """The contents differ, so the group gets a new version made from the one that it names."""
    fixing = Fixing({**LAX, "InstanceType": "m5.large"}, LAX)
    fixing.region.groups = [group("1", "old"), group("2", "new")]
    fixed = fixing.fix()
    assert (fixed.plan.outcome, fixed.version) == ("FIXED", "3")
    new, create, old = fixed.plan.commands
    assert "name new " in new
    assert new.endswith("Version=3")
    assert "--source-version 1 " in create
    assert "name old " in old
    assert old.endswith("Version=NEW_NUMBER")


def test_an_older_number_is_reported_with_its_two_commands() -> None:
    """A new version made from it would become the latest. The command also sends the snapshots of its devices."""
    devices = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1"}}]
    fixing = Fixing({**LAX, "BlockDeviceMappings": devices}, STRICT)
    fixing.region.groups = [group("1")]
    plan = fixing.plan()
    assert plan.outcome == "LEFT"
    create, move = plan.commands
    assert '"BlockDeviceMappings":[{"DeviceName":"/dev/xvda","Ebs":{"SnapshotId":"snap-1"}}]' in create
    assert move.startswith("aws autoscaling update-auto-scaling-group")


# What must not be changed.


@pytest.mark.parametrize(
    "match",
    [
        {"launch_template": TEMPLATE},
        {"image_id": "ami-1"},
        {"auto_scaling_group": "web"},
        {"region": "eu-west-1"},
        {"instance_id": "*"},
        {"tags": (Match(tag_key="team", tag_value="legacy"),)},
    ],
)
def test_a_template_whose_launches_are_exempt_is_not_fixed(match: dict[str, Any]) -> None:
    """The exemption may match anything that the next instance will have: template, image, group, or group tags."""
    fixing = Fixing(LAX)
    tags = [{"Key": "team", "Value": "legacy", "PropagateAtLaunch": True}]
    fixing.region.groups = [group("$Default", Tags=tags)]
    fixing.policy = a_policy(exemptions=(an_exemption(**match),))
    plan = fixing.fix().plan
    assert (plan.outcome, plan.reason) == ("EXEMPT", "exempt: legacy SDK")
    assert len(fixing.state[1]) == 1


def test_exemptions_for_other_instances_do_not_matter() -> None:
    """They are for another group, have expired, or are for one instance: the next instance has another id."""
    fixing = Fixing(LAX)
    instance = an_instance(1, tags=OF_TEMPLATE)
    fixing.ec2.launch(instance)
    fixing.policy = a_policy(
        exemptions=(
            an_exemption(auto_scaling_group="other"),
            an_exemption(expires=date(2026, 1, 1)),
            an_exemption(instance_id=instance.instance_id),
        )
    )
    assert fixing.plan().outcome == "WOULD_FIX"


def test_an_exemption_that_matches_its_instances_counts() -> None:
    """The instances show what the template itself does not set, such as the image."""
    fixing = Fixing(LAX)
    fixing.ec2.launch(an_instance(1, image_id="ami-vendor", tags=OF_TEMPLATE))
    fixing.policy = a_policy(exemptions=(an_exemption(image_id="ami-vendor"),))
    assert fixing.plan().outcome == "EXEMPT"


def test_a_template_in_a_region_that_the_policy_leaves_out_is_left() -> None:
    """The reason says so."""
    fixing = Fixing(LAX)
    fixing.policy = a_policy(regions=RegionSelection(exclude=("eu-west-1",)))
    assert (fixing.plan().outcome, fixing.plan().reason) == ("LEFT", "the policy leaves this region out")


@pytest.mark.parametrize(
    ("tags", "kind", "said"),
    [
        (
            {"aws:cloudformation:stack-name": "shop"},
            OwnerKind.CLOUDFORMATION,
            (
                "CloudFormation stack shop, resource (unnamed): the next stack update that changes this launch "
                "template creates a version from the stack's own template"
            ),
        ),
        ({"eks:nodegroup-name": "blue"}, OwnerKind.EKS, "EKS created this template for the node group"),
        ({"elasticbeanstalk:environment-name": "jobs"}, OwnerKind.BEANSTALK, "the environment's next update"),
        ({"karpenter.k8s.aws/ec2nodeclass": "default"}, OwnerKind.KARPENTER, "Karpenter creates its templates"),
        ({"AWSBatchServiceTag": "batch"}, OwnerKind.BATCH, "AWS Batch created this template for a compute environment"),
    ],
)
def test_a_template_that_an_owner_manages_is_left(tags: dict[str, str], kind: OwnerKind, said: str) -> None:
    """The user may include its kind of owner. Either way the reason says what the owner will do."""
    fixing = Fixing(LAX)
    fixing.region.descriptions[TEMPLATE]["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
    plan = fixing.plan()
    assert plan.outcome == "LEFT"
    assert said in plan.reason
    assert plan.reason.endswith(f"; --include-managed-by {kind} changes the template anyway")
    fixing.wishes = Wishes(include_managed_by=[kind])
    assert fixing.plan().outcome == "WOULD_FIX"
    assert said in fixing.plan().reason


def test_a_template_with_a_held_instance_is_held_unless_despite_calls_names_it() -> None:
    """The user names the template in --despite-calls by its id or by its name."""
    fixing = Fixing(LAX)
    fixing.ec2.launch(an_instance(1, tags=OF_TEMPLATE), an_instance(2, tags=OF_TEMPLATE))
    held = {an_instance(2).instance_id: "5 IMDSv1 calls"}
    plan: FixPlan = fixing.plan(held)
    assert plan.outcome == "HELD"
    assert plan.reason == f"1 of 2 instances must not lose IMDSv1: {an_instance(2).instance_id} (5 IMDSv1 calls)"
    for name in (TEMPLATE, "web"):
        fixing.wishes = Wishes(despite_calls=[name])
        assert fixing.plan(held).outcome == "WOULD_FIX"
    fixing.wishes = Wishes(despite_calls=["another"])
    assert fixing.plan(held).outcome == "HELD"


# Hop limits.


NODE = {"Key": "eks:cluster-name", "Value": "shop", "PropagateAtLaunch": True}


@pytest.mark.parametrize(
    ("policy", "source", "container_host", "wanted"),
    [
        ({}, None, False, None),
        ({}, 1, False, 1),
        ({"http_put_response_hop_limit": 3}, None, False, 3),
        ({"http_put_response_hop_limit": 1}, 5, False, 1),
        ({}, None, True, 2),
        ({}, 1, True, 2),
        ({}, 5, True, 5),
        ({"http_put_response_hop_limit": 1}, 1, True, 2),
        ({"http_put_response_hop_limit": 1}, 5, True, 5),
        ({"container_hop_limit": None}, 1, True, 1),
    ],
)
def test_the_hop_limit(policy: dict[str, Any], source: int | None, container_host: bool, wanted: int | None) -> None:  # noqa: FBT001
    """The policy and containers decide it, as for instances. A fix lowers it only if the policy does."""
    options = {"HttpTokens": "optional", **({"HttpPutResponseHopLimit": source} if source else {})}
    fixing = Fixing({"ImageId": "ami-1", "MetadataOptions": options})
    fixing.region.groups = [group("$Latest", Tags=[NODE] if container_host else [])]
    fixing.policy = replace(a_policy(), **policy)
    assert hops(fixing) == wanted


def test_the_regions_own_hop_limit_is_not_lowered() -> None:
    """If the template sets none, a container host has the region's, which may be enough."""
    fixing = Fixing(LAX)
    fixing.region.groups = [group("$Latest", Tags=[NODE])]
    fixing.region.defaults = {"HttpPutResponseHopLimit": 4}  # type: ignore[dict-item]  # a number, as EC2 answers it
    assert hops(fixing) is None
    fixing.region.defaults = {"HttpPutResponseHopLimit": -1}  # type: ignore[dict-item]  # no preference
    assert hops(fixing) == 2
