from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from imds_enforcer.ledger.holds import Hold
from imds_enforcer.policy import Exemption, Match, RegionSelection
from imds_enforcer_cli.launches.kept import Keeping, Kept, kept_instances, kept_launchers
from imds_enforcer_cli.launches.launcher import Launcher, LauncherKind
from imds_enforcer_cli.launches.precedence import Outlook
from tests.fakes.clock import START
from tests.fakes.examples import THROTTLED, a_policy, an_exemption, an_id, an_instance

WOULD = "if required becomes the region's default for HttpTokens, the launcher's next instance will not get IMDSv1"
EXEMPT, HELD, GATED = (Keeping(how, "why") for how in Kept)


def a_launcher(**fields: Any) -> Launcher:
    """An Auto Scaling group that does not set HttpTokens."""
    given: dict[str, Any] = {
        "kind": LauncherKind.GROUP,
        "region": "eu-west-1",
        "id": "web",
        "outlook": Outlook(launches_imdsv1=True, why="why"),
        "instance_ids": ("i-1", "i-2", "i-3"),
        "silent": True,
        "image_id": "ami-1",
        "tags": {
            "aws:autoscaling:groupName": "web",
            "aws:ec2launchtemplate:id": "lt-1",
            "aws:ec2launchtemplate:version": "1",
            "imds": "v1",
        },
    }
    return Launcher(**given | fields)


def named(launcher: Launcher, *ways: Keeping | None, match: Match | None = None, **fields: Any) -> list[str]:
    """The reasons given for a launcher, under a policy with at most one exemption.

    `ways` say how i-1, i-2 and so on keep IMDSv1, if they do.
    """
    exemptions = (Exemption(match=match, reason="vendor", **fields),) if match else ()
    kept = {f"i-{number}": way for number, way in enumerate(ways, 1) if way}
    return [each.why for each in kept_launchers([launcher], a_policy(exemptions=exemptions), START, kept)]


@pytest.mark.parametrize(
    "match",
    [
        Match(auto_scaling_group="we*"),
        Match(launch_template="lt-1"),
        Match(image_id="ami-1"),
        Match(region="eu-*"),
        Match(tag_key="imds", tag_value="v1"),
    ],
)
def test_a_launcher_whose_next_instance_is_exempt_is_named(match: Match) -> None:
    """Even if it has no instance yet."""
    expected = f"the launcher's next instance is exempt (vendor); {WOULD}"
    assert named(a_launcher(instance_ids=()), match=match) == [expected]


@pytest.mark.parametrize(
    ("launcher", "match", "fields"),
    [
        (a_launcher(silent=False), Match(auto_scaling_group="web"), {}),
        (a_launcher(), Match(auto_scaling_group="other"), {}),
        (a_launcher(), Match(instance_id="i-1"), {}),
        (a_launcher(), Match(auto_scaling_group="web"), {"expires": date(2026, 1, 1)}),
    ],
)
def test_a_launcher_that_loses_nothing_is_not_named(launcher: Launcher, match: Match, fields: dict[str, Any]) -> None:
    """It sets HttpTokens, or no exemption in force matches its next instance."""
    assert named(launcher, match=match, **fields) == []


def test_a_launcher_whose_instances_keep_imdsv1_is_named() -> None:
    """With their numbers by how they keep it; instances of other launchers do not count."""
    assert named(a_launcher(), GATED, None, HELD) == [f"3 instances: 1 held, 1 gated; {WOULD}"]
    assert named(a_launcher(), HELD, EXEMPT, EXEMPT) == [f"3 instances: 2 exempt, 1 held; {WOULD}"]
    assert named(a_launcher(instance_ids=("i-2",)), HELD) == []
    assert named(a_launcher(silent=False), HELD, HELD) == []


def test_an_instance_with_unknown_calls_does_not_count() -> None:
    """It may have stopped calling IMDSv1 long ago."""
    assert named(a_launcher(), replace(GATED, failure=THROTTLED)) == []


def test_launchers_in_a_region_that_the_policy_leaves_out_are_not_named() -> None:
    """The region's defaults stay as they are."""
    policy = a_policy(regions=RegionSelection(exclude=("eu-west-1",)))
    assert list(kept_launchers([a_launcher()], policy, START, {"i-1": HELD})) == []


def test_a_launch_configuration_might_not_give_imdsv1() -> None:
    """It has defaults of its own, and AWS does not document which prevail."""
    tags = {"aws:autoscaling:groupName": "web"}
    said = named(a_launcher(tags=tags), HELD)
    assert said == [f"3 instances: 1 held; {WOULD.replace('will not', 'might not')}"]


def test_a_kept_launcher_as_text_and_as_json() -> None:
    """Programs rely on the names in the JSON."""
    [found] = kept_launchers([a_launcher()], a_policy(), START, {"i-1": HELD})
    assert str(found) == f"Auto Scaling group web in eu-west-1 does not set HttpTokens: {found.why}"
    assert found.as_json() == {
        "launcher": "Auto Scaling group web",
        "region": "eu-west-1",
        "kind": "auto_scaling_group",
        "id": "web",
        "instances": 3,
        "exempt": 0,
        "held": 1,
        "gated": 0,
        "exemption": None,
        "why": found.why,
    }


def test_a_hold_comes_before_an_exemption() -> None:
    """As for instances. Each instance counts once."""
    policy = a_policy(exemptions=(an_exemption(instance_id="i-*"),))
    instances = [an_instance(1), an_instance(2)]
    holds = {an_id(1): Hold(instance_id=an_id(1), reason="migration", by="ann", at=START)}
    kept = kept_instances(instances, policy, START, holds, None)
    assert {each: keeping.how for each, keeping in kept.items()} == {an_id(1): Kept.HELD, an_id(2): Kept.EXEMPT}
    assert kept_instances(instances, a_policy(), START, {}, None) == {}
