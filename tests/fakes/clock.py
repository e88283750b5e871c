"""Time that passes only when code waits or a fake works."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class FakeClock:
    """A clock that `sleep` advances, and that runs each planned action at its moment.

    Moments are seconds since the clock was made. The lock is needed because the enforcer sends changes from threads.
    """

    def __init__(self) -> None:
        self._origin = 5_000.0
        self._elapsed = 0.0
        self._frozen = 0.0
        self._planned: list[tuple[float, Callable[[], None]]] = []
        self._lock = threading.RLock()
        self.pauses: list[float] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment other than this clock's start, as on a real machine."""
        return self._origin + self._elapsed

    def now(self) -> datetime:
        """The present moment."""
        return START + timedelta(seconds=self._elapsed + self._frozen)

    def sleep(self, seconds: float) -> None:
        """Let time pass, and record the wait."""
        self.pauses.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            end = self._elapsed + seconds
            while due := [plan for plan in self._planned if plan[0] <= end]:
                moment, action = plan = min(due, key=lambda plan: plan[0])
                self._planned.remove(plan)
                self._elapsed = max(self._elapsed, moment)
                action()
            # A planned action may itself have taken time.
            self._elapsed = max(self._elapsed, end)

    def freeze(self, seconds: float) -> None:
        """Advance only the wall clock, as between two invocations; a negative number sets it back."""
        self._frozen += seconds

    def cancel(self) -> None:
        """Drop everything that is still planned."""
        self._planned.clear()

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Run an action at a moment."""
        self._planned.append((moment, action))
