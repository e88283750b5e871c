"""What the enforcer keeps between its runs: the ledger, holds and contests, and notes of what CloudWatch said."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from imds_enforcer.ledger import KEPT, Contest, Entry, Hold, Standing
from imds_enforcer.legacy_calls import Calls
from imds_enforcer.model import MetadataOptions, Outcome
from imds_enforcer.policy import PolicyVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from imds_enforcer.clock import Clock
    from imds_enforcer.dynamodb import Item, Table

_STANDING = "standing"
_TOLD = "told"

_T = TypeVar("_T")


class Records:
    """The table of the enforcer. Every method raises `AwsError`, and nothing else, for a failed call."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._unreadable: set[tuple[str, str]] = set()

    def unreadable(self) -> set[tuple[str, str]]:
        """The keys of the items that were left aside since the last call: they are not what is written here."""
        found, self._unreadable = self._unreadable, set()
        return found

    # The ledger.

    def write(self, entries: Iterable[Entry]) -> None:
        """Write entries, each in place of its older version."""
        self._table.put(map(_item_of, entries))

    def entries_of(self, instance_id: str, since: datetime | None = None) -> list[Entry]:
        """The entries of one instance, oldest first, as they are at this moment."""
        return self._entries(self._table.partition(instance_id, since=_moment(since) if since else ""))

    def entries_of_run(self, run_id: str) -> list[Entry]:
        """The entries of one run, oldest first, as they were a moment ago."""
        return self._entries(self._table.index("by-run", "run_id", run_id))

    def entries_since(self, since: datetime) -> Iterator[Entry]:
        """The entries of all instances from a moment on, oldest first, as they were a moment ago."""
        for month in _months(since, self._clock.now()):
            yield from self._entries(self._table.index("by-month", "month", month, since=_moment(since)))

    def open_intents(self) -> list[Entry]:
        """The entries, of all instances, of which no outcome is known yet."""
        return self._entries(self._table.whole_index("open"))

    def _entries(self, items: Iterable[Item]) -> list[Entry]:
        return [entry for item in items if (entry := self._read(_entry_of, item))]

    def _read(self, of: Callable[[Item], _T], item: Item) -> _T | None:
        """What the item says; None if that is nothing known here: one such must not stop what others are for."""
        try:
            return of(item)
        except (KeyError, TypeError, ValueError):
            self._unreadable.add((str(item.get("pk")), str(item.get("sk"))))
            return None

    # Holds and contests.

    def standing(self) -> Standing:
        """Every hold and contest there is, read consistently; ended ones are left out."""
        read_at, now = self._clock.monotonic(), self._clock.now()
        holds: dict[str, Hold] = {}
        contests: dict[str, Contest] = {}
        for item in self._table.partition(_STANDING):
            kind, _, instance_id = item["sk"].partition("#")
            if kind == "hold":
                hold = _hold_of(instance_id, item)
                if hold.in_force(now):
                    holds[instance_id] = hold
            elif kind == "contest" and (contest := self._read(_contest_of, item)) and contest.in_force(now):
                contests[instance_id] = contest
        return Standing(holds, contests, read_at)

    def hold(self, holds: Iterable[Hold]) -> None:
        """Hold instances, from this moment on."""
        self._table.put(
            {
                "pk": _STANDING,
                "sk": f"hold#{hold.instance_id}",
                "reason": hold.reason,
                "by": hold.by,
                "at": _moment(hold.at),
                "until": _moment(hold.until) if hold.until else None,
            }
            for hold in holds
        )

    def release(self, instance_ids: Iterable[str]) -> None:
        """End the holds of these instances."""
        self._table.delete((_STANDING, f"hold#{instance_id}") for instance_id in instance_ids)

    def contest(self, contest: Contest) -> None:
        """Leave an instance to the sweep for a while."""
        item = {"principal": contest.principal, "until": _moment(contest.until)}
        key = {"pk": _STANDING, "sk": f"contest#{contest.instance_id}"}
        self._table.put([{**key, **item, "expires_at": int(contest.until.timestamp())}])

    # What CloudWatch said.

    def noted_calls(self, topic: str, since: datetime) -> dict[str, Calls]:
        """The calls of each instance that were noted under the topic from a moment on."""
        known: dict[str, Calls] = {}
        for item in self._table.partition(f"calls#{topic}", since=_moment(since)):
            known |= self._read(_noted_of, item) or {}
        return known

    def note_calls(self, topic: str, calls: Mapping[str, Calls], kept: timedelta) -> None:
        """Note the calls of some instances: 500 at most, which fit one item by far."""
        now = self._clock.now()
        noted = {i: [each.total, each.last.isoformat() if each.last else None] for i, each in calls.items()}
        self._table.put(
            [
                {
                    "pk": f"calls#{topic}",
                    # Two requests of one moment differ in the first instance they are about.
                    "sk": f"{_moment(now)}#{next(iter(calls))}",
                    "calls": json.dumps(noted, separators=(",", ":")),
                    "expires_at": int((now + kept).timestamp()),
                }
            ]
        )

    # Whose rejected calls the operators were told of.

    def told(self) -> set[tuple[str, str]]:
        """The changes that a message was about, by instance and run."""
        keys = (str(item["sk"]).partition("#") for item in self._table.partition(_TOLD))
        return {(instance_id, run_id) for instance_id, _, run_id in keys}

    def note_told(self, entries: Iterable[Entry], kept: timedelta) -> None:
        """Remember that a message was about these changes."""
        expires_at = int((self._clock.now() + kept).timestamp())
        self._table.put(
            {"pk": _TOLD, "sk": f"{entry.instance_id}#{entry.run_id}", "expires_at": expires_at} for entry in entries
        )


