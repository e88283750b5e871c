from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.ledger.entry import KEPT
from imds_enforcer.ledger.template_fix import FixState, TemplateFix
from tests.fakes.clock import START
from tests.fakes.records import FakeTable

if TYPE_CHECKING:
    from imds_enforcer.aws.ledger_table import LedgerTable
    from tests.fakes.clock import FakeClock

FIX = TemplateFix(
    run_id="run-1",
    region="eu-west-1",
    template_id="lt-1",
    name="web",
    source="7",
    moves_default=True,
    at=START,
    by="arn:aws:iam::111122223333:user/ann",
)


@pytest.fixture
def table() -> FakeTable:
    """The table in memory."""
    return FakeTable()


@pytest.fixture
def ledger_table(table: FakeTable, clock: FakeClock) -> LedgerTable:
    """The ledger table to test."""
    return table.ledger_table(clock)


def test_the_latest_version_of_each_fix_counts(ledger_table: LedgerTable) -> None:
    """Oldest first; moment, run and template are the key of a fix."""
    done = replace(FIX, version="8", state=FixState.FIXED)
    earlier = replace(FIX, run_id="run-0", at=START - timedelta(days=1))
    other = replace(FIX, template_id="lt-2", by=None)
    for fix in (FIX, other, earlier, done):
        ledger_table.template_fixes.write(fix)
    assert ledger_table.template_fixes.all() == [earlier, done, other]
    assert [each.to_undo for each in (FIX, done, replace(done, state=FixState.UNDONE))] == [True, True, False]


def test_fixes_are_not_among_the_entries(ledger_table: LedgerTable, table: FakeTable) -> None:
    """The history is about instances; a fix is kept as long as an entry."""
    ledger_table.template_fixes.write(FIX)
    assert ledger_table.entries.of_run("run-1") == []
    assert list(ledger_table.entries.since(START - timedelta(days=1))) == []
    assert ledger_table.entries.open_intents() == []
    assert ledger_table.unreadable() == set()
    (item,) = table.items.values()
    assert item["expires_at"] == int((START + KEPT).timestamp())


@pytest.mark.parametrize("spoiled", ["{", "{}", '{"at": "soon"}', '{"at": 1}', "[]"])
def test_a_malformed_fix_is_left_out(ledger_table: LedgerTable, table: FakeTable, spoiled: str) -> None:
    """Its key is reported."""
    ledger_table.template_fixes.write(FIX)
    (key,) = table.items
    table.items[key] |= {"fix": spoiled}
    assert ledger_table.template_fixes.all() == []
    assert ledger_table.unreadable() == {key}
