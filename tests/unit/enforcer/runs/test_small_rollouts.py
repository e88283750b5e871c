"""Instances whose turn has not come: new ones in their grace period, existing ones outside the rollout's share."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.model import HttpTokens, Outcome, Trigger
from imds_enforcer.runs.events import SweepRequest
from tests.fakes import example_events as events
from tests.fakes.clock import START
from tests.fakes.example_events import a_message
from tests.fakes.examples import POLICY_PARAMETER, THROTTLED, V1_ALLOWED, V2_ONLY, a_policy, an_id, an_instance
from tests.fakes.runs import App, Batch, Sweep

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

GRACE = a_policy(launch_grace_seconds=300)
FIVE_PERCENT = a_policy(rollout_percent=5)
MINUTE_AGO = START - timedelta(minutes=1)


@pytest.mark.parametrize(("ago", "delay"), [(0, 300), (60, 240), (60.5, 240), (299.2, 1)])
def test_a_launch_in_its_grace_comes_back_when_the_grace_is_over(
    clients: FakeClients, home: FakeEc2, ago: float, delay: int
) -> None:
    """The delay is the rest of the grace in whole seconds, not the usual one."""
    home.launch(an_instance(1, attached_at=START - timedelta(seconds=ago)))
    batch = Batch(clients, a_message(events.launch(an_id(1)), receives=5), policy=GRACE)
    assert batch.outcomes == {an_id(1): Outcome.DEFERRED}
    assert batch.delays == {"m-1": delay}
    assert home.sent == []
    clients.clock.advance(delay)
    again = Batch(clients, a_message(events.launch(an_id(1)), receives=6), policy=GRACE)
    assert again.outcomes == {an_id(1): Outcome.REMEDIATED}
    assert again.again == []


def test_the_queue_is_told_the_delay(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """The delay is in whole seconds."""
    home.launch(an_instance(1, attached_at=MINUTE_AGO))
    clients.ssm.put(POLICY_PARAMETER, '{"launch_grace_seconds": 300}')
    assert app.batch(a_message(events.launch(an_id(1)))) == ["m-1"]
    assert clients.fake_queue.delays == {"m-1": 240}


def test_of_several_launches_the_shortest_grace_counts(clients: FakeClients, home: FakeEc2) -> None:
    """If one launch waits for another reason, the usual delay counts: that launch may be ready at any time."""
    home.launch(an_instance(1, attached_at=START), an_instance(2, attached_at=MINUTE_AGO), an_instance(3))
    message = a_message(events.launch(an_id(1), an_id(2)), receives=3)
    assert Batch(clients, message, policy=GRACE).delays == {"m-1": 240}
    home.modify_errors[an_id(3)] = [THROTTLED] * 100
    message = a_message(events.launch(an_id(1), an_id(2), an_id(3)), receives=3)
    assert Batch(clients, message, policy=GRACE).delays == {"m-1": 20}


@pytest.mark.parametrize("trigger", [Trigger.SCHEDULE, Trigger.INVENTORY, Trigger.POLICY_CHANGE])
def test_a_sweep_respects_the_grace(clients: FakeClients, home: FakeEc2, trigger: Trigger) -> None:
    """It does not matter what triggered the sweep."""
    home.launch(an_instance(1, attached_at=MINUTE_AGO), an_instance(2))
    request = SweepRequest(trigger)
    assert Sweep(clients, GRACE, request).logged == {an_id(1): Outcome.DEFERRED, an_id(2): Outcome.REMEDIATED}
    clients.clock.advance(240)
    assert Sweep(clients, GRACE, request).logged[an_id(1)] is Outcome.REMEDIATED


def test_drift_in_the_grace_period_waits_too(clients: FakeClients, home: FakeEc2) -> None:
    """The instance's boot script may have caused it."""
    home.launch(an_instance(1, attached_at=MINUTE_AGO))
    batch = Batch(clients, a_message(events.drift(an_id(1))), policy=GRACE)
    assert batch.delays == {"m-1": 240}


def _outside() -> list[int]:
    return [number for number in range(100) if not FIVE_PERCENT.has_reached(an_id(number))]


@pytest.mark.parametrize("event", [events.running, events.drift, events.launch])
def test_outside_the_share_a_first_launch_is_changed_and_a_restart_is_not(
    clients: FakeClients, home: FakeEc2, event: Any
) -> None:
    """New instances follow the policy from the first day."""
    old, new = _outside()[:2]
    home.launch(an_instance(old, attached_at=START - timedelta(hours=1)), an_instance(new, attached_at=MINUTE_AGO))
    messages = a_message(event(an_id(old)), "m-1"), a_message(event(an_id(new)), "m-2")
    batch = Batch(clients, *messages, policy=FIVE_PERCENT)
    assert batch.outcomes == {an_id(old): Outcome.SKIPPED, an_id(new): Outcome.REMEDIATED}
    assert batch.again == []
    assert home.actual(an_id(old)).options == V1_ALLOWED


def test_a_larger_share_only_adds_instances(clients: FakeClients, home: FakeEc2) -> None:
    """Changed instances stay changed, and each is changed once."""
    home.launch(*map(an_instance, range(400)))
    before: set[str] = set()
    for percent in (0, 5, 25, 100):
        Sweep(clients, a_policy(rollout_percent=percent))
        now = set(home.modified_ids)
        assert before <= now
        assert now == {i for i in map(an_id, range(400)) if a_policy(rollout_percent=percent).has_reached(i)}
        before = now
    assert len(home.sent) == 400


def test_the_share_applies_to_loosening_too(clients: FakeClients, home: FakeEc2) -> None:
    """Loosening is as gradual as tightening."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(100)))
    policy = a_policy(HttpTokens.OPTIONAL, rollout_percent=5)
    outcomes = Sweep(clients, policy).report.outcomes
    assert outcomes == {Outcome.REMEDIATED: 100 - len(_outside()), Outcome.SKIPPED: len(_outside())}
