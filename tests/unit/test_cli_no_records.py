"""What stands in for the table where there is none."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.ledger import Contest
from imds_enforcer.records import Records
from imds_enforcer_cli.no_records import NoRecords
from tests.unit.example_events import a_batch, a_message, drift
from tests.unit.examples import POLICY_PARAMETER, V2_ONLY, an_id, an_instance
from tests.unit.runs import App

if TYPE_CHECKING:
    from tests.unit.fake_clients import FakeClients
    from tests.unit.fake_ec2 import FakeEc2


def test_it_is_asked_as_the_records_are() -> None:
    """Whatever calls the one can call the other."""
    names = [name for name in vars(NoRecords) if not name.startswith("_")]
    assert {"write", "open_intents", "standing"} <= set(names)
    for name in names:
        here, there = (inspect.signature(getattr(each, name)).parameters for each in (NoRecords, Records))
        assert [*here] == [*there]


@pytest.mark.parametrize("event", [{}, {"inventory": True}, a_batch(a_message(drift()))])
def test_the_enforcer_changes_instances_with_it(clients: FakeClients, home: FakeEc2, event: Any) -> None:
    """And asks no table."""
    vars(clients)["records"] = NoRecords()
    clients.ssm.put(POLICY_PARAMETER, '{"watch": null}')
    home.launch(an_instance())
    App(clients).invoke(event)
    assert home.actual(an_id()).options == V2_ONLY
    assert not clients.table.requests


def test_it_keeps_nothing() -> None:
    """And one reading of what stands against changes is good for ever."""
    records, now = NoRecords(), datetime(2026, 11, 22, tzinfo=UTC)
    records.write(())
    records.contest(Contest(instance_id=an_id(1), principal="somebody", until=now + timedelta(days=1)))
    standing = records.standing()
    assert not standing.holds
    assert not standing.contests
    assert standing.read_at == float("inf")
    assert records.entries_of(an_id(1)) == records.open_intents() == []
