"""The ledger of the regions' account defaults, in the enforcer's table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.aws.ledger_items import moment_text, months, recorded_item, recorded_of
from imds_enforcer.ledger.defaults import DefaultsEntry, subject
from imds_enforcer.ledger.entry import KEPT
from imds_enforcer.model.region_defaults import RegionDefaults

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
        """Write an entry, replacing its older version."""
        self._table.put([_item(entry)])

    def of_run(self, run_id: str) -> list[DefaultsEntry]:
        """The entries of one run, oldest first; eventually consistent."""
        return self.parsed(self._table.index("by-run", "run_id", run_id))

    def since(self, moment: datetime) -> list[DefaultsEntry]:
        """The entries of all regions from a moment on; eventually consistent."""
        found = (
            self._table.index("by-month", "month", month, since=moment_text(moment))
            for month in months(moment, self._clock.now())
        )
        return [entry for items in found for entry in self.parsed(items)]

    def of(self, region: str, since: datetime | None = None) -> list[DefaultsEntry]:
        """The entries of one region, oldest first, read consistently."""
        return self.parsed(self._table.partition(subject(region), since=moment_text(since) if since else ""))

    def parsed(self, items: Iterable[Item]) -> list[DefaultsEntry]:
        """The entries of account defaults among these items."""
        return [entry for item in items if is_of_defaults(item) and (entry := self._parser.parse(_entry, item))]


def is_of_defaults(item: Item) -> bool:
    """True for an entry of a region's defaults. The indexes have the entries of instances too."""
    return str(item["pk"]).startswith(subject(""))


def _item(entry: DefaultsEntry) -> Item:
    """Entries of changes never expire, because reverts need them. Those of refusals do: every sweep may add one."""
    open_or_changed = entry.outcome is None or entry.result is not None
    return recorded_item(entry, subject(entry.region), None if open_or_changed else entry.at + KEPT)


def _entry(item: Item) -> DefaultsEntry:
    return DefaultsEntry(**recorded_of(item, RegionDefaults.described))
