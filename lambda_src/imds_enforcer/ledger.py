"""What was changed and what must be left alone: the entries, holds and contests that are kept between runs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from imds_enforcer.model import Change, MetadataOptions, Outcome, Trigger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imds_enforcer.policy import PolicyVersions

KEPT = timedelta(days=400)
"""How long an entry is kept: a year, and time to look back on it."""

CONTESTED_FIXES = 3
"""Drift fixes of one instance within `CONTEST_WINDOW` that make it contested."""

CONTEST_WINDOW = timedelta(hours=1)

CONTESTED_FOR = timedelta(days=1)
"""How long events leave a contested instance to the sweep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change of one instance: written as an intent before it is sent, and completed once its outcome is known.

    `by` is who ordered it, where that was a person. By `ends_at` the process that wrote the intent
    has completed it: one still open then has been left behind.
    """

    instance_id: str
    region: str
    at: datetime
    run_id: str
    trigger: str
    versions: PolicyVersions
    before: MetadataOptions
    wanted: MetadataOptions
    ends_at: datetime
    by: str | None = None
    outcome: Outcome | None = None
    reason: str = ""
    after: MetadataOptions | None = None
    code: str | None = None

    @property
    def result(self) -> MetadataOptions | None:
        """The options that the change brought about; None if it changed nothing, or if nobody knows yet.

        Of one that was not confirmed only what the instance shows as it was wanted; `after` is there only if the
        change was sent.
        """
        if self.outcome in {Outcome.REMEDIATED, Outcome.PENDING}:
            return self.after or self.wanted
        if self.outcome not in {Outcome.FAILED, Outcome.DEFERRED, Outcome.SKIPPED} or self.after is None:
            return None
        before, wanted, shown = self.before, self.wanted, self.after
        names = [option.name for option in fields(Change)]
        made = {name: getattr(wanted, name) for name in names if getattr(shown, name) == getattr(wanted, name)}
        result = replace(before, **made)
        return None if result.agree_with(before) else result

    def as_json(self) -> dict[str, Any]:
        """The entry as the history shows it."""
        return {
            "instance_id": self.instance_id,
            "region": self.region,
            "at": self.at.isoformat(timespec="seconds"),
            "run_id": self.run_id,
            "trigger": self.trigger,
            "by": self.by,
            "policy_versions": self.versions.as_log(),
            "outcome": None if self.outcome is None else str(self.outcome),
            "reason": self.reason,
            "code": self.code,
            "before": self.before.as_log(),
            "wanted": self.wanted.as_log(),
            "after": self.after.as_log() if self.after else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """An instance that nobody but a person may bring in line again; `until` None: until it is released."""

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
    """An instance whose options somebody keeps setting back; `principal` is who did it last."""

    instance_id: str
    principal: str
    until: datetime

    def in_force(self, now: datetime) -> bool:
        """True until its end."""
        return now < self.until

    def __str__(self) -> str:
        return f"set back again and again, last by {self.principal}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands between the enforcer and some instances, as it was `read_at` (monotonic seconds)."""

    holds: Mapping[str, Hold] = field(default_factory=dict)
    contests: Mapping[str, Contest] = field(default_factory=dict)
    read_at: float = float("-inf")


def is_contested(entries: Iterable[Entry], now: datetime) -> bool:
    """True if the instance with these entries was set right because of drift too often lately."""
    fixes = [
        entry
        for entry in entries
        if entry.trigger == Trigger.DRIFT and entry.result is not None and now - entry.at < CONTEST_WINDOW
    ]
    return len(fixes) >= CONTESTED_FIXES
