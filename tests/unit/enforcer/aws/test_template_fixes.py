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
    """What is tested."""
    return table.ledger_table(clock)


def test_the_latest_writing_of_each_fix_counts(ledger_table: LedgerTable) -> None:
    """Oldest first; a fix has its place by moment, run and template."""
    done = replace(FIX, version="8", state=FixState.FIXED)
    earlier = replace(FIX, run_id="run-0", at=START - timedelta(days=1))
    other = replace(FIX, template_id="lt-2", by=None)
    for fix in (FIX, other, earlier, done):
        ledger_table.template_fixes.write(fix)
    assert ledger_table.template_fixes.all() == [earlier, done, other]
    assert [each.to_undo for each in (FIX, done, replace(done, state=FixState.UNDONE))] == [True, True, False]


def test_entries_and_indexes_know_nothing_of_it(ledger_table: LedgerTable, table: FakeTable) -> None:
    """The history is one of instances; a fix is kept as long as its entries."""
    ledger_table.template_fixes.write(FIX)
    assert ledger_table.entries.of_run("run-1") == []
    assert list(ledger_table.entries.since(START - timedelta(days=1))) == []
    assert ledger_table.entries.open_intents() == []
    assert ledger_table.unreadable() == set()
    (item,) = table.items.values()
    assert item["expires_at"] == int((START + KEPT).timestamp())


@pytest.mark.parametrize("spoiled", ["{", "{}", '{"at": "soon"}', '{"at": 1}', "[]"])
def test_one_that_cannot_be_read_is_left_out(ledger_table: LedgerTable, table: FakeTable, spoiled: str) -> None:
    """And known by its key."""
    ledger_table.template_fixes.write(FIX)
    (key,) = table.items
    table.items[key] |= {"fix": spoiled}
    assert ledger_table.template_fixes.all() == []
    assert ledger_table.unreadable() == {key}
