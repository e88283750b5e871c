"""Patterns in the policy that match no instance."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.policy import Match
from imds_enforcer_cli.audit.notes import Seen, Unread, notes
from tests.fakes.clock import START
from tests.fakes.examples import AWAY, HOME, a_policy, an_exemption, an_id, an_instance

if TYPE_CHECKING:
    from imds_enforcer.policy import Exemption, Policy

ALL_READ = Unread((), others=False)
FLEET = [
    an_instance(1, tags={"team": "payments", "env": "prod"}),
    an_instance(2, tags={"Team": "web", "env": "Prod ", "aws:autoscaling:groupName": "web"}),
]


def noted(policy: Policy, unread: Unread = ALL_READ) -> list[str]:
    """The notes on a policy for the fleet, with each instance in a region of its own."""
    seen = [Seen() for _ in FLEET]
    for each, instance in zip(seen, FLEET, strict=True):
        each.add([instance], policy)
    return notes(policy, START, seen, unread)


def exempting(*exemptions: Exemption, **fields: Any) -> Policy:
    """A policy with these exemptions."""
    return a_policy(exemptions=exemptions, **fields)


def test_an_exemption_that_matches_no_instance_is_named() -> None:
    """One matching instance in any region is enough, even if another exemption comes first."""
    policy = exempting(
        an_exemption("all"),
        an_exemption("first", instance_id=an_id(1)),
        an_exemption("second", auto_scaling_group="web"),
        an_exemption("none", auto_scaling_group="db"),
    )
    assert noted(policy) == ["no instance matches the exemption (auto_scaling_group db) none"]


def test_an_expired_exemption_is_not_named() -> None:
    """Every sweep's report names it already."""
    assert noted(exempting(an_exemption(expires=date(2026, 11, 21), auto_scaling_group="db"))) == []
    assert noted(exempting(an_exemption(expires=date(2026, 11, 22), auto_scaling_group="db"))) != []


@pytest.mark.parametrize(
    ("unread", "region", "known"),
    [
        (Unread((), others=True), None, False),
        (Unread((), others=True), HOME, False),
        (Unread((AWAY,), others=False), None, False),
        (Unread((AWAY,), others=False), "us-*", False),
        (Unread((AWAY,), others=False), "eu-*", True),
        (Unread((AWAY, HOME), others=False), "eu-*", False),
    ],
)
def test_an_exemption_that_may_match_an_unread_instance_is_not_named(
    unread: Unread, region: str | None, *, known: bool
) -> None:
    """The unread instance may be in a region that failed or was not asked for."""
    match: dict[str, Any] = {"region": region} if region else {}
    assert bool(noted(exempting(an_exemption(auto_scaling_group="db", **match)), unread)) is known


@pytest.mark.parametrize(
    ("tag", "is_and_have"),
    [
        (Match(tag_key="TEAM"), 'key is "TEAM", instances have "Team"'),
        (Match(tag_key="TEAM", tag_value="other"), 'key is "TEAM", instances have "Team"'),
        (Match(tag_key="Env*", tag_value="*"), 'key is "Env*", instances have "env"'),
        (Match(tag_key="env ", tag_value="prod"), 'key is "env ", instances have "env"'),
        (Match(tag_key="env", tag_value="PROD"), 'is "env=PROD", instances have "env=Prod "'),
        (Match(tag_key="Team", tag_value="pay*"), 'is "Team=pay*", instances have "team=payments"'),
    ],
)
def test_a_tag_that_instances_spell_differently_is_named(tag: Match, is_and_have: str) -> None:
    """The note has one of the instances' spellings.

    The tag is in container_host_tags, or in an exemption by one or several tags.
    """
    note = f"the tag {is_and_have}; case and spaces matter"
    assert noted(a_policy(container_host_tags=(tag,))) == [f"container_host_tags: {note}"]
    alone, among = (
        an_exemption(tag_key=tag.tag_key, tag_value=tag.tag_value),
        an_exemption(tags=(tag, Match(tag_key="env"))),
    )
    for exemption in (alone, among):
        named = f"the exemption {exemption.named()}"
        assert noted(exempting(exemption)) == [f"no instance matches {named}", f"{named}: {note}"]
        assert noted(exempting(exemption), Unread((HOME,), others=False)) == [f"{named}: {note}"]


@pytest.mark.parametrize(
    "tag",
    [
        Match(tag_key="team"),
        Match(tag_key="Team", tag_value="w*"),
        Match(tag_key="*", tag_value="payments"),
        Match(tag_key="nomad"),
        Match(tag_key="env", tag_value="test"),
    ],
)
def test_a_tag_that_instances_have_or_that_resembles_no_other_is_not_named(tag: Match) -> None:
    """A tag that no instance has yet is not a mistake."""
    assert noted(a_policy(container_host_tags=(tag,))) == []


def test_the_tags_of_an_expired_exemption_are_not_named() -> None:
    """The exemption protects no instance, however its tags are spelt."""
    assert noted(exempting(an_exemption(expires=date(2026, 11, 21), tag_key="TEAM"))) == []


def test_only_tags_that_the_policy_names_are_kept() -> None:
    """A fleet has many tags, such as a different name for each instance."""
    seen = Seen()
    seen.add(FLEET, a_policy(container_host_tags=(Match(tag_key="TEAM"),)))
    assert seen.tags == {("team", "payments"), ("Team", "web")}
