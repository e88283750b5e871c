"""Intents that a process left behind: what became of them is read off the instance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from imds_enforcer.ledger.defaults import DefaultsEntry
from imds_enforcer.ledger.entry import Entry
from imds_enforcer.model import OptionsState, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from imds_enforcer.model import Instance

AnyEntry = Entry | DefaultsEntry
_Kind = TypeVar("_Kind", bound=AnyEntry)

_LEFT_BEHIND = "the process that was to change it ended before it said how it went"


def left_behind(entries: Iterable[_Kind], now: datetime) -> list[_Kind]:
    """The open intents whose process is gone."""
    return [entry for entry in entries if entry.outcome is None and now >= entry.ends_at]


def completed(entry: Entry, seen: Mapping[str, Instance], since: Iterable[Entry] = ()) -> Entry:
    """The entry with what the instance shows; `seen` has every instance that EC2 still knows.

    Where a later run has come to the instance, among the entries `since` then, what counts is how that run
    found it: what it shows now is that one's doing.
    """
    later = min((each for each in since if each.at > entry.at), key=lambda each: each.at, default=None)
    if later:
        changed = later.before.agree_with(entry.wanted)
        why = f"the run {later.run_id} found it {'' if changed else 'not '}changed"
        outcome = Outcome.REMEDIATED if changed else Outcome.DEFERRED
        after = later.before if changed else None
        return replace(entry, outcome=outcome, after=after, reason=f"{_LEFT_BEHIND}; {why}; {entry.reason}")
    instance = seen.get(entry.instance_id)
    if instance is None or instance.state.ended:
        return replace(entry, outcome=Outcome.GONE, reason=f"{_LEFT_BEHIND}, and the instance is gone; {entry.reason}")
    options = instance.options
    if options and options.agree_with(entry.wanted):
        outcome = Outcome.REMEDIATED if options.state is OptionsState.APPLIED else Outcome.PENDING
        reason = f"{_LEFT_BEHIND}; the instance shows that it was changed; {entry.reason}"
        return replace(entry, outcome=outcome, after=options, reason=reason)
    if options is None:
        why = "EC2 describes the instance's options in a way that is not known here"
    elif options.agree_with(entry.before):
        why = "the instance shows that it was not changed"
    else:
        why = "the instance shows options that somebody else has set since"
    return replace(entry, outcome=Outcome.DEFERRED, reason=f"{_LEFT_BEHIND}; {why}; {entry.reason}")
