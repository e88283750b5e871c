"""No event and no sweep changes a held instance until its hold ends or is released."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.enforcement.attempt import MAX_OBSERVATION_AGE
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import AwsError, HttpTokens, Outcome, Trigger
from imds_enforcer.policy import Mode
from imds_enforcer.runs.events import SweepRequest
from imds_enforcer.runs.revert import Revert
from tests.fakes import example_events as events
from tests.fakes.clock import START
from tests.fakes.example_events import a_message
from tests.fakes.examples import HOME, SERVER_FAULT, UNAUTHORIZED, V1_ALLOWED, V2_ONLY, a_policy, an_id, an_instance
from tests.fakes.runs import Batch, Sweep, ledger

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from imds_enforcer.model import Change
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

WHY = "HttpTokens is optional, not required"
AUDIT = a_policy(mode=Mode.AUDIT)
INVENTORY = SweepRequest(Trigger.INVENTORY)


def _hold(clients: FakeClients, *numbers: int, until: datetime | None = None) -> None:
    """Hold instances, as an operator does at the command line."""
    now = clients.clock.now()
    clients.ledger_table.holds.write(
        Hold(instance_id=an_id(number), reason="legacy SDK", by="ana", at=now, until=until) for number in numbers
    )


@pytest.mark.parametrize("event", [events.launch(an_id(1)), events.running(an_id(1)), events.drift(an_id(1))])
def test_a_held_instance_is_left_alone_by_an_event(clients: FakeClients, home: FakeEc2, event: dict[str, Any]) -> None:
    """Of any kind. The result says who holds it and why, and the message does not come back."""
    home.launch(an_instance(1), an_instance(2))
    _hold(clients, 1)
    batch = Batch(clients, a_message(event, "m-1"), a_message(events.running(an_id(2)), "m-2"))
    assert batch.outcomes == {an_id(1): Outcome.HELD, an_id(2): Outcome.REMEDIATED}
    held = next(result for result, _ in batch.log if result.instance_id == an_id(1))
    assert held.reason == f"held until it is released by ana: legacy SDK; {WHY}"
    assert (held.before, held.after) == (V1_ALLOWED, V1_ALLOWED)
    assert batch.again == []
    assert home.sent_ids == [an_id(2)]
    assert [entry.instance_id for entry in ledger(clients)] == [an_id(2)]


def test_a_held_instance_is_left_alone_by_a_sweep(clients: FakeClients, home: FakeEc2) -> None:
    """The report names it."""
    home.launch(*map(an_instance, range(4)))
    _hold(clients, 1, 2)
    report = Sweep(clients).report
    assert report.outcomes == {Outcome.REMEDIATED: 2, Outcome.HELD: 2}
    assert home.modified_ids == [an_id(0), an_id(3)]
    assert sorted(kept["instance_id"] for kept in report.as_json()["kept_back"]) == [an_id(1), an_id(2)]


def test_the_inventory_logs_a_hold_and_other_sweeps_do_not(clients: FakeClients, home: FakeEc2) -> None:
    """It would be the same every quarter of an hour."""
    home.launch(an_instance(1))
    _hold(clients, 1)
    assert Sweep(clients).logged == {}
    assert Sweep(clients, request=INVENTORY).logged == {an_id(1): Outcome.HELD}


def test_a_held_instance_that_follows_the_policy_is_not_reported_as_held(clients: FakeClients, home: FakeEc2) -> None:
    """The enforcer would not change it anyway."""
    home.launch(an_instance(1, V2_ONLY))
    _hold(clients, 1)
    assert Sweep(clients, request=INVENTORY).report.outcomes == {Outcome.COMPLIANT: 1}


def test_audit_mode_respects_holds(clients: FakeClients, home: FakeEc2) -> None:
    """It reports what would become of each instance."""
    home.launch(an_instance(1), an_instance(2))
    _hold(clients, 1)
    assert Sweep(clients, AUDIT).report.outcomes == {Outcome.HELD: 1, Outcome.WOULD_REMEDIATE: 1}
    batch = Batch(clients, a_message(events.launch(an_id(1), an_id(2))), policy=AUDIT)
    assert batch.outcomes == {an_id(1): Outcome.HELD, an_id(2): Outcome.WOULD_REMEDIATE}


def test_a_hold_ends_at_its_time(clients: FakeClients, home: FakeEc2) -> None:
    """To the second."""
    home.launch(an_instance(1))
    _hold(clients, 1, until=START + timedelta(hours=1))
    clients.clock.advance(3_599)
    assert Sweep(clients).report.outcomes == {Outcome.HELD: 1}
    clients.clock.advance(1)
    assert Sweep(clients).report.outcomes == {Outcome.REMEDIATED: 1}


def test_a_released_instance_is_enforced_by_the_next_sweep(clients: FakeClients, home: FakeEc2) -> None:
    """It has no hold any more."""
    home.launch(an_instance(1))
    _hold(clients, 1)
    Sweep(clients)
    clients.ledger_table.holds.release([an_id(1)])
    assert Sweep(clients).report.outcomes == {Outcome.REMEDIATED: 1}


def test_a_hold_protects_from_a_sweep_under_way(clients: FakeClients, home: FakeEc2) -> None:
    """The instance's turn comes minutes later, after another look."""
    home.launch(*map(an_instance, range(1_200)))
    clients.clock.at(20, lambda: _hold(clients, *range(900, 1_200)))
    report = Sweep(clients).report
    assert report.outcomes == {Outcome.REMEDIATED: 900, Outcome.HELD: 300}
    assert set(home.sent_ids).isdisjoint(map(an_id, range(900, 1_200)))
    held = [kept for kept in report.as_json()["kept_back"] if kept["outcome"] == "HELD"]
    assert len(held) == 100, "and the rest is counted"


