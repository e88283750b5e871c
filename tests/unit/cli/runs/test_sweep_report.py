from __future__ import annotations

from collections import Counter

import pytest

from imds_enforcer.model import Outcome
from imds_enforcer.reporting.report import RegionReport, RunReport
from imds_enforcer_cli.runs.sweep_report import region_rows
from tests.fakes.examples import AWAY, DENIED_BY_SCP, HOME, UNAUTHORIZED, a_policy


def regions_shown(**regions: RegionReport) -> list[str]:
    """The regions that have a row; the last row is for all."""
    parts = {name.replace("_", "-"): part for name, part in regions.items()}
    report = RunReport(run_id="run-1", trigger="command", policy=a_policy(), regions=parts)
    return [row[0][0] for row in region_rows(report)]


@pytest.mark.parametrize(
    "problem",
    [
        RegionReport(failure=UNAUTHORIZED),
        RegionReport(failure=DENIED_BY_SCP),
        RegionReport(stopped="the ledger is out of reach"),
        RegionReport(ledger_failure=UNAUTHORIZED),
        RegionReport(outcomes=Counter({Outcome.HELD: 1})),
    ],
)
def test_a_region_with_results_or_problems_has_a_row(problem: RegionReport) -> None:
    """The exit code is 1 for a ledger entry that could not be finalized, so the table must name its region."""
    assert regions_shown(eu_west_1=RegionReport(), us_east_1=problem) == [AWAY, "all"]


def test_a_region_without_results_or_problems_has_no_row() -> None:
    """A sweep covers many regions without drift."""
    assert regions_shown(**{HOME: RegionReport(), AWAY: RegionReport()}) == ["all"]