def _moment(moment: datetime) -> str:
    """Text that sorts as the moments do."""
    return moment.isoformat(timespec="microseconds")


def _months(first: datetime, last: datetime) -> list[str]:
    """The months from that of the first moment to that of the last."""
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [f"{number // 12}-{number % 12 + 1:02}" for number in numbers]


def _item_of(entry: Entry) -> Item:
    """What the table and its indexes go by, and the rest as one text.

    Each attribute takes its time to be put together and taken apart, and a burst writes hundreds of entries.
    """
    said = {
        "region": entry.region,
        "trigger": entry.trigger,
        "by": entry.by,
        "versions": entry.versions.as_log(),
        "before": entry.before.as_log(),
        "wanted": entry.wanted.as_log(),
        "after": entry.after.as_log() if entry.after else None,
        "ends_at": _moment(entry.ends_at),
        "outcome": entry.outcome,
        "reason": entry.reason,
        "code": entry.code,
    }
    return {
        "pk": entry.instance_id,
        "sk": f"{_moment(entry.at)}#{entry.run_id}",
        "run_id": entry.run_id,
        "month": f"{entry.at:%Y-%m}",
        # Only what is open is in the index of that name.
        "open": entry.region if entry.outcome is None else None,
        "expires_at": int((entry.at + KEPT).timestamp()),
        "entry": json.dumps(said, separators=(",", ":")),
    }


def _hold_of(instance_id: str, item: Item) -> Hold:
    """The hold; one that cannot be read is in force until somebody releases it."""
    try:
        until = datetime.fromisoformat(item["until"]) if "until" in item else None
        at = datetime.fromisoformat(item["at"])
        hold = Hold(instance_id=instance_id, reason=item["reason"], by=item["by"], at=at, until=until)
        hold.in_force(at)
    except (KeyError, TypeError, ValueError):
        moment = datetime.fromtimestamp(0, UTC)
        return Hold(instance_id=instance_id, reason="the hold cannot be read", by="nobody knows whom", at=moment)
    return hold


def _contest_of(item: Item) -> Contest:
    _, _, instance_id = item["sk"].partition("#")
    until = datetime.fromisoformat(item["until"])
    if until.tzinfo is None:
        raise ValueError(item["until"])
    return Contest(instance_id=instance_id, principal=item["principal"], until=until)


def _noted_of(item: Item) -> dict[str, Calls]:
    return {instance_id: _calls_of(noted) for instance_id, noted in json.loads(item["calls"]).items()}


def _entry_of(item: Item) -> Entry:
    said = json.loads(item["entry"])
    return Entry(
        instance_id=item["pk"],
        region=said["region"],
        at=datetime.fromisoformat(item["sk"].partition("#")[0]),
        run_id=item["run_id"],
        trigger=said["trigger"],
        versions=PolicyVersions(**said["versions"]),
        before=MetadataOptions.described(said["before"]),
        wanted=MetadataOptions.described(said["wanted"]),
        after=MetadataOptions.described(said["after"]) if said["after"] else None,
        ends_at=datetime.fromisoformat(said["ends_at"]),
        by=said["by"],
        outcome=Outcome(said["outcome"]) if said["outcome"] else None,
        reason=said["reason"],
        code=said["code"],
    )


def _calls_of(noted: tuple[int | None, str | None]) -> Calls:
    total, last = noted
    return Calls(total, date.fromisoformat(last) if last else None)
