"""A sweep's progress and speed, on a terminal."""

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
    """Recent changes per second."""

    def render(self, task: Task) -> Text:
        """Empty until there is a speed."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="cyan")


class SweepProgress:
    """A line for each region and one for all regions: instances done, instances planned, instances per second.

    It is shown on standard error, and only if that is a terminal.

    Args:
        planned: the number of instances to change, by region.
        limit: how many instances may be changed in all regions together; None for no limit.
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
        """Start showing it."""
        if self._shown:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave its last state on the terminal. A terminal that has closed must not prevent the report."""
        if self._shown:
            with suppress(OSError):
                self._progress.stop()

    def count(self, result: Result) -> None:
        """Count one instance; safe to call from any thread."""
        self._progress.advance(self._all)
        if result.region in self._regions:
            self._progress.advance(self._regions[result.region])
