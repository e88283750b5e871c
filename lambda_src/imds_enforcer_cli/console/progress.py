"""How far a sweep is, and how fast, on a terminal."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from imds_enforcer.model import Result

_ALL = "all regions"


class _Pace(ProgressColumn):
    """Changes a second, lately."""

    def render(self, task: Task) -> Text:
        """Empty before there is a pace."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="cyan")


class SweepProgress:
    """A line for each region, and one for all: instances done of those planned, and how many a second.

    On standard error, while that is a terminal; nothing otherwise.

    Args:
        planned: instances to change, by region.
        limit: how many of them may be changed in all; None if any number.
    """

    def __init__(self, planned: Mapping[str, int], limit: int | None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Pace())
        self._shown = sys.stderr.isatty()
        self._progress = Progress(*columns, console=Console(file=sys.stderr))
        total = sum(planned.values())
        self._all = self._progress.add_task(_ALL, total=total if limit is None else min(limit, total))
        self._regions: dict[str, TaskID] = {
            region: self._progress.add_task(region, total=number) for region, number in sorted(planned.items())
        }

    def __enter__(self) -> Self:
        """Begin to show it."""
        if self._shown:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave its last state on the terminal, if that is still there: the report must follow without it, too."""
        if self._shown:
            with suppress(OSError):
                self._progress.stop()

    def count(self, result: Result) -> None:
        """Count one instance; from any thread."""
        self._progress.advance(self._all)
        if result.region in self._regions:
            self._progress.advance(self._regions[result.region])
