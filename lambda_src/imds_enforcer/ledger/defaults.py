"""What was changed in the regions' account defaults, and how it is undone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from imds_enforcer.model import Outcome
from imds_enforcer.model.region_defaults import DEFAULTS, RegionDefaults

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from imds_enforcer.policy import PolicyVersions

_UNKNOWN = object()


def subject(region: str) -> str:
    """What a region's defaults are called where holds and contests name an instance."""
    return f"defaults#{region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultsEntry:
    """One change of a region's defaults: as `Entry` is of an instance."""

    region: str
    at: datetime
    run_id: str
    trigger: str
    versions: PolicyVersions
    before: RegionDefaults
    wanted: RegionDefaults
    ends_at: datetime
    by: str | None = None
    outcome: Outcome | None = None
    reason: str = ""
    after: RegionDefaults | None = None
    code: str | None = None

    @property
    def result(self) -> RegionDefaults | None:
        """The defaults that the change brought about; None if it changed nothing, or if that is not known yet.

        Of one that was not confirmed only what the region shows as it was wanted; `after` is there only if the change
        was sent.
        """
        if self.outcome in {Outcome.REMEDIATED, Outcome.PENDING}:
            return self.after or self.wanted
        if self.after is None:
            return None
        made = {each: getattr(self.wanted, each) for each in DEFAULTS.values()}
        shown = {name: value for name, value in made.items() if getattr(self.after, name) == value}
        result = replace(self.before, **shown)
        return None if result == self.before else result

    def as_json(self) -> dict[str, Any]:
        """The entry as the history shows it."""
        return {
            "kind": "defaults",
            "instance_id": None,
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


def completed(entry: DefaultsEntry, seen: RegionDefaults) -> DefaultsEntry:
    """An entry that a process left behind, with what the region shows."""
    made = all(getattr(seen, each) == getattr(entry.wanted, each) for each in _changed(entry))
    outcome = Outcome.REMEDIATED if made else Outcome.DEFERRED
    said = f"the process that was to change them ended before it said how it went; {entry.reason}"
    return replace(entry, outcome=outcome, after=seen if made else None, reason=said)


def original(entries: Iterable[DefaultsEntry], seen: RegionDefaults) -> dict[str, Any]:
    """For each attribute that the enforcer set, and that is still so: what it was before.

    `entries` are a region's, oldest first. A value that has changed between two of them was set by someone else.
    """
    made = [(entry.before, entry.result) for entry in entries if entry.result is not None]
    found: dict[str, Any] = {}
    for attribute in DEFAULTS.values():
        ours, before = _set_by_enforcer([(getattr(old, attribute), getattr(new, attribute)) for old, new in made])
        if getattr(seen, attribute) == ours:
            found[attribute] = before
    return found


def changed_since(entries: Iterable[DefaultsEntry], seen: RegionDefaults, back: Mapping[str, Any]) -> tuple[str, ...]:
    """What the enforcer set and someone else has changed since, in words; `back` is what is still the enforcer's."""
    last: dict[str, Any] = {}
    for entry in entries:
        if entry.result is not None:
            last |= {each: getattr(entry.before, each) for each in _changed(entry)}
    names = {attribute: name for name, attribute in DEFAULTS.items()}
    shown, log = {each: getattr(seen, each) for each in last}, seen.as_log()
    theirs = [each for each, before in last.items() if each not in back and shown[each] != before]
    return tuple(f"{names[each]} is {log[names[each]]}" for each in theirs)


def _set_by_enforcer(changes: Iterable[tuple[Any, Any]]) -> tuple[Any, Any]:
    """The value that the enforcer gave an attribute last, and the one before; unknown if it is someone else's.

    The changes are the attribute's values before and after each of them.
    """
    ours: Any = _UNKNOWN
    original: Any = None
    for before, after in changes:
        if before != ours:
            ours, original = _UNKNOWN, before
        if after != before:
            # Set back to what it was, it is the enforcer's no more.
            ours = _UNKNOWN if after == original else after
    return ours, original


def _changed(entry: DefaultsEntry) -> list[str]:
    return [each for each in DEFAULTS.values() if getattr(entry.before, each) != getattr(entry.wanted, each)]
