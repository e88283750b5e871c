"""A revert succeeds whatever happens to other instances, or happened to an earlier revert."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import Outcome
from imds_enforcer.runs.revert import Revert
from tests.fakes.clock import START
from tests.fakes.entries import an_entry
from tests.fakes.examples import AWAY, SERVER_FAULT, V1_ALLOWED, V2_ONLY, an_id, an_instance

if TYPE_CHECKING:
    from datetime import datetime

    from imds_enforcer.model import Change
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

AN_HOUR_AGO = START - timedelta(hours=1)


def _revert(clients: FakeClients, run_id: str) -> Revert:
    return Revert(clients, clients.clock, run_id=run_id, by="ana")


def test_a_region_that_cannot_be_read_stops_no_revert_elsewhere(
    clients: FakeClients, home: FakeEc2, away: FakeEc2
) -> None:
    """Only its own instances have a problem."""
    home.launch(an_instance(1, V2_ONLY))
    away.launch(an_instance(2, V2_ONLY, region=AWAY))
    clients.ledger_table.entries.write([an_entry(1, at=AN_HOUR_AGO), an_entry(2, at=AN_HOUR_AGO, region=AWAY)])
    away.read_errors = dict.fromkeys(range(1, 10), SERVER_FAULT)
    revert = _revert(clients, "revert-1")
    plans = revert.plan([], "run-1")
    problems = {plan.instance_id: plan.problem for plan in plans}
    assert problems == {an_id(1): None, an_id(2): f"the instance cannot be read ({SERVER_FAULT})"}
    (result,) = revert.carry_out(plans, reason="too early")
    assert (result.instance_id, result.outcome) == (an_id(1), Outcome.REMEDIATED)
    assert home.actual(an_id(1)).options == V1_ALLOWED


def test_an_instance_that_a_service_takes_over_after_the_plan_is_not_changed(
    clients: FakeClients, home: FakeEc2
) -> None:
    """The look before the change decides."""
    home.launch(an_instance(1, V2_ONLY))
    clients.ledger_table.entries.write([an_entry(1, at=AN_HOUR_AGO)])
    revert = _revert(clients, "revert-1")
    plans = revert.plan([an_id(1)])
    home.launch(an_instance(1, V2_ONLY, managed_by="eks.amazonaws.com"))
    (result,) = revert.carry_out(plans, reason="too early")
    why = "managed by eks.amazonaws.com: the account cannot change it"
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, why)
    assert home.sent == []


def test_the_next_revert_completes_and_finishes_a_killed_one(clients: FakeClients, home: FakeEc2) -> None:
    """A quarter of an hour later, without a sweep in between; it does not repeat what the killed one did."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(150)))
    clients.ledger_table.entries.write(an_entry(number, at=AN_HOUR_AGO) for number in range(150))

    def kill(_ec2: FakeEc2, _instance_id: str, _change: Change) -> None:
        if len(home.sent) == 110:
            raise KeyboardInterrupt

    home.judge = kill
    revert = _revert(clients, "revert-1")
    with pytest.raises(KeyboardInterrupt):
        list(revert.carry_out(revert.plan([], "run-1"), reason="too early"))
    home.judge = None
    clients.clock.advance(15 * 60)
    home.forget_calls()
    again = _revert(clients, "revert-2")
    results = list(again.carry_out(again.plan([], "run-1"), reason="too early"))
    assert {home.actual(an_id(number)).options for number in range(150)} == {V1_ALLOWED}
    assert {result.outcome for result in results} == {Outcome.REMEDIATED}
    assert len(home.modified) == len(results) <= 41
    assert clients.ledger_table.entries.open_intents() == []


def test_a_revert_counts_as_left_behind_only_after_its_last_look(clients: FakeClients, home: FakeEc2) -> None:
    """The last change may be sent just before the deadline, and then has as long to take effect as any other."""
    home.launch(an_instance(1, V2_ONLY))
    clients.ledger_table.entries.write([an_entry(1, at=AN_HOUR_AGO)])
    home.applied_after = 1_000
    ends_at: set[datetime] = set()

    def send(_ec2: FakeEc2, _instance_id: str, _change: Change) -> None:
        ends_at.update(entry.ends_at for entry in clients.ledger_table.entries.open_intents())

    home.judge = send
    revert = _revert(clients, "revert-1")
    (result,) = revert.carry_out(revert.plan([an_id(1)]), reason="too early")
    assert result.outcome is Outcome.PENDING
    waited = clients.clock.now() - START
    (end,) = ends_at
    assert end - START >= timedelta(seconds=60) + waited


def test_an_instance_that_was_never_changed_has_nothing_to_undo(clients: FakeClients) -> None:
    """The ledger has no entry of it."""
    (plan,) = _revert(clients, "revert-1").plan([an_id(7)])
    assert (plan.nothing_left, plan.problem) == ("the ledger has no change left to undo", None)
