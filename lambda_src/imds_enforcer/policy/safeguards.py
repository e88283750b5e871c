"""The policy's safeguards: which instances wait, and which are watched after their change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum


class CountedBy(StrEnum):
    """Whose IMDSv1 calls gate an instance: its own, or those of its whole Auto Scaling group."""

    INSTANCE = "instance"
    GROUP = "group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Existing instances that still call IMDSv1 keep it, until `enforce_after` has passed.

    Calls count for `lookback_days`, and up to `tolerate` of them do not matter. Counted `by` group, the calls of an
    Auto Scaling group gate all its instances, new ones too.
    """

    lookback_days: int = 14
    tolerate: int = 0
    enforce_after: date | None = None
    by: CountedBy = CountedBy.INSTANCE

    def in_force(self, now: datetime) -> bool:
        """True through the day `enforce_after`, in UTC."""
        return self.enforce_after is None or now.astimezone(UTC).date() <= self.enforce_after

    def __str__(self) -> str:
        until = f", until {self.enforce_after}" if self.enforce_after else ""
        by_group = ", counted by Auto Scaling group" if self.by is CountedBy.GROUP else ""
        return f"more than {self.tolerate} IMDSv1 calls in {self.lookback_days} days{by_group}{until}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How long a changed instance is watched, and how many rejected calls are reported."""

    hours: int = 24
    rejected_calls: int = 1

    @property
    def time(self) -> timedelta:
        """How long after its change an instance is watched."""
        return timedelta(hours=self.hours)

    def __str__(self) -> str:
        return f"for {self.hours} hours; {self.rejected_calls} or more rejected IMDSv1 calls are reported"


DEFAULT_WATCH = Watch()
