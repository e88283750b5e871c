"""The benchmark's output: consistent JSON, a table, and a well-formed chart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from tests.bench import results
from tests.bench.chart import svg
from tests.bench.marks import BARE, C7N, COLD, COLD_WITHOUT, WARM, WARM_WITHOUT
from tests.bench.measurement import DESCRIBE, MODIFY, Run
from tests.bench.table import markdown, overview

if TYPE_CHECKING:
    from pathlib import Path

README = results.FOLDER.with_name("README.md")
SVG = "{http://www.w3.org/2000/svg}"


def runs(seconds: float, required: int = 100) -> list[Run]:
    """One run of 100 instances."""
    table = {"dynamodb:Query": 1, "dynamodb:BatchWriteItem": 8}
    requests = {MODIFY: 100, DESCRIBE: 2, "ssm:GetParameters": 1, "cloudwatch:GetMetricData": 3, **table}
    return [
        Run(
            seconds=seconds,
            requests=requests,
            throttled=3,
            required=required,
            instances=100,
            cpu_s=1.25,
            peak_mb=80,
            facts={"first_looks": 5, "exit_code": 0},
        )
    ]


@pytest.fixture
def scenarios() -> dict[str, Any]:
    """A scenario that is met, and an interrupted one."""
    ours = {COLD: runs(2), COLD_WITHOUT: runs(2), WARM: runs(1), WARM_WITHOUT: runs(1)}
    burst = results.judged("burst", "one <launch>", 4, {**ours, C7N: runs(9, required=90)})
    failed = results.judged("storm", "500", 80, {})
    return {"burst": burst, "storm": failed}


def test_a_scenario_is_met_if_all_its_marks_are(scenarios: dict[str, Any]) -> None:
    """It has its bound too."""
    assert scenarios["burst"]["met"] is True
    assert scenarios["burst"]["bound_s"] == 4
    assert all(mark["met"] for mark in scenarios["burst"]["marks"])


def test_a_scenario_with_one_missed_mark_is_not_met() -> None:
    """A tenth of a second too much is enough."""
    assert results.judged("burst", "", 0, {COLD: runs(3.1), WARM: runs(1), C7N: runs(90)})["met"] is False


def test_a_partial_run_is_judged_by_what_it_measured() -> None:
    """A mark that needs a system left out counts only in a full run; every other mark counts."""
    systems = {WARM: runs(1)}
    assert results.judged("burst", "", 0, systems)["met"] is False
    partial = results.judged("burst", "", 0, systems, partial=True)
    assert [mark["mark"] for mark in partial["marks"]] == [
        "seconds, warm",
        f"instances left: {WARM}",
        f"peak MB: {WARM}",
    ]
    assert partial["met"] is True
    assert results.judged("burst", "", 0, {WARM: runs(1.6)}, partial=True)["met"] is False


def test_earlier_results_are_kept_in_the_usual_order(scenarios: dict[str, Any]) -> None:
    """After `make bench SCENARIOS=burst`, for example."""
    merged = results.merged({"storm": scenarios["storm"], "burst": {}}, "burst", scenarios["burst"])
    assert list(merged) == ["burst", "storm"]
    assert merged["burst"] == scenarios["burst"]


def test_results_are_read_as_written(scenarios: dict[str, Any], tmp_path: Path) -> None:
    """There are three files, and the JSON is valid for any reader."""
    folder = tmp_path / "new" / "folder"
    assert results.read(folder) == {}
    results.write(scenarios, folder)
    assert results.read(folder) == scenarios
    assert {file.name for file in folder.iterdir()} == {"bench.json", "table.md", "chart.svg"}
    assert "Infinity" not in json.dumps(scenarios)


def test_the_table_has_a_row_a_system(scenarios: dict[str, Any]) -> None:
    """The table names the scenario once."""
    lines = markdown(scenarios).splitlines()
    figures = "1.25 | 80 | 100 / 100"
    assert lines[2] == (
        f"| **burst**: one <launch>; bound 4 s | {COLD} | 2.00 | 0.50 | "
        f"2 describe, 100 modify, 9 table, 3 metrics, 1 other (first looks 5) | 3 | {figures} | met |"
    )
    assert lines[6].startswith("|  | c7n | 9.00 | 2.25 |")
    assert "90 / 100" in lines[6]


def test_a_figure_without_a_limit_has_no_verdict() -> None:
    """It is not judged."""
    quiet = results.judged("quiet", "", 0, {each: runs(1) for each in (COLD, COLD_WITHOUT, WARM, WARM_WITHOUT, C7N)})
    lines = markdown({"quiet": quiet}).splitlines()
    assert "| quiet | CPU ÷ without safeguards, warm | 1 |  |  |" in lines
    assert "| quiet | seconds more than without safeguards, warm | 0 | ≤ 0.1 | met |" in lines


def test_an_interrupted_scenario_is_shown_as_not_measured(scenarios: dict[str, Any]) -> None:
    """In a row of its own."""
    row = "| **storm**: 500; bound 80 s | not measured |"
    assert any(line.startswith(row) and line.endswith("| **not met** |") for line in markdown(scenarios).splitlines())


def test_every_row_has_as_many_cells_as_the_head(scenarios: dict[str, Any]) -> None:
    """The row of a scenario without figures too."""
    table = markdown(scenarios).split("\n\n", maxsplit=1)[0].splitlines()
    assert {line.count("|") for line in table} == {11}


def test_the_overview_has_a_row_a_scenario_and_a_column_a_system() -> None:
    """With what the seconds do not show, and without scenarios of other systems."""
    fact = {"facts": {"launch_s": 2.14}}
    system = {"seconds": 65.65, "throttled": 0, "facts": {}}
    systems = {COLD: system, WARM: {**system, **fact, "throttled": 7}, BARE: {**system, "seconds": 60.2}}
    both = {
        "sustained": {"title": "400", "bound_s": 60.0, "systems": systems},
        "memory": {"title": "50,000", "bound_s": 0, "systems": {"audit, 5,000": system}},
    }
    assert overview(both).splitlines()[2:] == [
        "| sustained: 400 | 60 s | 65.7 s | 65.7 s, the launch 2.14 s, 7 throttled | 60.2 s |  |  |  |"
    ]


def test_the_readme_has_the_overview_as_it_was_measured() -> None:
    """Copied from the benchmark's output."""
    assert overview(results.read()) in README.read_text(encoding="utf-8")


