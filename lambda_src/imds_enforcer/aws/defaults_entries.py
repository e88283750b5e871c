"""The ledger of the regions' account defaults, in the enforcer's table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from imds_enforcer.aws.ledger_items import moment_of, moment_text, months
from imds_enforcer.ledger.defaults import DefaultsEntry, subject
from imds_enforcer.ledger.entry import KEPT
from imds_enforcer.model import Outcome
from imds_enforcer.model.region_defaults import RegionDefaults
from imds_enforcer.policy import PolicyVersions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from imds_enforcer.aws.dynamodb import Item, NoTable, Table
    from imds_enforcer.aws.ledger_table import Parser
    from imds_enforcer.model import Clock


class DefaultsEntries:
    """One entry for each change of a region's defaults by a run."""

    def __init__(self, table: Table | NoTable, clock: Clock, parser: Parser) -> None:
        self._table = table
        self._clock = clock
        self._parser = parser

    def write(self, entry: DefaultsEntry) -> None:
        """Write an entry, in place of its older version."""
        self._table.put([_item(entry)])

    def of_run(self, run_id: str) -> list[DefaultsEntry]:
        """The entries of one run, oldest first, as they were a moment ago."""
        return self.parsed(self._table.index("by-run", "run_id", run_id))

    def since(self, moment: datetime) -> list[DefaultsEntry]:
        """The entries of all regions from a moment on, as they were a moment ago."""
        found = (
            self._table.index("by-month", "month", month, since=moment_text(moment))
            for month in months(moment, self._clock.now())
        )
        return [entry for items in found for entry in self.parsed(items)]

    def of(self, region: str, since: datetime | None = None) -> list[DefaultsEntry]:
        """The entries of one region, oldest first, as they are at this moment."""
        return self.parsed(self._table.partition(subject(region), since=moment_text(since) if since else ""))

    def parsed(self, items: Iterable[Item]) -> list[DefaultsEntry]:
        """Those of the items that are such entries."""
        return [entry for item in items if is_of_defaults(item) and (entry := self._parser.parse(_entry, item))]


def is_of_defaults(item: Item) -> bool:
    """True for an entry of a region's defaults; the indexes have those of instances too."""
    return str(item["pk"]).startswith(subject(""))


def _item(entry: DefaultsEntry) -> Item:
    """What changed something has no end, as the way back rests on it; a refusal may come with every sweep."""
    said = {
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
    open_or_changed = entry.outcome is None or entry.result is not None
    return {
        "pk": subject(entry.region),
        "sk": f"{moment_text(entry.at)}#{entry.run_id}",
        "run_id": entry.run_id,
        "month": f"{entry.at:%Y-%m}",
        "open": entry.region if entry.outcome is None else None,
        "expires_at": None if open_or_changed else int((entry.at + KEPT).timestamp()),
        "entry": json.dumps(said, separators=(",", ":")),
    }


def _entry(item: Item) -> DefaultsEntry:
    _, _, region = item["pk"].partition("#")
    said = json.loads(item["entry"])
    return DefaultsEntry(
        region=region,
        at=moment_of(item["sk"].partition("#")[0]),
        run_id=item["run_id"],
        trigger=said["trigger"],
        versions=PolicyVersions(**said["versions"]),
        before=RegionDefaults.described(said["before"]),
        wanted=RegionDefaults.described(said["wanted"]),
        after=RegionDefaults.described(said["after"]) if said["after"] else None,
        ends_at=moment_of(said["ends_at"]),
        by=said["by"],
        outcome=Outcome(said["outcome"]) if said["outcome"] else None,
        reason=said["reason"],
        code=said["code"],
    )
