"""The launch templates that operators fixed, in the enforcer's table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from imds_enforcer.aws.ledger_items import moment_text
from imds_enforcer.ledger.entry import KEPT
from imds_enforcer.ledger.template_fix import TemplateFix

if TYPE_CHECKING:
    from imds_enforcer.aws.dynamodb import Item, NoTable, Table
    from imds_enforcer.aws.ledger_table import Parser

KIND = "launch-templates"
"""The partition of the fixes by `imds-enforcer launches fix`."""


class TemplateFixes:
    """The operators' fixes of launch templates. The function neither reads nor writes them."""

    def __init__(self, table: Table | NoTable, parser: Parser) -> None:
        self._table = table
        self._parser = parser

    def write(self, fix: TemplateFix) -> None:
        """Write a fix, replacing its older version."""
        self._table.put([_item(fix)])

    def all(self) -> list[TemplateFix]:
        """Every fix, oldest first, read consistently."""
        items = self._table.partition(KIND)
        return [fix for item in items if (fix := self._parser.parse(_fix, item))]


def _item(fix: TemplateFix) -> Item:
    """A fix is kept as long as an entry. It has no `run_id`, because that is the key of an index for entries only."""
    return {
        "pk": KIND,
        "sk": f"{moment_text(fix.at)}#{fix.run_id}#{fix.template_id}",
        "fix": json.dumps(fix.as_json(), separators=(",", ":")),
        "expires_at": int((fix.at + KEPT).timestamp()),
    }


def _fix(item: Item) -> TemplateFix:
    """The fix of a launch template."""
    return TemplateFix.parsed(json.loads(item["fix"]))
