"""Instances with unrecognized options are reported and never changed, and do not block the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import Failure, InstanceState, Kind, Outcome, Trigger
from imds_enforcer.policy import Mode
from imds_enforcer.reporting.report import RegionStatus
from imds_enforcer.runs.events import SweepRequest
from tests.fakes import example_events as events
from tests.fakes.clients import an_enforcer
from tests.fakes.example_events import a_message
from tests.fakes.examples import AWAY, HOME, V2_ONLY, a_policy, an_id, an_instance
from tests.fakes.runs import Batch, Sweep

if TYPE_CHECKING:
    from imds_enforcer.model import Instance, Result
    from imds_enforcer.policy import Policy
    from tests.fakes.clients import FakeClients
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2

WHY = "EC2 returned unrecognized metadata options"
UNREADABLE = Failure("UnreadableOptions", WHY, Kind.FINAL)


def _enforce(ec2: FakeEc2, clock: FakeClock, observed: list[Instance], policy: Policy) -> dict[str, Result]:
    enforcer = an_enforcer(ec2, clock, policy)
    return {result.instance_id: result for result in enforcer.enforce(observed)}


@pytest.mark.parametrize("policy", [a_policy(), a_policy(mode=Mode.AUDIT)])
def test_an_instance_with_unrecognized_options_fails_in_either_mode(
    ec2: FakeEc2, clock: FakeClock, policy: Policy
) -> None:
    """With its own reason and code, and without a call."""
    results = _enforce(ec2, clock, ec2.launch(an_instance(options=None)), policy)
    result = results[an_id()]
    assert (result.outcome, result.failure) == (Outcome.FAILED, UNREADABLE)
    assert result.reason == f"UnreadableOptions: {WHY}"
    assert (result.before, result.after, result.compliant) == (None, None, False)
    assert ec2.calls == []


def test_other_instances_are_enforced(ec2: FakeEc2, clock: FakeClock) -> None:
    """The unreadable one is never changed."""
    observed = ec2.launch(an_instance(1), an_instance(2, None), an_instance(3))
    results = _enforce(ec2, clock, observed, a_policy())
    assert {instance_id: result.outcome for instance_id, result in results.items()} == {
        an_id(1): Outcome.REMEDIATED,
        an_id(2): Outcome.FAILED,
        an_id(3): Outcome.REMEDIATED,
    }
    assert ec2.modified_ids == [an_id(1), an_id(3)]


def test_a_terminated_instance_is_no_failure(ec2: FakeEc2, clock: FakeClock) -> None:
    """There is nothing to do about it anyway."""
    observed = ec2.launch(an_instance(options=None, state=InstanceState.TERMINATED))
    result = _enforce(ec2, clock, observed, a_policy())[an_id()]
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "the instance is terminated")


def test_an_instance_whose_options_became_unrecognized_is_not_changed(ec2: FakeEc2, clock: FakeClock) -> None:
    """The look before the change discards the plan."""
    observed = ec2.launch(an_instance(1), an_instance(2))
    ec2.make_unreadable(an_id(1))
    clock.advance(11)
    results = _enforce(ec2, clock, observed, a_policy())
    assert (results[an_id(1)].outcome, results[an_id(1)].failure) == (Outcome.FAILED, UNREADABLE)
    assert results[an_id(2)].outcome is Outcome.REMEDIATED
    assert ec2.modified_ids == [an_id(2)]


def test_its_event_is_acknowledged(clients: FakeClients, home: FakeEc2) -> None:
    """EC2 would describe it the same way every time; the report names it."""
    home.launch(an_instance(1, None), an_instance(2))
    batch = Batch(clients, a_message(events.launch(an_id(1), an_id(2))))
    assert batch.outcomes == {an_id(1): Outcome.FAILED, an_id(2): Outcome.REMEDIATED}
    assert [result.failure for result in batch.report.failures] == [UNREADABLE]
    assert batch.again == []


def test_an_inventory_counts_an_unreadable_instance_and_goes_on(
    clients: FakeClients, home: FakeEc2, away: FakeEc2
) -> None:
    """In all regions; the instance does not count as compliant."""
    home.launch(an_instance(1, None), an_instance(2), an_instance(3, V2_ONLY))
    away.launch(an_instance(4))
    done = Sweep(clients, request=SweepRequest(Trigger.INVENTORY))
    assert done.report.outcomes == {Outcome.FAILED: 1, Outcome.REMEDIATED: 2, Outcome.COMPLIANT: 1}
    assert (done.report.instances, done.report.compliant) == (4, 3)
    assert done.statuses == {HOME: RegionStatus.DONE, AWAY: RegionStatus.DONE}
    assert done.report.as_json()["failures"] == [
        {"instance_id": an_id(1), "region": HOME, "code": "UnreadableOptions", "reason": f"UnreadableOptions: {WHY}"}
    ]


def test_once_its_options_are_recognized_an_instance_is_enforced(clients: FakeClients, home: FakeEc2) -> None:
    """The failure is not remembered."""
    home.launch(an_instance(options=None))
    assert Batch(clients, a_message(events.running())).outcomes == {an_id(): Outcome.FAILED}
    home.launch(an_instance())
    assert Batch(clients, a_message(events.running())).outcomes == {an_id(): Outcome.REMEDIATED}
