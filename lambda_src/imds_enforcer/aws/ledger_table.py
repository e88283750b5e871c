"""What the enforcer keeps between its runs: the ledger's entries, holds and contests, the lease, and notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from imds_enforcer.aws.defaults_entries import DefaultsEntries, is_of_defaults
from imds_enforcer.aws.ledger_items import (
    LEASE,
    STANDING,
    SWEEP,
    contest_item,
    contest_of,
    entry_item,
    entry_of,
    hold_item,
    hold_of,
    lease_item,
    lease_of,
    moment_text,
    months,
    noted_item,
    noted_of,
    refusal_item,
    refusal_of,
)
from imds_enforcer.aws.refused_launch_items import (
    REFUSED_LAUNCH,
    refused_launch_item,
    refused_launch_of,
)
from imds_enforcer.aws.template_fixes import TemplateFixes
from imds_enforcer.ledger.holds import Standing
from imds_enforcer.ledger.lease import Lease, Turn
from imds_enforcer.ledger.refused_launches import KEPT, refused_lately
from imds_enforcer.model import AwsError, Failure, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime, timedelta

    from imds_enforcer.aws.dynamodb import Item, NoTable, Table
    from imds_enforcer.decision.legacy_calls import Calls
    from imds_enforcer.ledger.entry import Entry
    from imds_enforcer.ledger.holds import Contest, Hold
    from imds_enforcer.ledger.recovery import AnyEntry
    from imds_enforcer.ledger.refusals import RefusalNote
    from imds_enforcer.ledger.refused_launches import RefusedLaunch, RefusedLauncher
    from imds_enforcer.model import Clock

_MAILED = "told"  # stored in the tables of existing deployments: it cannot be renamed

_LEASE_ATTEMPTS = 5

_T = TypeVar("_T")


class LedgerTable:
    """The enforcer's table. Every method of its parts raises `AwsError`, and nothing else, for a failed call."""

    def __init__(self, table: Table | NoTable, clock: Clock) -> None:
        self._table = table
        self._parser = Parser()
        self.entries = Entries(table, clock, self._parser)
        self.defaults = DefaultsEntries(table, clock, self._parser)
        self.holds = Holds(table, clock, self._parser)
        self.leases = Leases(table, clock, self._parser)
        self.notes = Notes(table, clock, self._parser)
        self.template_fixes = TemplateFixes(table, self._parser)

    def open_intents(self) -> list[AnyEntry]:
        """The entries, of instances and of account defaults, that have no outcome yet; one request for all."""
        items = [*self._table.whole_index("open")]
        return [*self.entries.parsed(items), *self.defaults.parsed(items)]

    def unreadable(self) -> set[tuple[str, str]]:
        """The keys of the malformed items that were skipped since the last call."""
        found, self._parser.unreadable = self._parser.unreadable, set()
        return found


class Parser:
    """Skips malformed items, and remembers their keys in `unreadable`."""

    def __init__(self) -> None:
        self.unreadable: set[tuple[str, str]] = set()

    def parse(self, of: Callable[[Item], _T], item: Item) -> _T | None:
        """Parse an item, or None if malformed; one bad item must not block the rest."""
        try:
            return of(item)
        except (KeyError, TypeError, ValueError):
            self.unreadable.add((str(item.get("pk")), str(item.get("sk"))))
            return None


class Entries:
    """The ledger: one entry for each change of an instance by a run."""

    def __init__(self, table: Table | NoTable, clock: Clock, parser: Parser) -> None:
        self._table = table
        self._clock = clock
        self._parser = parser

    def write(self, entries: Iterable[Entry]) -> None:
        """Write entries, each replacing its older version."""
        self._table.put(map(entry_item, entries))

    def of(self, instance_id: str, since: datetime | None = None) -> list[Entry]:
        """The entries of one instance, oldest first, read consistently."""
        return self.parsed(self._table.partition(instance_id, since=moment_text(since) if since else ""))

    def of_run(self, run_id: str) -> list[Entry]:
        """The entries of one run, oldest first; eventually consistent."""
        return self.parsed(self._table.index("by-run", "run_id", run_id))

    def since(self, moment: datetime) -> Iterator[Entry]:
        """The entries of all instances from a moment on, oldest first; eventually consistent."""
        for month in months(moment, self._clock.now()):
            yield from self.parsed(self._table.index("by-month", "month", month, since=moment_text(moment)))

    def open_intents(self) -> list[Entry]:
        """The entries of all instances that have no outcome yet."""
        return self.parsed(self._table.whole_index("open"))

    def parsed(self, items: Iterable[Item]) -> list[Entry]:
        """The entries of instances among these items. The indexes have the entries of account defaults too."""
        return [entry for item in items if not is_of_defaults(item) and (entry := self._parser.parse(entry_of, item))]


