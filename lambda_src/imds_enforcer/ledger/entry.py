"""What was changed: the ledger's entries, kept from run to run."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from imds_enforcer.model import Change, MetadataOptions, Outcome
from imds_enforcer.model.region_defaults import RegionDefaults

if TYPE_CHECKING:
    from imds_enforcer.policy import PolicyVersions

_Options = TypeVar("_Options", MetadataOptions, RegionDefaults)

KEPT = timedelta(days=400)
"""How long an entry is kept: a year, and time to look back on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded(Generic[_Options]):
    """A change of options: written as an intent before it is sent, and completed once its outcome is known.

    `by` is the person who ordered the change, if a person did. The process that writes an intent completes it by
    `ends_at`. An intent that is still open after that was left behind.
    """

    region: str
    at: datetime
    run_id: str
    trigger: str
    versions: PolicyVersions
    before: _Options
    wanted: _Options
    ends_at: datetime
    by: str | None = None
    outcome: Outcome | None = None
    reason: str = ""
    after: _Options | None = None
    code: str | None = None

    def fields_as_json(self) -> dict[str, Any]:
        """What the history shows of every change."""
        return {
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
class Entry(Recorded[MetadataOptions]):
    """One change of one instance."""

    instance_id: str

    @property
    def result(self) -> MetadataOptions | None:
        """The options that the change brought about; None if it changed nothing, or if that is not known yet.

        If the change is unconfirmed, an option counts only if the instance shows it as wanted. `after` is set only if
        the change was sent.
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
        return {"instance_id": self.instance_id, **self.fields_as_json()}
