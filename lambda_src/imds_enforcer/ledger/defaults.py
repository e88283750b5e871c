"""What was changed in the regions' account defaults, and how to undo it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from imds_enforcer.ledger.entry import Recorded
from imds_enforcer.model import Outcome
from imds_enforcer.model.region_defaults import DEFAULTS, RegionDefaults

if TYPE_CHECKING:
    from collections.abc import Iterable

_NOTHING = object()


def subject(region: str) -> str:
    """The name of a region's defaults in holds and contests, in place of an instance's id."""
    return f"defaults#{region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultsEntry(Recorded[RegionDefaults]):
    """One change of a region's defaults."""

    @property
    def result(self) -> RegionDefaults | None:
        """The defaults that the change brought about; None if it changed nothing, or if that is not known yet.

        Only the attributes that the change named count: someone else may have changed the others. If the change is
        unconfirmed, an attribute counts only if the region shows it as wanted. `after` is set only if the change was
        sent.
        """
        confirmed = self.outcome in {Outcome.REMEDIATED, Outcome.PENDING}
        shown = self.after or (self.wanted if confirmed else None)
        made = [each for each in _changed(self) if shown and getattr(shown, each) == getattr(self.wanted, each)]
        return replace(self.before, **{each: getattr(self.wanted, each) for each in made}) if made else None

    def as_json(self) -> dict[str, Any]:
        """The entry as the history shows it."""
        return {"kind": "defaults", "instance_id": None, **self.fields_as_json()}


def completed(entry: DefaultsEntry, seen: RegionDefaults) -> DefaultsEntry:
    """An entry that a process left behind, completed by what the region shows."""
    made = all(getattr(seen, each) == getattr(entry.wanted, each) for each in _changed(entry))
    outcome = Outcome.REMEDIATED if made else Outcome.DEFERRED
    reason = f"the process that was to make the change ended before it recorded the outcome; {entry.reason}"
    return replace(entry, outcome=outcome, after=seen if made else None, reason=reason)


def original(entries: Iterable[DefaultsEntry], seen: RegionDefaults, *, overwrite: bool = False) -> dict[str, Any]:
    """The value before the enforcer's change, for each attribute that still has the value that the enforcer set.

    `entries` are one region's, oldest first. `overwrite` adds the attributes that someone else has changed since.
    """
    return {
        attribute: before
        for attribute, (ours, before) in _set_by_enforcer(entries).items()
        if getattr(seen, attribute) == ours or (overwrite and getattr(seen, attribute) != before)
    }


def changed_since(entries: Iterable[DefaultsEntry], seen: RegionDefaults) -> tuple[str, ...]:
    """The attributes that someone else has changed since the enforcer set them, in words.

    An attribute is left out if it is back at the value that it had before the enforcer's change.
    """
    shown = seen.as_log()
    theirs = {
        attribute for attribute, pair in _set_by_enforcer(entries).items() if getattr(seen, attribute) not in pair
    }
    return tuple(f"{name} is {shown[name]}" for name, attribute in DEFAULTS.items() if attribute in theirs)


def _set_by_enforcer(entries: Iterable[DefaultsEntry]) -> dict[str, tuple[Any, Any]]:
    """For each attribute, the value that the enforcer set last and the value before the enforcer's changes.

    If a value changed between two entries, someone else set it. If the enforcer then left that value alone, `_NOTHING`
    stands in for the enforcer's value, because no region shows it. An attribute that is back at its earlier value is no
    longer the enforcer's.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for entry in entries:
        if entry.result is None:
            continue
        for attribute in DEFAULTS.values():
            before, after = getattr(entry.before, attribute), getattr(entry.result, attribute)
            ours, first = found.pop(attribute, (_NOTHING, before))
            if after == first:
                continue
            if before == ours:
                found[attribute] = (after, first)
            else:
                found[attribute] = (after, before) if after != before else (_NOTHING, first)
    return found


def _changed(entry: DefaultsEntry) -> list[str]:
    return [each for each in DEFAULTS.values() if getattr(entry.before, each) != getattr(entry.wanted, each)]