def test_a_hold_counts_from_the_next_look(clients: FakeClients, home: FakeEc2) -> None:
    """For ten seconds at most, a change may still rest on an observation from before the hold."""
    home.launch(*map(an_instance, range(400)))
    held_at: list[float] = []

    def hold_all() -> None:
        held_at.append(clients.clock.monotonic())
        _hold(clients, *range(400))

    late: list[float] = []

    def listen(ec2: FakeEc2, instance_id: str, _: Change) -> None:
        if held_at:
            late.append(clients.clock.monotonic() - held_at[0])
            assert ec2.shown[instance_id].observed_at <= held_at[0]

    home.judge = listen
    clients.clock.at(5, hold_all)
    Sweep(clients)
    assert len(home.sent) < 200
    assert max(late, default=0) <= MAX_OBSERVATION_AGE


@pytest.mark.parametrize("moment", [0.5 * number for number in range(1, 30)])
def test_a_reverted_instance_is_never_taken_for_drift(clients: FakeClients, home: FakeEc2, moment: float) -> None:
    """A revert holds the instance first, so a run that observes the reverted options then reads the hold.

    A sweep is under way and waits for EC2 again and again, while an operator reverts some instances that it has
    changed and some that it has not reached yet.
    """
    reverted = range(0, 300, 2)
    home.launch(*(an_instance(number, V2_ONLY if number in reverted else V1_ALLOWED) for number in range(300)))

    def revert() -> None:
        _hold(clients, *reverted)
        for number in reverted:
            home.set_options(an_id(number), http_tokens=HttpTokens.OPTIONAL)

    clients.clock.at(moment, revert)
    home.read_seconds, home.page_size = 1, 40
    # An inventory sees all of them, before and after.
    Sweep(clients, request=INVENTORY, seconds=300)
    assert set(home.sent_ids).isdisjoint(map(an_id, reverted))


@pytest.mark.parametrize("mode", ["event", "sweep"])
def test_a_reverted_instance_is_left_alone_until_it_is_released(clients: FakeClients, home: FakeEc2, mode: str) -> None:
    """By its own drift event, restarts and sweeps."""
    home.launch(an_instance(1))
    Sweep(clients)
    revert = Revert(clients, clients.clock, run_id="revert-1", by="ana")
    (result,) = revert.carry_out(revert.plan([an_id(1)]), reason="an old SDK")
    assert result.outcome is Outcome.REMEDIATED
    assert home.actual(an_id(1)).options == V1_ALLOWED
    for _ in range(2):
        if mode == "sweep":
            assert Sweep(clients).report.outcomes == {Outcome.HELD: 1}
        else:
            messages = a_message(events.drift(an_id(1)), "m-1"), a_message(events.running(an_id(1)), "m-2")
            assert Batch(clients, *messages).outcomes == {an_id(1): Outcome.HELD}
    assert home.actual(an_id(1)).options == V1_ALLOWED
    clients.ledger_table.holds.release([an_id(1)])
    assert Sweep(clients).report.outcomes == {Outcome.REMEDIATED: 1}


def test_a_revert_whose_hold_cannot_be_written_changes_nothing(clients: FakeClients, home: FakeEc2) -> None:
    """The next sweep would undo the revert."""
    home.launch(an_instance(1))
    Sweep(clients)
    sent = len(home.sent)
    revert = Revert(clients, clients.clock, run_id="revert-1", by="ana")
    plans = revert.plan([an_id(1)])
    clients.table.write_failure = UNAUTHORIZED
    with pytest.raises(AwsError):
        list(revert.carry_out(plans, reason="an old SDK"))
    assert len(home.sent) == sent


def test_held_instances_do_not_count_against_the_sweeps_limit(clients: FakeClients, home: FakeEc2) -> None:
    """They are not changed."""
    home.launch(*map(an_instance, range(10)))
    _hold(clients, *range(5))
    report = Sweep(clients, a_policy(max_changes_per_sweep=5)).report
    assert report.outcomes == {Outcome.HELD: 5, Outcome.REMEDIATED: 5}
    assert report.regions[HOME].left_to_sweep == 0


def test_instances_that_the_circuit_breaker_delayed_get_their_own_hold_check(
    clients: FakeClients, home: FakeEc2
) -> None:
    """They are held while the breaker waits; none may be sent when it lets changes through again."""
    home.launch(*map(an_instance, range(40)))
    for number in range(3):
        home.modify_errors[an_id(number)] = [SERVER_FAULT] * 3
    held_at: list[float] = []
    late: list[str] = []

    def hold_all(ec2: FakeEc2, instance_id: str, _change: Change) -> None:
        if len(home.sent) == 9:
            held_at.append(clients.clock.monotonic())
            _hold(clients, *range(40))
        elif held_at and ec2.shown[instance_id].observed_at > held_at[0]:
            late.append(instance_id)

    home.judge = hold_all
    Sweep(clients)
    assert held_at
    assert late == []
