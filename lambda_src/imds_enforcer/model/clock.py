"""Time, passed in where it is needed so that tests decide what time it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The three things the enforcer asks of time."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""

    def now(self) -> datetime:
        """The present moment in UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait for this many seconds."""


_AWAKE_OR_ASLEEP: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""The clock that keeps running while the machine is suspended: BOOTTIME on Linux, MONOTONIC on macOS."""


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        """Seconds since a fixed moment, including the time that the machine was suspended.

        An operator may close a laptop between an observation and the change that rests on it:
        by Python's own `time.monotonic` the observation would still look fresh.
        """
        return time.monotonic() if _AWAKE_OR_ASLEEP is None else time.clock_gettime(_AWAKE_OR_ASLEEP)

    def now(self) -> datetime:
        """The present moment in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Block this thread for this many seconds."""
        time.sleep(seconds)  # the only sleep: tests pass another clock


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock after which no new work is begun."""

    clock: Clock
    at: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> Deadline:
        """The deadline this many seconds from now."""
        return cls(clock, clock.monotonic() + seconds)

    @property
    def passed(self) -> bool:
        """True once the moment has come."""
        return self.clock.monotonic() >= self.at
