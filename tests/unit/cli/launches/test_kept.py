from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imds_enforcer.policy import Exemption, Match
from imds_enforcer_cli.launches.kept import kept_launchers
from imds_enforcer_cli.launches.launcher import Launcher, LauncherKind
from imds_enforcer_cli.launches.precedence import Outlook
from tests.fakes.clock import START
from tests.fakes.examples import a_policy

NOTHING: dict[str, str] = {}


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


def named(launcher: Launcher, kept: dict[str, str] = NOTHING, match: Match | None = None, **fields: Any) -> list[str]:
    """What is said of a launcher, under a policy with one exemption or none."""
    exemptions = (Exemption(match=match, reason="vendor", **fields),) if match else ()
    return [str(each) for each in kept_launchers([launcher], a_policy(exemptions=exemptions), START, kept)]


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
def test_an_exemption_that_the_next_instance_would_fit(match: Match) -> None:
    """Also of a launcher that has no instance yet."""
    said = named(a_launcher(instance_ids=()), match=match)
    assert said == ["Auto Scaling group web in eu-west-1 does not set HttpTokens: exempt: vendor"]


@pytest.mark.parametrize(
    ("launcher", "match", "fields"),
    [
        (a_launcher(silent=False), Match(auto_scaling_group="web"), {}),
        (a_launcher(), Match(auto_scaling_group="other"), {}),
        (a_launcher(), Match(instance_id="i-1"), {}),
        (a_launcher(), Match(auto_scaling_group="web"), {"expires": date(2026, 1, 1)}),
    ],
)
def test_what_loses_nothing_is_not_named(launcher: Launcher, match: Match, fields: dict[str, Any]) -> None:
    """It sets the tokens, or no exemption in force fits what it launches next."""
    assert named(launcher, match=match, **fields) == []


def test_instances_that_keep_imdsv1() -> None:
    """With their number and why; those of others do not count."""
    kept = {"i-1": "held", "i-3": "gated", "i-9": "exempt"}
    said = "Auto Scaling group web in eu-west-1 does not set HttpTokens: 2 instances gated, held"
    assert named(a_launcher(), kept) == [said]
    assert named(a_launcher(), {"i-9": "held"}) == []
    assert named(a_launcher(silent=False), kept) == []