def test_the_chart_is_well_formed_and_has_a_bar_a_system(scenarios: dict[str, Any]) -> None:
    """A bar is longer for more seconds, and a line across the bars marks the bound."""
    chart = ET.fromstring(svg(scenarios))  # noqa: S314  # our own
    bars = chart.findall(f"{SVG}rect")
    assert [bar.get("class") for bar in bars] == ["ours"] * 4 + ["peer"]
    widths = [float(bar.get("width", 0)) for bar in bars]
    assert widths[2] < widths[0] < widths[4]
    assert len(chart.findall(f"{SVG}line[@class='bound']")) == 2  # of the scenario, and the legend's


def test_the_chart_distinguishes_boto3_alone_from_the_peers() -> None:
    """By its color, on light and dark pages."""
    burst = results.judged("burst", "", 0, {COLD: runs(2), BARE: runs(1), C7N: runs(9)})
    chart = svg({"burst": burst})
    kinds = [bar.get("class") for bar in ET.fromstring(chart).findall(f"{SVG}rect")]  # noqa: S314  # our own
    assert kinds == ["ours", "bare", "peer"]
    assert chart.count(".bare {") == 2


def test_the_chart_shows_instances_that_a_system_left(scenarios: dict[str, Any]) -> None:
    """A fast system may have left some."""
    assert "9.0 s, 10 left" in svg(scenarios)


def test_the_chart_is_readable_in_the_dark(scenarios: dict[str, Any]) -> None:
    """It has colors for light and dark pages."""
    assert "prefers-color-scheme: dark" in svg(scenarios)


def test_an_empty_chart_is_well_formed() -> None:
    """There are no results before the first run."""
    assert ET.fromstring(svg({})).tag == f"{SVG}svg"  # noqa: S314  # our own
