"""What the enforcer keeps between its runs: the ledger, holds and contests, and notes of what CloudWatch said."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from imds_enforcer.aws.ledger_items import (
    STANDING,
    contest_item,
    contest_of,
    entry_item,
    entry_of,
    hold_item,
    hold_of,
    moment_text,
    noted_item,
    noted_of,
)
from imds_enforcer.ledger.holds import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime, timedelta

    from imds_enforcer.aws.dynamodb import Item, NoTable, Table
    from imds_enforcer.decision.legacy_calls import Calls
    from imds_enforcer.ledger.entry import Entry
    from imds_enforcer.ledger.holds import Contest, Hold
    from imds_enforcer.model import Clock

_TOLD = "told"

_T = TypeVar("_T")


class Records:
    """The table of the enforcer. Every method raises `AwsError`, and nothing else, for a failed call."""

    def __init__(self, table: Table | NoTable, clock: Clock) -> None:
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
        self._table.put(map(entry_item, entries))

    def entries_of(self, instance_id: str, since: datetime | None = None) -> list[Entry]:
        """The entries of one instance, oldest first, as they are at this moment."""
        return self._entries(self._table.partition(instance_id, since=moment_text(since) if since else ""))

    def entries_of_run(self, run_id: str) -> list[Entry]:
        """The entries of one run, oldest first, as they were a moment ago."""
        return self._entries(self._table.index("by-run", "run_id", run_id))

    def entries_since(self, since: datetime) -> Iterator[Entry]:
        """The entries of all instances from a moment on, oldest first, as they were a moment ago."""
        for month in _months(since, self._clock.now()):
            yield from self._entries(self._table.index("by-month", "month", month, since=moment_text(since)))

    def open_intents(self) -> list[Entry]:
        """The entries, of all instances, of which no outcome is known yet."""
        return self._entries(self._table.whole_index("open"))

    def _entries(self, items: Iterable[Item]) -> list[Entry]:
        return [entry for item in items if (entry := self._read(entry_of, item))]

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
        for item in self._table.partition(STANDING):
            kind, _, instance_id = item["sk"].partition("#")
            if kind == "hold":
                hold = hold_of(instance_id, item)
                if hold.in_force(now):
                    holds[instance_id] = hold
            elif kind == "contest" and (contest := self._read(contest_of, item)) and contest.in_force(now):
                contests[instance_id] = contest
        return Standing(holds, contests, read_at)

    def hold(self, holds: Iterable[Hold]) -> None:
        """Hold instances, from this moment on."""
        self._table.put(map(hold_item, holds))

    def release(self, instance_ids: Iterable[str]) -> None:
        """End the holds of these instances."""
        self._table.delete((STANDING, f"hold#{instance_id}") for instance_id in instance_ids)

    def contest(self, contest: Contest) -> None:
        """Leave an instance to the sweep for a while."""
        self._table.put([contest_item(contest)])

    # What CloudWatch said.

    def noted_calls(self, topic: str, since: datetime) -> dict[str, Calls]:
        """The calls of each instance that were noted under the topic from a moment on."""
        known: dict[str, Calls] = {}
        for item in self._table.partition(f"calls#{topic}", since=moment_text(since)):
            known |= self._read(noted_of, item) or {}
        return known

    def note_calls(self, topic: str, calls: Mapping[str, Calls], kept: timedelta) -> None:
        """Note the calls of some instances: 500 at most."""
        now = self._clock.now()
        self._table.put([noted_item(topic, calls, now, now + kept)])

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


def _months(first: datetime, last: datetime) -> list[str]:
    """The months from that of the first moment to that of the last."""
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [f"{number // 12}-{number % 12 + 1:02}" for number in numbers]
