"""The arithmetic behind the dollars in infra/SCALE.md, and the tables there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra.local.process import ROOT
from tests.bench.costs import held, held_table, kept, month_table, monthly, read, watched, write
from tests.bench.invocations import HELD, Held, Measured, Watching
from tests.bench.prices import Took

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = Took(seconds=0, log_bytes=0)
SOME = Took(seconds=1, log_bytes=1_000, writes=8, reads=1)
SCALE = ROOT / "infra" / "SCALE.md"


def measured(each: Took, entry_bytes: int = 0) -> Measured:
    """Measurements with every invocation alike, and a watch of 100 instances that writes nothing."""
    watching = Watching(Took(1, 0, metrics=100, reads=each.reads), Took(1, 0, reads=each.reads))
    return Measured(each, each, each, watching, entry_bytes)


def test_an_invocation_costs_compute_request_trace_log_table_and_metrics() -> None:
    """A gigabyte-second, a fifth of a millionth dollar a request, a trace, half a dollar a gigabyte of log, metrics."""
    assert Took(seconds=1, log_bytes=10**9).dollars == pytest.approx(0.0000133334 + 0.0000052 + 0.5)
    asked = Took(seconds=0, log_bytes=0, writes=10**6, reads=10**6, metrics=1_000)
    assert asked.safeguards == pytest.approx(0.625 + 0.125 + 0.01)
    assert asked.dollars == pytest.approx(asked.safeguards + NOTHING.dollars)


def test_costs_by_account_and_costs_by_instance() -> None:
    """Sweeps and fixed costs grow with accounts; launches and their consequences grow with instances."""
    some = measured(SOME, entry_bytes=800)
    one = monthly(1_000, 1, some)
    more_instances, more_accounts = monthly(2_000, 1, some), monthly(1_000, 2, some)
    growing = {name for name in one if more_instances[name] == pytest.approx(2 * one[name])}
    assert growing == {"launches", "inventories", "watch", "ledger, kept for 400 days"}
    assert {name for name in one if more_accounts[name] == pytest.approx(2 * one[name])} == set(one) - growing


def test_an_idle_deployment_has_only_fixed_costs() -> None:
    """Key, alarms, dashboard, a few metrics, the pollers, and the schedule's invocations."""
    month = monthly(0, 1, measured(NOTHING))
    assert month["key, alarms, dashboard"] == pytest.approx(1 + 11 * 0.10 + 3)
    assert month["sweeps"] == pytest.approx(2_920 * (0.2 + 5 + 1) / 1e6)
    assert not any(month[name] for name in ("launches", "inventories", "watch", "ledger, kept for 400 days"))


def test_a_changed_instance_is_asked_about_every_hour_of_a_day() -> None:
    """Reads that every sweep makes count for the sweep, and not again."""
    assert watched(measured(Took(1, 0, reads=3))) == pytest.approx(24 * 0.01 / 1e3)


def test_an_entry_is_kept_three_times_and_can_be_recovered_once() -> None:
    """In the table and two indexes, with the bytes that DynamoDB adds to each item."""
    assert kept(900) == pytest.approx(1_000 / 1e9 * (3 * 0.25 + 0.20))


def test_held_instances_are_asked_about_once_a_day() -> None:
    """All other sweeps, and the inventory, read the notes."""
    month = held(Held(1_000, Took(0, 0, metrics=1_000, writes=50), Took(0, 0, reads=10), Took(0, 10**6, reads=10)))
    days = 730 / 24
    assert month["GetMetricData"] == pytest.approx(days * 0.01)
    assert month["notes, written"] == pytest.approx(days * 50 / 1e6 * 0.625)
    assert month["notes, read by every sweep"] == pytest.approx(days * 96 * 10 / 1e6 * 0.125)
    assert month["log of the daily inventories"] == pytest.approx(days * 0.0005)
    assert month["log of the sweeps"] == 0


def test_ten_thousand_held_instances_cost_less_than_four_dollars_a_month() -> None:
    """By the stored measurements."""
    _, several = read()
    assert several.instances == HELD == several.asks.metrics == 10_000
    assert several.reads.metrics == several.inventory.metrics == 0
    assert sum(held(several).values()) < 4


def test_measurements_are_read_as_written(tmp_path: Path) -> None:
    """Without a change."""
    once = measured(SOME, entry_bytes=800), Held(5, SOME, SOME, NOTHING)
    write(*once, tmp_path / "costs.json")
    assert read(tmp_path / "costs.json") == once


def test_scale_md_has_the_tables() -> None:
    """They are copied from the output of `make costs`."""
    month, several = read()
    text = SCALE.read_text(encoding="utf-8")
    for table in (month_table(month), held_table(several)):
        assert "\n".join(table) in text
