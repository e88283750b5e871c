from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.policy import Exemption, Match
from imds_enforcer_cli.audit.document import Subject
from imds_enforcer_cli.audit.evidence import Evidence, Search
from imds_enforcer_cli.audit.why import why_document
from tests.fakes.clock import START
from tests.fakes.examples import ACCOUNT, AWAY, HOME, a_policy, an_exemption, an_instance

if TYPE_CHECKING:
    from imds_enforcer.model import Instance

TAGS = {"Env": "prod", "Team": "pay", "karpenter.sh/nodepool": "a", "KubernetesCluster": "shop"}


def why(instance: Instance | None = None, **policy: Any) -> dict[str, Any]:
    """The document's entry for an instance that allows IMDSv1, under a policy that requires tokens."""
    instance = instance or an_instance(tags=TAGS, image_id="ami-1")
    subject = Subject(ACCOUNT, START, a_policy(**policy), "a test", 14)
    document = why_document(subject, Search({}, (HOME,), {}), [Evidence(instance=instance)], [])
    [found] = document["instances"]
    return dict(found)


def near_misses(*exemptions: Exemption) -> list[str]:
    """Why each of these exemptions nearly matches."""
    return [each["why"] for each in why(exemptions=exemptions)["exemption"]["near_misses"]]


def tags(*texts: str) -> tuple[Match, ...]:
    """Matches by one tag each."""
    return tuple(Match(tag_key=key, tag_value=value) for key, _, value in (text.partition("=") for text in texts))


@pytest.mark.parametrize(
    ("match", "differing"),
    [
        ({"region": HOME, "image_id": "ami-2"}, "image_id"),
        ({"region": AWAY, "image_id": "ami-1"}, "region"),
        ({"region": HOME, "auto_scaling_group": "web"}, "auto_scaling_group"),
        ({"tag_key": "Env", "tag_value": "test"}, "value of the tag"),
        ({"region": HOME, "tag_key": "env"}, "tag"),
        ({"region": HOME, "tag_key": "Env", "tag_value": "test"}, "value of the tag"),
        ({"region": HOME, "tag_key": "env", "tag_value": "prod"}, "tag"),
        ({"tags": tags("Env=test", "Team=pay")}, "tag Env=test"),
        ({"region": HOME, "tags": tags("Team=pay", "Owner=ann")}, "tag Owner=ann"),
        ({"region": AWAY, "tags": tags("Env=prod", "Team=pay")}, "region"),
        ({"image_id": "ami-2"}, None),
        ({"tag_key": "env", "tag_value": "prod"}, None),
        ({"region": AWAY, "image_id": "ami-2"}, None),
        ({"tags": tags("Env=test", "Team=web")}, None),
        ({"region": HOME, "tags": tags("Env=test", "Team=web")}, None),
    ],
)
def test_an_exemption_that_nearly_matches(match: dict[str, Any], differing: str | None) -> None:
    """All of its criteria match but one. An exemption with a single criterion is simply for other instances."""
    expected = [f"only its {differing} does not match"] if differing else []
    assert near_misses(Exemption(match=Match(**match), reason="legacy SDK")) == expected


def test_an_exemption_that_has_expired() -> None:
    """It matches but no longer protects the instance."""
    assert near_misses(an_exemption(expires=date(2026, 11, 21))) == ["it expired on 2026-11-21"]


def test_near_misses_are_left_out_if_an_exemption_matches() -> None:
    """The first matching exemption in force decides."""
    found = why(exemptions=(an_exemption("old", expires=date(2026, 11, 21)), an_exemption("new")))["exemption"]
    assert found == {"fits": "(instance_id *) new", "near_misses": []}


def test_which_tags_make_it_a_container_host() -> None:
    """All of them are listed, including those that the policy adds."""
    found = why(container_host_tags=(Match(tag_key="Team", tag_value="p*"),))["container_host"]
    assert found == {"is": True, "tags": ["Team=pay", "karpenter.sh/nodepool=a", "KubernetesCluster=shop"]}
    assert why(an_instance(tags={"Env": "prod"}))["container_host"] == {"is": False, "tags": []}


@pytest.mark.parametrize(
    ("age", "new_until", "grace_until"),
    [
        (timedelta(minutes=5), "2026-11-22T12:55:00+00:00", "2026-11-22T12:05:00+00:00"),
        (timedelta(minutes=20), "2026-11-22T12:40:00+00:00", None),
        (timedelta(hours=1), None, None),
    ],
)
def test_how_long_an_instance_counts_as_new(age: timedelta, new_until: str | None, grace_until: str | None) -> None:
    """For an hour; its launch grace lasts as long as the policy says."""
    launch = why(an_instance(attached_at=START - age), launch_grace_seconds=600)["launch"]
    assert (launch["new_until"], launch["grace_until"]) == (new_until, grace_until)


def test_the_launch_time_may_be_unknown() -> None:
    """EC2 does not show a network interface while it is being attached."""
    assert why()["launch"] == {"at": None, "new_until": None, "grace_seconds": 0, "grace_until": None}


def test_the_place_in_the_rollout() -> None:
    """The percentage from which the rollout includes the instance."""
    percent = why(rollout_percent=0)["rollout"]["reached_from_percent"]
    assert why(rollout_percent=percent - 1)["rollout"]["reached"] is False
    assert why(rollout_percent=percent)["rollout"]["reached"] is True
    assert why(rollout_percent=percent - 1)["decision"]["verdict"] == "NOT_REACHED"
    assert why(rollout_percent=percent)["decision"]["verdict"] == "REMEDIATE"
