"""`make bench`: `python -m tests.bench [SCENARIO …]`, all of them if none is named.

It ends with 1 if a mark is not met, after all is written.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from tests.bench import results
from tests.bench.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.measurement import Run

console = Console()


def main() -> int:
    """Measure, judge and write, scenario by scenario."""
    wishes = argparse.ArgumentParser(prog="python -m tests.bench")
    # argparse of Python 3.11 looks for the empty list, too, among the choices.
    wishes.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="all of them if none is named")
    names = wishes.parse_args().scenarios or list(SCENARIOS)
    met = True
    for name in names:
        started, scenario = time.monotonic(), SCENARIOS[name]
        console.print(f"[bold]{name}[/]: {scenario.title}")
        # Not met until it is measured: so it stands there, and not as it was before, if the run breaks off.
        _keep(name, {})
        judged = _keep(name, scenario.measure(lambda line: console.print(f"  {escape(line)}")))
        console.print(f"  took {time.monotonic() - started:.0f} s")
        for mark in judged["marks"]:
            if not mark["met"]:
                console.print(f"  [red]not met[/]: {escape(str(mark))}")
        met = met and judged["met"]
    console.print(f"Written to {results.FOLDER}")
    return int(not met)


def _keep(name: str, runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Judge a scenario by its runs, and write it beside the others."""
    judged = results.judged(name, SCENARIOS[name].title, SCENARIOS[name].bound_s, runs)
    results.write(results.merged(results.read(), name, judged))
    return judged


if __name__ == "__main__":
    sys.exit(main())
