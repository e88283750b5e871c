"""The choice of systems and of the folder for results: environment variables SYSTEMS, REPETITIONS and RESULTS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.process import ROOT
from tests.bench.marks import SYSTEMS
from tests.bench.results import FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILD = ROOT / ".build" / "bench"
OF_THEIR_OWN = ("SYSTEMS", "REPETITIONS", "TABLE_MS")
"""If one of these is set, a run differs from the published one."""


class ChoiceError(ValueError):
    """A variable has an invalid value."""


@dataclass(frozen=True)
class Choice:
    """The choice of one run.

    Attributes:
        systems: the names of the systems to measure; all if empty.
        repetitions: how often to run each; None leaves it to the scenario.
        folder: the folder for the results.
    """

    systems: frozenset[str]
    repetitions: int | None
    folder: Path


def chosen(environment: Mapping[str, str]) -> Choice:
    """The choice in the environment; only a run of everything replaces the published results."""
    names = environment.get("SYSTEMS", "").split()
    for name in names:
        if name not in SYSTEMS:
            raise ChoiceError(f"SYSTEMS is {name}; allowed: {', '.join(SYSTEMS)}")
    times = environment.get("REPETITIONS", "")
    if times and not (times.isdecimal() and int(times)):
        raise ChoiceError(f"REPETITIONS is {times}; allowed: a whole number from 1")
    usual = BUILD if any(environment.get(name) for name in OF_THEIR_OWN) else FOLDER
    return Choice(
        systems=frozenset(SYSTEMS[name] for name in names),
        repetitions=int(times) if times else None,
        folder=Path(environment.get("RESULTS") or usual),
    )
