"""How to undo changes: which changes, and exactly which options to restore."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imds_enforcer.model import Change, Switch, Trigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imds_enforcer.ledger.entry import Entry
    from imds_enforcer.model import MetadataOptions

_OPTIONS = {
    "HttpTokens": "http_tokens",
    "HttpPutResponseHopLimit": "http_put_response_hop_limit",
    "HttpProtocolIpv6": "http_protocol_ipv6",
    "InstanceMetadataTags": "instance_metadata_tags",
}


class NothingToUndoError(Exception):
    """The ledger has no change left to undo."""


class OpenChangeError(Exception):
    """The outcome of a change is not known yet, and so it is not known what would undo it."""


@dataclass(frozen=True, slots=True)
class Undo:
    """How to revert an instance: the options to restore, and the change that does it.

    `theirs` are the options that stay, because someone else has set them since.
    """

    wanted: MetadataOptions
    change: Change | None
    theirs: tuple[str, ...] = ()


def to_undo(entries: Sequence[Entry], run_id: str | None = None) -> list[Entry]:
    """The changes of one instance to undo together, from its entries, oldest first.

    With a run, these are its first change and all that followed; without one, the last change. No change is undone
    twice. The changes may include reverts that undid a part of the others.

    Raises:
        NothingToUndoError: if no change is left to undo; one that EC2 refused or that was never sent does not count.
        OpenChangeError: if the outcome of a change is not known yet.
    """
    if any(entry.outcome is None for entry in entries):
        raise OpenChangeError("a change is under way or was interrupted: the next sweep records its outcome")
    made: list[Entry] = []
    for entry in entries:
        if entry.result is not None:
            made = _without_undone(made, entry) if entry.trigger == Trigger.REVERT else [*made, entry]
    ours = [number for number, entry in enumerate(made) if entry.trigger != Trigger.REVERT]
    if run_id is not None:
        ours = [number for number in ours if made[number].run_id == run_id][:1]
    if not ours:
        what = f"change by the run {run_id}" if run_id else "change"
        raise NothingToUndoError(f"the ledger has no {what} left to undo")
    return made[ours[-1] :]


def _without_undone(made: list[Entry], revert: Entry) -> list[Entry]:
    """What is left to undo after a revert: the changes before the one that it undid completely.

    If the revert left an option as someone else had set it, it undid no change completely: it then counts as one more
    change.
    """
    assert revert.result is not None, "a revert that changed nothing"
    for number, entry in enumerate(made):
        if entry.trigger != Trigger.REVERT and revert.result.agree_with(entry.before):
            return made[:number]
    return [*made, revert]


def undo(entries: Sequence[Entry], current: MetadataOptions, *, overwrite: bool = False) -> Undo:
    """How to get from the current options back to those before the first of these changes.

    An option that someone else has set since stays, unless `overwrite` is True. A metadata service that is off stays
    off, and all its options stay: any change would switch it on.
    """
    if current.http_endpoint is Switch.DISABLED:
        return Undo(current, None, ("HttpEndpoint is disabled",))
    original, wanted = entries[0].before, current
    theirs: list[str] = []
    for name, field in _OPTIONS.items():
        now, before = getattr(current, field), getattr(original, field)
        if now == before:
            continue
        if overwrite or now == _set_by_us(entries, field):
            wanted = replace(wanted, **{field: before})
        else:
            theirs.append(f"{name} is {now}, not {before}")
    return Undo(wanted, _change(current, wanted), tuple(theirs))


def _set_by_us(entries: Sequence[Entry], field: str) -> object:
    """The value that the changes gave an option; None if someone else changed it in between."""
    ours: object = None
    for entry in entries:
        assert entry.result is not None, "a change that changed nothing"
        before, after = getattr(entry.before, field), getattr(entry.result, field)
        if after != before:
            ours = after
        elif before != ours:
            ours = None
    return ours


def _change(current: MetadataOptions, wanted: MetadataOptions) -> Change | None:
    if wanted == current:
        return None
    hop_limit, ipv6, tags = wanted.http_put_response_hop_limit, wanted.http_protocol_ipv6, wanted.instance_metadata_tags
    return Change(
        http_tokens=wanted.http_tokens,
        http_put_response_hop_limit=None if hop_limit == current.http_put_response_hop_limit else hop_limit,
        http_protocol_ipv6=None if ipv6 is current.http_protocol_ipv6 else ipv6,
        instance_metadata_tags=None if tags is current.instance_metadata_tags else tags,
    )
