"""`make bench`: `python -m tests.bench [SCENARIO …]`, all of them if none is named.

It ends with 1 if a mark is not met, after all is written.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from rich.console import Console
from rich.markup import escape

from tests.bench import results
from tests.bench.scenarios import SCENARIOS

console = Console()


def main() -> int:
    """Measure, judge and write, scenario by scenario."""
    wishes = argparse.ArgumentParser(prog="python -m tests.bench")
    # argparse of Python 3.11 looks for the empty list, too, among the choices.
    wishes.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="all of them if none is named")
    names = wishes.parse_args().scenarios or list(SCENARIOS)
    scenarios = results.read()
    for name in names:
        started = time.monotonic()
        console.print(f"[bold]{name}[/]: {SCENARIOS[name].title}")
        scenarios = results.merged(scenarios, name, _measured(name))
        # After each, so that a run that is broken off leaves what it has.
        results.write(scenarios)
        console.print(f"  took {time.monotonic() - started:.0f} s")
        for mark in scenarios[name]["marks"]:
            if not mark["met"]:
                console.print(f"  [red]not met[/]: {escape(str(mark))}")
    console.print(f"Written to {results.FOLDER}")
    return int(not all(scenarios[name]["met"] for name in names))


def _measured(name: str) -> dict[str, Any]:
    """A scenario's results; one that breaks off is not met, and says why."""
    scenario = SCENARIOS[name]
    try:
        runs = scenario.measure(lambda line: console.print(f"  {escape(line)}"))
    except Exception as error:  # noqa: BLE001  # whatever went wrong, the other scenarios are measured
        console.print(f"  [red]failed[/]: {escape(str(error))}")
        failed = results.judged(name, scenario.title, scenario.bound_s, {})
        return {**failed, "met": False, "error": f"failed: {type(error).__name__}"}
    return results.judged(name, scenario.title, scenario.bound_s, runs)


if __name__ == "__main__":
    sys.exit(main())
