"""Intents that a process left behind: the instance shows what became of them."""

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

_LEFT_BEHIND = "the process that was to make the change ended before it recorded the outcome"


def left_behind(entries: Iterable[_Kind], now: datetime) -> list[_Kind]:
    """The open intents whose process is gone."""
    return [entry for entry in entries if entry.outcome is None and now >= entry.ends_at]


def completed(entry: Entry, seen: Mapping[str, Instance], since: Iterable[Entry] = ()) -> Entry:
    """The entry, completed by what the instance shows; `seen` has every instance that EC2 still lists.

    If `since` has a change by a later run, the options that the later run found count instead: what the instance shows
    now is that run's doing.
    """
    later = min((each for each in since if each.at > entry.at), key=lambda each: each.at, default=None)
    if later:
        changed = later.before.agree_with(entry.wanted)
        why = f"the later run {later.run_id} found that the change had {'' if changed else 'not '}been made"
        outcome = Outcome.REMEDIATED if changed else Outcome.DEFERRED
        after = later.before if changed else None
        return replace(entry, outcome=outcome, after=after, reason=f"{_LEFT_BEHIND}; {why}; {entry.reason}")
    instance = seen.get(entry.instance_id)
    if instance is None or instance.state.ended:
        return replace(entry, outcome=Outcome.GONE, reason=f"{_LEFT_BEHIND}, and the instance is gone; {entry.reason}")
    options = instance.options
    if options and options.agree_with(entry.wanted):
        outcome = Outcome.REMEDIATED if options.state is OptionsState.APPLIED else Outcome.PENDING
        reason = f"{_LEFT_BEHIND}; the instance has the changed options; {entry.reason}"
        return replace(entry, outcome=outcome, after=options, reason=reason)
    if options is None:
        why = "EC2 returned unrecognized metadata options"
    elif options.agree_with(entry.before):
        why = "the instance does not have the changed options"
    else:
        why = "the instance has options that someone else has set since"
    return replace(entry, outcome=Outcome.DEFERRED, reason=f"{_LEFT_BEHIND}; {why}; {entry.reason}")
