"""The ledger of the regions' account defaults, in the enforcer's table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from imds_enforcer.aws.ledger_items import moment_of, moment_text
from imds_enforcer.ledger.defaults import DefaultsEntry
from imds_enforcer.model import Outcome
from imds_enforcer.model.region_defaults import RegionDefaults
from imds_enforcer.policy import PolicyVersions

if TYPE_CHECKING:
    from datetime import datetime

    from imds_enforcer.aws.dynamodb import Item, NoTable, Table
    from imds_enforcer.aws.ledger_table import Parser

KIND = "defaults"
"""The partition of all these entries: a few for each region. They have no end, as the way back rests on them."""


class DefaultsEntries:
    """One entry for each change of a region's defaults by a run."""

    def __init__(self, table: Table | NoTable, parser: Parser) -> None:
        self._table = table
        self._parser = parser

    def write(self, entry: DefaultsEntry) -> None:
        """Write an entry, in place of its older version."""
        self._table.put([_item(entry)])

    def since(self, moment: datetime | None = None) -> list[DefaultsEntry]:
        """The entries of all regions, oldest first, as they are at this moment."""
        items = self._table.partition(KIND, since=moment_text(moment) if moment else "")
        return [entry for item in items if (entry := self._parser.parse(_entry, item))]

    def of(self, region: str, since: datetime | None = None) -> list[DefaultsEntry]:
        """The entries of one region, oldest first."""
        return [entry for entry in self.since(since) if entry.region == region]


def _item(entry: DefaultsEntry) -> Item:
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
        "run_id": entry.run_id,
    }
    return {
        "pk": KIND,
        "sk": f"{moment_text(entry.at)}#{entry.region}",
        "entry": json.dumps(said, separators=(",", ":")),
    }


def _entry(item: Item) -> DefaultsEntry:
    at, _, region = item["sk"].partition("#")
    said = json.loads(item["entry"])
    return DefaultsEntry(
        region=region,
        at=moment_of(at),
        run_id=said["run_id"],
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