class Holds:
    """Holds and contests: which instances the enforcer leaves alone for now."""

    def __init__(self, table: Table | NoTable, clock: Clock, parser: Parser) -> None:
        self._table = table
        self._clock = clock
        self._parser = parser

    def standing(self) -> Standing:
        """Every hold and contest in force, read consistently.

        An unreadable hold stays in force.
        """
        read_at, now = self._clock.monotonic(), self._clock.now()
        holds: dict[str, Hold] = {}
        contests: dict[str, Contest] = {}
        for item in self._table.partition(STANDING):
            kind, _, instance_id = item["sk"].partition("#")
            if kind == "hold":
                hold = hold_of(instance_id, item)
                if hold.in_force(now):
                    holds[instance_id] = hold
            elif kind == "contest" and (contest := self._parser.parse(contest_of, item)) and contest.in_force(now):
                contests[instance_id] = contest
        return Standing(holds, contests, read_at)

    def write(self, holds: Iterable[Hold]) -> None:
        """Hold instances, from this moment on."""
        self._table.put(map(hold_item, holds))

    def release(self, instance_ids: Iterable[str]) -> None:
        """End the holds of these instances."""
        self._table.delete((STANDING, f"hold#{instance_id}") for instance_id in instance_ids)

    def contest(self, contest: Contest) -> None:
        """Leave an instance to the sweep for a while."""
        self._table.put([contest_item(contest)])


class Leases:
    """The lease of the run that sweeps."""

    def __init__(self, table: Table | NoTable, clock: Clock, parser: Parser) -> None:
        self._table = table
        self._clock = clock
        self._parser = parser

    def take(self, wanted: Lease) -> Turn:
        """Take the lease, unless another run holds it. A lease that cannot be read is free."""
        for _ in range(_LEASE_ATTEMPTS):
            item = next((each for each in self._table.partition(LEASE) if each["sk"] == SWEEP), None)
            found = self._parser.parse(lease_of, item) if item else None
            if found and found.blocks(wanted, self._clock.now()):
                return Turn(holder=found.run_id)
            # If two runs read it at the same moment, only one of them still finds what it has read.
            if self._table.swap(item, lease_item(wanted)):
                return Turn(policy_is_new=found is not None and found.versions != wanted.versions)
        message = f"other runs took the lease {_LEASE_ATTEMPTS} times meanwhile"
        raise AwsError(Failure("LeaseContended", message, Kind.THROTTLED))

    def release(self, lease: Lease) -> None:
        """End the lease, unless another run has taken it over."""
        self._table.swap(lease_item(lease), lease_item(lease.released()))


class Notes:
    """What CloudWatch said about IMDSv1 calls, what EC2 refused, and which changes the operators got a mail about."""

    def __init__(self, table: Table | NoTable, clock: Clock, parser: Parser) -> None:
        self._table = table
        self._clock = clock
        self._parser = parser

    def calls(self, topic: str, since: datetime) -> dict[str, Calls]:
        """The calls that were noted under the topic from a moment on, by instance."""
        known: dict[str, Calls] = {}
        for item in self._table.partition(f"calls#{topic}", since=moment_text(since)):
            known |= self._parser.parse(noted_of, item) or {}
        return known

    def write_calls(self, topic: str, calls: Mapping[str, Calls], kept: timedelta) -> None:
        """Note the calls of some instances: 500 at most."""
        now = self._clock.now()
        self._table.put([noted_item(topic, calls, now, now + kept)])

    def refusals(self, region: str) -> dict[str, RefusalNote]:
        """What EC2 refused to instances of a region, by instance."""
        items = self._table.partition(f"refused#{region}")
        notes = [note for item in items if (note := self._parser.parse(refusal_of, item))]
        return {note.instance_id: note for note in notes}

    def write_refusals(self, region: str, notes: Iterable[RefusalNote]) -> None:
        """Note what EC2 refused to instances of a region; each note replaces the instance's earlier note."""
        self._table.put(refusal_item(region, note) for note in notes)

    def refused_launchers(self) -> list[RefusedLauncher]:
        """The launchers that were refused lately, the latest first."""
        now = self._clock.now()
        items = self._table.partition(REFUSED_LAUNCH, since=moment_text(now - KEPT), latest_first=True)
        launches = (self._parser.parse(refused_launch_of, item) for item in items)
        return refused_lately(filter(None, launches), now)

    def write_refused_launches(self, launches: Iterable[RefusedLaunch]) -> None:
        """Remember launches that were refused."""
        self._table.put(map(refused_launch_item, launches))

    def mailed(self) -> set[tuple[str, str]]:
        """The changes about which operators got a mail, by instance and run."""
        keys = (str(item["sk"]).partition("#") for item in self._table.partition(_MAILED))
        return {(instance_id, run_id) for instance_id, _, run_id in keys}

    def write_mailed(self, entries: Iterable[Entry], kept: timedelta) -> None:
        """Remember that operators got a mail about these changes."""
        expires_at = int((self._clock.now() + kept).timestamp())
        self._table.put(
            {"pk": _MAILED, "sk": f"{entry.instance_id}#{entry.run_id}", "expires_at": expires_at} for entry in entries
        )
