"""The billed units of requests to DynamoDB and CloudWatch: request units by item size, and metrics requested."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

from infra.local.ledger_table import INDEXES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import boto3

Value = dict[str, Any]
SerializedItem = dict[str, Value]

WRITE_UNIT, READ_UNIT = 1024, 4096
"""Bytes of one write unit, and of one consistent read unit (DynamoDB Developer Guide, "Read and write operations")."""

STORED_BESIDE = 100
"""Bytes that AWS adds to each item, in the table and in each index ("Table size and item size")."""


class Meter:
    """Counts the units in the requests and answers of a session's clients."""

    def __init__(self, session: boto3.Session) -> None:
        self._lock = threading.Lock()
        self._items: dict[tuple[str, str], SerializedItem] = {}
        self.writes = self.reads = 0.0
        self.metrics = 0
        self.largest_entry = 0
        # The hooks before and after a call share its context.
        session.events.register("before-parameter-build", self._before)
        session.events.register("after-call", self._after)

    def reset(self) -> None:
        """Set the counts to zero."""
        with self._lock:
            self.writes = self.reads = 0.0
            self.metrics = 0

    def _before(self, params: Mapping[str, Any], context: dict[str, Any], **_: object) -> None:
        context["asked"] = params

    def _after(self, model: Any, parsed: Mapping[str, Any], context: Mapping[str, Any], **_: object) -> None:
        asked = context["asked"]
        with self._lock:
            match model.name:
                case "GetMetricData":
                    self.metrics += 0 if "NextToken" in asked else len(asked["MetricDataQueries"])
                case "Query" | "Scan":
                    units = math.ceil(sum(map(size_of, parsed["Items"])) / READ_UNIT) or 1
                    self.reads += units if asked.get("ConsistentRead") else units / 2
                case "PutItem":
                    self.writes += self._written(asked["Item"])
                case "BatchWriteItem":
                    for requests in asked["RequestItems"].values():
                        self.writes += sum(self._written(each["PutRequest"]["Item"]) for each in requests)

    def _written(self, item: SerializedItem) -> int:
        """Units to replace an item: in the table, and in each index with the old or the new version."""
        key = (item["pk"]["S"], item["sk"]["S"])
        before = self._items.get(key, {})
        self._items[key] = item
        if "run_id" in item:
            self.largest_entry = max(self.largest_entry, size_of(item))
        units = math.ceil(max(size_of(item), size_of(before)) / WRITE_UNIT)
        return units * (1 + sum(attribute in item or attribute in before for attribute in INDEXES.values()))


def size_of(item: SerializedItem) -> int:
    """Bytes of an item as DynamoDB counts them: its names and its values."""
    return sum(len(name.encode()) + _size_of_value(value) for name, value in item.items())


def _size_of_value(value: Value) -> int:
    match value:
        case {"S": str(text)}:
            return len(text.encode())
        case {"N": str(digits)}:
            return math.ceil(len(digits.lstrip("-")) / 2) + 1
        case {"M": dict(parts)}:
            return 3 + size_of(parts) + len(parts)
        case {"BOOL": _}:
            return 1
    raise ValueError(f"nothing that the enforcer writes: {value}")
