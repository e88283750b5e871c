"""How entries, holds, contests and notes are stored in the table.

An item may be malformed, because another program may have written it. Each reader then raises `KeyError`, `TypeError`
or `ValueError`, except the reader of holds.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from imds_enforcer.decision.legacy_calls import Calls
from imds_enforcer.ledger.entry import KEPT, Entry, Recorded
from imds_enforcer.ledger.holds import Contest, Hold
from imds_enforcer.ledger.lease import Lease
from imds_enforcer.ledger.refusals import RefusalNote
from imds_enforcer.model import Failure, Kind, MetadataOptions, Outcome, Refusal, Switch
from imds_enforcer.policy import PolicyVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imds_enforcer.aws.dynamodb import Item

STANDING = "standing"
"""The partition of holds and contests."""

LEASE = "lease"
"""The partition of the sweep's lease. The function's role may use PutItem in no other partition."""

SWEEP = "sweep"


def moment_text(moment: datetime) -> str:
    """A moment as text that sorts by time."""
    return moment.isoformat(timespec="microseconds")


def moment_of(text: str) -> datetime:
    """The moment. Without a time zone the text is malformed: the moment could not be compared with others."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def months(first: datetime, last: datetime) -> list[str]:
    """Each month from that of the first moment to that of the last."""
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [f"{number // 12}-{number % 12 + 1:02}" for number in numbers]


def recorded_item(entry: Recorded[Any], key: str, expires: datetime | None) -> Item:
    """The attributes that the table and its indexes use, and the rest as one text.

    Each attribute takes time to serialize and to parse, and a burst writes hundreds of entries.
    """
    said = {
        "region": entry.region,
        "trigger": entry.trigger,
        "by": entry.by,
        "versions": entry.versions.as_log(),
        "before": entry.before.as_log(),
        "wanted": entry.wanted.as_log(),
        "after": entry.after.as_log() if entry.after else None,
        "ends_at": moment_text(entry.ends_at),
        "outcome": entry.outcome,
        "reason": entry.reason,
        "code": entry.code,
    }
    return {
        "pk": key,
        "sk": f"{moment_text(entry.at)}#{entry.run_id}",
        "run_id": entry.run_id,
        "month": f"{entry.at:%Y-%m}",
        # Only open entries are in the index of that name.
        "open": entry.region if entry.outcome is None else None,
        "expires_at": int(expires.timestamp()) if expires else None,
        "entry": json.dumps(said, separators=(",", ":")),
    }


def recorded_of(item: Item, described: Callable[[Mapping[str, Any]], object]) -> dict[str, Any]:
    """The fields of `Recorded`; `described` turns the item's text about options into options."""
    said = json.loads(item["entry"])
    return {
        "region": said["region"],
        "at": moment_of(item["sk"].partition("#")[0]),
        "run_id": item["run_id"],
        "trigger": said["trigger"],
        "versions": PolicyVersions(**said["versions"]),
        "before": described(said["before"]),
        "wanted": described(said["wanted"]),
        "after": described(said["after"]) if said["after"] else None,
        "ends_at": moment_of(said["ends_at"]),
        "by": said["by"],
        "outcome": Outcome(said["outcome"]) if said["outcome"] else None,
        "reason": said["reason"],
        "code": said["code"],
    }


def entry_item(entry: Entry) -> Item:
    """A change of an instance, in the instance's own partition."""
    return recorded_item(entry, entry.instance_id, entry.at + KEPT)


def entry_of(item: Item) -> Entry:
    """The entry."""
    return Entry(instance_id=item["pk"], **recorded_of(item, MetadataOptions.described))


def hold_item(hold: Hold) -> Item:
    """A hold never expires in the table: it stays until a person releases it."""
    return {
        "pk": STANDING,
        "sk": f"hold#{hold.instance_id}",
        "reason": hold.reason,
        "by": hold.by,
        "at": moment_text(hold.at),
        "until": moment_text(hold.until) if hold.until else None,
    }


def hold_of(instance_id: str, item: Item) -> Hold:
    """The hold. If the item is malformed, the hold stays in force until a person releases it."""
    try:
        until = datetime.fromisoformat(item["until"]) if "until" in item else None
        at = datetime.fromisoformat(item["at"])
        hold = Hold(instance_id=instance_id, reason=item["reason"], by=item["by"], at=at, until=until)
        hold.in_force(at)
    except (KeyError, TypeError, ValueError):
        moment = datetime.fromtimestamp(0, UTC)
        return Hold(instance_id=instance_id, reason="the hold cannot be read", by="an unknown person", at=moment)
    return hold


def contest_item(contest: Contest) -> Item:
    """A contest; DynamoDB deletes it some time after its end."""
    return {
        "pk": STANDING,
        "sk": f"contest#{contest.instance_id}",
        "principal": contest.principal,
        "until": moment_text(contest.until),
        "expires_at": int(contest.until.timestamp()),
    }


def contest_of(item: Item) -> Contest:
    """The contest."""
    _, _, instance_id = item["sk"].partition("#")
    return Contest(instance_id=instance_id, principal=item["principal"], until=moment_of(item["until"]))


def lease_item(lease: Lease) -> Item:
    """The lease. It has no `run_id`, because that is the key of an index for entries only."""
    return {
        "pk": LEASE,
        "sk": SWEEP,
        "held_by": lease.run_id,
        "policy_versions": json.dumps(lease.versions.as_log()),
        "until": moment_text(lease.expires_at),
        "expires_at": int(lease.expires_at.timestamp()),
    }


def lease_of(item: Item) -> Lease:
    """The lease."""
    return Lease(
        run_id=item["held_by"],
        versions=PolicyVersions(**json.loads(item["policy_versions"])),
        expires_at=moment_of(item["until"]),
    )


def noted_item(topic: str, calls: Mapping[str, Calls], at: datetime, gone_at: datetime) -> Item:
    """A note of the calls of up to 500 instances, which easily fit into one item."""
    noted = {i: [each.total, each.last.isoformat() if each.last else None] for i, each in calls.items()}
    return {
        "pk": f"calls#{topic}",
        # Two notes of the same moment differ in their first instance.
        "sk": f"{moment_text(at)}#{next(iter(calls))}",
        "calls": json.dumps(noted, separators=(",", ":")),
        "expires_at": int(gone_at.timestamp()),
    }


def noted_of(item: Item) -> dict[str, Calls]:
    """The calls of each instance of a note."""
    return {instance_id: _calls_of(noted) for instance_id, noted in dict(json.loads(item["calls"])).items()}


def refusal_item(region: str, note: RefusalNote) -> Item:
    """A note of what EC2 refused to an instance; DynamoDB deletes it some time after its end."""
    refused = [[each.option, each.value, each.failure.code, each.failure.message] for each in note.refused]
    return {
        "pk": f"refused#{region}",
        "sk": note.instance_id,
        "refused": json.dumps(refused, separators=(",", ":")),
        "tag_keys": note.tag_keys,
        "until": moment_text(note.until),
        "expires_at": int(note.until.timestamp()),
    }


def refusal_of(item: Item) -> RefusalNote:
    """The note of what EC2 refused to an instance."""
    return RefusalNote(
        instance_id=item["sk"],
        refused=tuple(
            Refusal(str(option), Switch(value), Failure(str(code), str(message), Kind.FINAL), noted=True)
            for option, value, code, message in json.loads(item["refused"])
        ),
        tag_keys=item["tag_keys"],
        until=moment_of(item["until"]),
    )


def _calls_of(noted: tuple[int | None, str | None]) -> Calls:
    total, last = noted
    return Calls(None if total is None else int(total), date.fromisoformat(last) if last else None)
