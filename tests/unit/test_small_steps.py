"""Requiring tokens of a large fleet in small steps: a share of it, so many at a time, and a stop when it goes wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.decision import Verdict, decide
from imds_enforcer.mandate import Allowance
from imds_enforcer.model import Outcome
from imds_enforcer.report import RegionStatus
from tests.unit.example_events import a_message, running
from tests.unit.examples import (
    AWAY,
    HOME,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    a_policy,
    an_id,
    an_instance,
)
from tests.unit.fake_clock import START
from tests.unit.runs import Batch, Sweep

if TYPE_CHECKING:
    from imds_enforcer.failures import Failure
    from tests.unit.fake_clients import FakeClients
    from tests.unit.fake_ec2 import FakeEc2

OLD, NEW = START - timedelta(hours=1), START - timedelta(minutes=59)


def _share(percent: int) -> set[str]:
    policy = a_policy(rollout_percent=percent)
    return {instance_id for instance_id in map(an_id, range(2_000)) if policy.has_reached(instance_id)}


def test_a_larger_share_only_adds() -> None:
    """Nobody is taken out again; and the shares are what they say, within two points."""
    five, quarter, all_of_them = map(_share, (5, 25, 100))
    assert five < quarter < all_of_them
    assert len(five) / 2_000 == pytest.approx(0.05, abs=0.02)
    assert len(quarter) / 2_000 == pytest.approx(0.25, abs=0.02)
    assert len(all_of_them) == 2_000
    assert _share(0) == set()


def test_the_place_of_an_instance_is_the_same_for_ever() -> None:
    """In every process, and in every version: these three are the first in the first quarter."""
    assert sorted(_share(25))[:3] == [an_id(number) for number in (0, 1, 8)]


def test_an_instance_outside_the_share_is_left_alone_and_the_reason_says_so() -> None:
    """Until its turn comes."""
    decision = decide(an_instance(attached_at=OLD), a_policy(rollout_percent=0), START)
    assert decision.verdict is Verdict.NOT_REACHED
    assert decision.reason == "not among the 0 % of the existing instances that have their turn"


def test_a_first_launch_is_enforced_whatever_the_share() -> None:
    """Nothing can depend on its options yet."""
    decision = decide(an_instance(attached_at=NEW), a_policy(rollout_percent=0), START)
    assert decision.verdict is Verdict.REMEDIATE


def test_without_a_time_an_instance_counts_as_existing() -> None:
    """It is the careful guess."""
    assert decide(an_instance(), a_policy(rollout_percent=0), START).verdict is Verdict.NOT_REACHED


def test_a_restart_outside_the_share_is_not_changed(clients: FakeClients, home: FakeEc2) -> None:
    """Its event is the same as that of a launch."""
    home.launch(an_instance(1, attached_at=OLD), an_instance(2, attached_at=NEW))
    batch = Batch(
        clients,
        *(a_message(running(an_id(number)), f"m-{number}") for number in (1, 2)),
        policy=a_policy(rollout_percent=0),
    )
    assert batch.outcomes == {an_id(1): Outcome.SKIPPED, an_id(2): Outcome.REMEDIATED}
    assert batch.again == []


def test_an_allowance_is_for_so_many() -> None:
    """And without a limit for any number."""
    assert [Allowance(2).take() for _ in range(1)] == [True]
    limited, unlimited = Allowance(2), Allowance(None)
    assert [limited.take() for _ in range(4)] == [True, True, False, False]
    assert all(unlimited.take() for _ in range(1_000))


def test_a_sweep_makes_so_many_changes_and_defers_the_rest(clients: FakeClients, home: FakeEc2, away: FakeEc2) -> None:
    """Counted over all regions; the next goes on."""
    home.launch(*map(an_instance, range(30)))
    away.launch(*map(an_instance, range(30, 60)))
    policy = a_policy(max_changes_per_sweep=25)
    done = Sweep(clients, policy)
    assert done.report.outcomes == {Outcome.REMEDIATED: 25, Outcome.DEFERRED: 35}
    assert len(home.sent) + len(away.sent) == 25
    reasons = {result.reason for result, _ in done.log if result.outcome is Outcome.DEFERRED}
    assert reasons == {"over the policy's limit of 25 changes in one sweep"}
    assert Sweep(clients, policy).report.outcomes == {Outcome.REMEDIATED: 25, Outcome.DEFERRED: 10}


def test_a_region_where_changes_go_wrong_is_left_alone(clients: FakeClients, home: FakeEc2, away: FakeEc2) -> None:
    """More than a fifth of ten or more: EC2 took them and did not make them."""
    home.launch(*map(an_instance, range(400)))
    home.ignored = set(map(an_id, range(400)))
    away.launch(an_instance(999))
    done = Sweep(clients)
    assert len(home.sent) < 250, "it stopped when the first were found to differ"
    assert done.report.outcomes[Outcome.FAILED] == len(home.sent)
    assert done.report.outcomes.total() == 401
    region = done.report.regions[HOME]
    assert region.status is RegionStatus.REGION_FAILED
    assert str(region.failure).startswith("CircuitBreaker: ")
    assert str(region.failure).endswith("changes ended in a fault of EC2 or differed when they were read back")
    deferred = next(result for result, _ in done.log if result.outcome is Outcome.DEFERRED)
    assert deferred.reason.startswith("the region is left alone: CircuitBreaker: ")
    assert done.statuses[AWAY] is RegionStatus.DONE
    assert away.modified_ids == [an_id(999)]


@pytest.mark.parametrize(
    ("failure", "fleet", "bad"),
    [(UNAUTHORIZED, 100, 50), (THROTTLED, 100, 50), (SERVER_FAULT, 100, 20), (SERVER_FAULT, 9, 9)],
)
def test_refusals_throttling_and_a_few_faults_stop_no_region(
    clients: FakeClients, home: FakeEc2, failure: Failure, fleet: int, bad: int
) -> None:
    """A refusal is its instance's own, throttling is about the pace, and a fifth may fail."""
    home.launch(*map(an_instance, range(fleet)))
    home.modify_errors |= {an_id(number): [failure] * 3 for number in range(bad)}
    done = Sweep(clients)
    assert done.statuses[HOME] is RegionStatus.DONE
    assert Outcome.DEFERRED not in done.report.outcomes
