"""The way back: which changes are undone, and to what options exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imds_enforcer.decision import Change
from imds_enforcer.events import Trigger
from imds_enforcer.model import Switch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imds_enforcer.ledger import Entry
    from imds_enforcer.model import MetadataOptions

_OPTIONS = {
    "HttpTokens": "http_tokens",
    "HttpPutResponseHopLimit": "http_put_response_hop_limit",
    "HttpProtocolIpv6": "http_protocol_ipv6",
    "InstanceMetadataTags": "instance_metadata_tags",
}


class NothingToUndoError(Exception):
    """The ledger has no change to undo. The message says what it has instead."""


@dataclass(frozen=True, slots=True)
class Undo:
    """What sets an instance back: the options to come to, and those which are `theirs`: set by somebody else since."""

    wanted: MetadataOptions
    change: Change | None
    theirs: tuple[str, ...] = ()


def to_undo(entries: Sequence[Entry], run_id: str | None = None) -> list[Entry]:
    """The changes of one instance that are undone together, from its entries, oldest first.

    Of a run: its first change and all that followed. Without a run: the last one. What was
    undone before is not undone again; a revert that failed has undone nothing.

    Raises:
        NothingToUndoError: if there is none, or if it is not known how one went.
    """
    if any(entry.outcome is None for entry in entries):
        raise NothingToUndoError("a change is under way or was interrupted: the next sweep settles it")
    made = [entry for entry in entries if entry.result is not None]
    standing: list[int] = []
    for number, entry in enumerate(made):
        if entry.trigger == Trigger.REVERT:
            standing = _left_by(made[: number + 1], standing)
        else:
            standing.append(number)
    if run_id is None:
        first = standing[-1] if standing else None
    else:
        first = next((number for number in standing if made[number].run_id == run_id), None)
    if first is None:
        what = f"change by the run {run_id}" if run_id else "change"
        raise NothingToUndoError(f"the ledger has no {what} that is not undone")
    return made[first:]


def _left_by(made: Sequence[Entry], standing: Sequence[int]) -> list[int]:
    """The numbers of the changes that the last of these, a revert, did not undo.

    It has undone all from the first on after which it left nothing to set back.
    """
    now = made[-1].result
    assert now is not None, "a revert that changed nothing"
    undone = next((number for number in standing if undo(made[number:], now).change is None), len(made))
    return [number for number in standing if number < undone]


def undo(entries: Sequence[Entry], current: MetadataOptions, *, overwrite: bool = False) -> Undo:
    """The way from the current options back to those before the first of these changes.

    An option that somebody else has set since stays, unless it is to be overwritten. A metadata
    service that is off stays off, and with it all options: any change would switch it on.
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
    """The value that the changes gave an option and that nobody else has changed in between; None if there is none."""
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
