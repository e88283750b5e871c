"""bench.json, the table and the chart, written together; scenarios that were not measured again are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.chart import svg
from tests.bench.marks import SPECIFIC, marks_of
from tests.bench.measurement import summary
from tests.bench.table import markdown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.measurement import Run

FOLDER = Path(__file__).with_name("results")


def judged(
    name: str, title: str, bound_s: float, runs: Mapping[str, Sequence[Run]], *, partial: bool = False
) -> dict[str, Any]:
    """A scenario in its form in bench.json: met if all its marks are met.

    In a `partial` run, of only some systems, marks without a figure do not count.
    """
    systems = {system: summary(each, bound_s) for system, each in runs.items()}
    marks = [mark for mark in marks_of(name, systems, bound_s) if not partial or mark.figure is not None]
    return {
        "title": title,
        "systems": systems,
        "bound_s": bound_s,
        "marks": [mark.as_json() for mark in marks],
        "met": all(mark.met for mark in marks),
    }


def merged(known: Mapping[str, Any], name: str, scenario: Mapping[str, Any]) -> dict[str, Any]:
    """All scenarios with this one, which is new or replaces its older result, in their usual order."""
    both = {**known, name: scenario}
    return {each: both[each] for each in SPECIFIC if each in both}


def read(folder: Path = FOLDER) -> dict[str, Any]:
    """The scenarios of earlier runs."""
    file = folder / "bench.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))["scenarios"]) if file.exists() else {}


def write(scenarios: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """Write all three files."""
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps({"scenarios": scenarios}, indent=2, ensure_ascii=False)
    (folder / "bench.json").write_text(document + "\n", encoding="utf-8")
    (folder / "table.md").write_text(markdown(scenarios), encoding="utf-8")
    (folder / "chart.svg").write_text(svg(scenarios), encoding="utf-8")
