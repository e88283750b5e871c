"""The arithmetic behind the dollars in infra/SCALE.md."""

from __future__ import annotations

import pytest

from tests.bench.costs import Measured, Took, monthly

NOTHING = Took(seconds=0, log_bytes=0)


def test_an_invocation_costs_compute_request_trace_and_log() -> None:
    """A second of a gigabyte, a five-millionth of a dollar, a trace, and half a dollar a gigabyte."""
    assert Took(seconds=1, log_bytes=10**9).dollars == pytest.approx(0.0000133334 + 0.0000052 + 0.5)


def test_what_grows_with_accounts_and_what_with_instances() -> None:
    """Sweeps and everything that stands are per account, launches and inventories per instance."""
    measured = Measured(sweep=Took(1, 1_000), launch=Took(1, 1_000), inventory=Took(1, 1_000))
    one = monthly(1_000, 1, measured)
    more_instances, more_accounts = monthly(2_000, 1, measured), monthly(1_000, 2, measured)
    growing = {name for name in one if more_instances[name] == pytest.approx(2 * one[name])}
    assert growing == {"launches", "inventories"}
    assert {name for name in one if more_accounts[name] == pytest.approx(2 * one[name])} == set(one) - growing


def test_a_deployment_at_rest_costs_what_stands_there() -> None:
    """Key, alarms, dashboard, a few metrics, the pollers, and the schedule's invocations."""
    month = monthly(0, 1, Measured(NOTHING, NOTHING, NOTHING))
    assert month["key, alarms, dashboard"] == pytest.approx(1 + 8 * 0.10 + 3)
    assert month["sweeps"] == pytest.approx(2_920 * (0.2 + 5 + 1) / 1e6)
    assert month["launches"] == month["inventories"] == 0
