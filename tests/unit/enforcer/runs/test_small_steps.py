"""A policy reaches a large fleet in small steps."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.decision.decision import Verdict, decide
from imds_enforcer.model import Outcome
from tests.fakes.clock import START
from tests.fakes.example_events import a_message, running
from tests.fakes.examples import a_policy, an_id, an_instance
from tests.fakes.runs import Batch

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

OLD, NEW = START - timedelta(hours=1), START - timedelta(minutes=59)


def _share(percent: int) -> set[str]:
    policy = a_policy(rollout_percent=percent)
    return {instance_id for instance_id in map(an_id, range(2_000)) if policy.has_reached(instance_id)}


def test_a_larger_share_only_adds() -> None:
    """No instance drops out again; each share is as large as it says, within two points."""
    five, quarter, all_of_them = map(_share, (5, 25, 100))
    assert five < quarter < all_of_them
    assert len(five) / 2_000 == pytest.approx(0.05, abs=0.02)
    assert len(quarter) / 2_000 == pytest.approx(0.25, abs=0.02)
    assert len(all_of_them) == 2_000
    assert _share(0) == set()


def test_the_place_of_an_instance_never_changes() -> None:
    """In every process and every version: these three are the first in the first quarter."""
    assert sorted(_share(25))[:3] == [an_id(number) for number in (0, 1, 8)]


def test_an_instance_outside_the_share_is_left_alone_and_the_reason_says_so() -> None:
    """Until the share reaches it."""
    decision = decide(an_instance(attached_at=OLD), a_policy(rollout_percent=0), START)
    assert decision.verdict is Verdict.NOT_REACHED
    assert decision.reason == "outside the current rollout (0 % of existing instances)"


def test_a_first_launch_is_enforced_whatever_the_share() -> None:
    """Nothing can depend on its options yet."""
    decision = decide(an_instance(attached_at=NEW), a_policy(rollout_percent=0), START)
    assert decision.verdict is Verdict.REMEDIATE


def test_without_a_time_an_instance_counts_as_existing() -> None:
    """This is the careful guess."""
    assert decide(an_instance(), a_policy(rollout_percent=0), START).verdict is Verdict.NOT_REACHED


def test_a_restart_outside_the_share_is_not_changed(clients: FakeClients, home: FakeEc2) -> None:
    """Its event looks like that of a launch."""
    home.launch(an_instance(1, attached_at=OLD), an_instance(2, attached_at=NEW))
    batch = Batch(
        clients,
        *(a_message(running(an_id(number)), f"m-{number}") for number in (1, 2)),
        policy=a_policy(rollout_percent=0),
    )
    assert batch.outcomes == {an_id(1): Outcome.SKIPPED, an_id(2): Outcome.REMEDIATED}
    assert batch.again == []
