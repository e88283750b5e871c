"""`make bench`: `python -m tests.bench [SCENARIO …]`, by default all scenarios.

Environment variables choose more: see `tests.bench.choice`. The exit code is 1 if a mark is not met; the results are
written in any case.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from tests.bench import results, table
from tests.bench.choice import Choice, ChoiceError, chosen
from tests.bench.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.measurement import Run

console = Console()


def main() -> int:
    """Measure, judge and write each scenario in turn."""
    wishes = argparse.ArgumentParser(prog="python -m tests.bench")
    # argparse of Python 3.11 requires the empty list, too, to be one of the choices.
    wishes.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    names = wishes.parse_args().scenarios or list(SCENARIOS)
    try:
        choice = chosen(os.environ)
    except ChoiceError as error:
        wishes.error(str(error))
    measured = {}
    for name in names:
        started, scenario = time.monotonic(), SCENARIOS[name]
        console.print(f"[bold]{name}[/]: {scenario.title}")
        # Written as not met until it is measured, so that an interrupted run does not leave the earlier result.
        if not choice.systems:
            _keep(choice, name, {})
        runs = scenario.measure(lambda line: console.print(f"  {escape(line)}"), choice.systems, choice.repetitions)
        if not runs:
            console.print("  has none of these systems")
            continue
        judged = measured[name] = _keep(choice, name, runs)
        console.print(f"  took {time.monotonic() - started:.0f} s")
        for mark in judged["marks"]:
            if not mark["met"]:
                console.print(f"  [red]not met[/]: {escape(str(mark))}")
    console.print(table.figures(measured), markup=False, highlight=False, soft_wrap=True)
    console.print("For the README:")
    console.print(table.overview(results.read(choice.folder)), markup=False, highlight=False, soft_wrap=True)
    console.print(f"Written to {choice.folder}")
    return int(not all(judged["met"] for judged in measured.values()))


def _keep(choice: Choice, name: str, runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Judge a scenario by its runs, and write it with the others."""
    scenario, partial = SCENARIOS[name], bool(choice.systems)
    judged = results.judged(name, scenario.title, scenario.bound_s, runs, partial=partial)
    results.write(results.merged(results.read(choice.folder), name, judged), choice.folder)
    return judged


if __name__ == "__main__":
    sys.exit(main())
