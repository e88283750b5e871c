"""What keeps the enforcer off an instance: an operator's hold, and a contest over its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from imds_enforcer.model import Trigger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imds_enforcer.ledger.defaults import DefaultsEntry
    from imds_enforcer.ledger.entry import Entry

CONTESTED_FIXES = 3
"""Drift fixes of one instance within `CONTEST_WINDOW` that make it contested."""

CONTEST_WINDOW = timedelta(hours=1)

CONTESTED_FOR = timedelta(days=1)
"""How long events do not change a contested instance, but leave it to the sweep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """An instance that the enforcer must not change.

    The hold lasts until the moment `until`; if that is None, until a person releases it.
    """

    instance_id: str
    reason: str
    by: str
    at: datetime
    until: datetime | None = None

    def in_force(self, now: datetime) -> bool:
        """True until its end."""
        return self.until is None or now < self.until

    def __str__(self) -> str:
        until = f"until {self.until.isoformat(timespec='minutes')}" if self.until else "until it is released"
        return f"held {until} by {self.by}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """An instance whose options someone else keeps changing back; `principal` is who did it last."""

    instance_id: str
    principal: str
    until: datetime

    def in_force(self, now: datetime) -> bool:
        """True until its end."""
        return now < self.until

    def __str__(self) -> str:
        return f"repeatedly changed back by someone else, last by {self.principal}"


@dataclass(frozen=True, slots=True)
class Standing:
    """The holds and contests of some instances, as they were `read_at` (monotonic seconds)."""

    holds: Mapping[str, Hold] = field(default_factory=dict)
    contests: Mapping[str, Contest] = field(default_factory=dict)
    read_at: float = float("-inf")


def is_contested(entries: Iterable[Entry | DefaultsEntry], now: datetime) -> bool:
    """True if these entries, of one instance or of one region's defaults, have too many recent fixes of drift."""
    fixes = [
        entry
        for entry in entries
        if entry.trigger == Trigger.DRIFT and entry.result is not None and now - entry.at < CONTEST_WINDOW
    ]
    return len(fixes) >= CONTESTED_FIXES
