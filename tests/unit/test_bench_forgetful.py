"""What stands in for the table where the safeguards are not to be measured."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta

from imds_enforcer.ledger import Contest
from imds_enforcer.records import Records
from tests.bench.forgetful import Forgetful
from tests.unit.examples import an_id


def test_it_is_asked_as_the_records_are() -> None:
    """Whatever calls the one can call the other."""
    names = [name for name in vars(Forgetful) if not name.startswith("_")]
    assert {"write", "open_intents", "standing"} <= set(names)
    for name in names:
        here, there = (inspect.signature(getattr(each, name)).parameters for each in (Forgetful, Records))
        assert [*here] == [*there]


def test_it_keeps_nothing() -> None:
    """And one reading of what stands against changes is good for ever."""
    records, now = Forgetful(), datetime(2026, 11, 22, tzinfo=UTC)
    records.write(())
    records.contest(Contest(instance_id=an_id(1), principal="somebody", until=now + timedelta(days=1)))
    standing = records.standing()
    assert not standing.holds
    assert not standing.contests
    assert standing.read_at == float("inf")
    assert records.entries_of(an_id(1)) == records.open_intents() == []
