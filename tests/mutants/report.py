"""The outcomes of the mutants."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.mutants.population import Mutant


class Outcome(StrEnum):
    """The verdict of the tests on a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    UNTESTED = "untested"
    TIMED_OUT = "timed out"
    BROKEN = "broken"


_OUTCOMES = {0: Outcome.SURVIVED, 1: Outcome.KILLED, 33: Outcome.UNTESTED, -24: Outcome.TIMED_OUT}
"""By the exit code that mutmut notes: 0 and 1 are pytest's, 33 is its own where no test calls the function, and
-24 is SIGXCPU, with which it ends what takes too long."""


@dataclass(frozen=True, slots=True)
class Result:
    """A mutant and its outcome."""

    mutant: Mutant
    outcome: Outcome


def outcome_of(exit_code: int | None) -> Outcome:
    """The outcome of an exit code; only failed tests kill a mutant."""
    return Outcome.BROKEN if exit_code is None else _OUTCOMES.get(exit_code, Outcome.BROKEN)


def totals(results: Iterable[Result]) -> dict[str, dict[str, float]]:
    """The number of mutants by outcome, for each folder and in total, with the percentage killed."""
    counts: dict[str, Counter[Outcome]] = {}
    for result in results:
        for group in (result.mutant.folder, "all"):
            counts.setdefault(group, Counter())[result.outcome] += 1
    return {
        group: {
            "mutants": counted.total(),
            **{outcome.value: counted[outcome] for outcome in Outcome},
            "killed %": round(100 * counted[Outcome.KILLED] / counted.total(), 1),
        }
        for group, counted in sorted(counts.items())
    }


def table(rows: dict[str, dict[str, float]]) -> str:
    """The totals as text."""
    columns = ["mutants", *(outcome.value for outcome in Outcome), "killed %"]
    lines = [" ".join(["folder".ljust(10), *columns])]
    for group in sorted(rows, key=lambda name: (name == "all", name)):
        cells = [f"{rows[group][column]:g}".rjust(len(column)) for column in columns]
        lines.append(" ".join([group.ljust(10), *cells]))
    return "\n".join(lines)


def document(results: list[Result], gone: list[str], seconds: float, cpu_seconds: float) -> dict[str, Any]:
    """The whole report, with the diff of every mutant that was not killed."""
    return {
        "totals": totals(results),
        "gone": gone,
        "seconds": round(seconds),
        "cpu_seconds": round(cpu_seconds),
        "not_killed": [
            {"outcome": result.outcome, "mutant": result.mutant.identity, "diff": result.mutant.diff.splitlines()}
            for result in results
            if result.outcome is not Outcome.KILLED
        ],
    }
