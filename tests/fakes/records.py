"""The enforcer's table and CloudWatch, in memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from imds_enforcer.aws.cloudwatch import MAX_METRICS, CallMetrics, Points
from imds_enforcer.aws.dynamodb import BATCH_SIZE, Table
from imds_enforcer.aws.ledger_table import LedgerTable
from imds_enforcer.model import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from imds_enforcer.aws.dynamodb import Item
    from imds_enforcer.decision.legacy_calls import Counted
    from imds_enforcer.model import Failure
    from tests.fakes.clock import FakeClock

_INDEXED = {"by-run": "run_id", "by-month": "month", "open": "open"}


class FakeTable(Table):
    """A table whose indexes are never late.

    `requests` has every request to DynamoDB. While `read_failure` or `write_failure` is set, all reads or writes fail
    with it. `before_read` gets each read request, and `before_write` the items of each write, before it takes effect;
    both may let time pass or fail, as may `before_swap`. One thread may write to the table while another reads it.
    """

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}
        self.requests: list[str] = []
        self.written: list[Item] = []
        self.read_failure: Failure | None = None
        self.write_failure: Failure | None = None
        self.before_read: Callable[[str], None] | None = None
        self.before_write: Callable[[Sequence[Item]], None] | None = None
        self.before_swap: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def partition(self, pk: str, *, since: str = "", latest_first: bool = False) -> Iterator[Item]:
        """The items of a partition in order of `sk`, or in reverse."""
        self._read(f"Query {pk}")
        found = [item for key, item in sorted(self.items.items()) if key[0] == pk and key[1] >= since]
        return iter(found[::-1] if latest_first else found)

    def index(self, name: str, attribute: str, value: str, *, since: str = "") -> Iterator[Item]:
        """The items of an index under one value, in order of `sk`."""
        assert _INDEXED[name] == attribute
        self._read(f"Query {name}")
        found = [item for item in list(self.items.values()) if item.get(attribute) == value and item["sk"] >= since]
        return iter(sorted(found, key=lambda item: str(item["sk"])))

    def whole_index(self, name: str) -> Iterator[Item]:
        """All items with the attribute of the index."""
        self._read(f"Scan {name}")
        return iter([item for item in list(self.items.values()) if _INDEXED[name] in item])

    def put(self, items: Iterable[Item]) -> None:
        """Store items as DynamoDB would, without the attributes that are None."""
        kept = [{name: value for name, value in item.items() if value is not None} for item in items]
        if self.before_write and kept:
            self.before_write(kept)
        self._take(len(kept))
        self.written += kept
        self.items |= {(item["pk"], item["sk"]): item for item in kept}

    def swap(self, old: Item | None, new: Item) -> bool:
        """Store an item if its key still has the old one."""
        with self._lock:
            self.requests.append("PutItem")
        if self.before_swap:
            self.before_swap()
        if self.write_failure:
            raise AwsError(self.write_failure)
        key = (new["pk"], new["sk"])
        if self.items.get(key) != old:
            return False
        self.items[key] = new
        return True

    def delete(self, keys: Iterable[tuple[str, str]]) -> None:
        """Delete items."""
        gone = list(keys)
        self._take(len(gone))
        for key in gone:
            self.items.pop(key, None)

    def _read(self, request: str) -> None:
        with self._lock:
            self.requests.append(request)
        if self.before_read:
            self.before_read(request)
        if self.read_failure:
            raise AwsError(self.read_failure)

    def _take(self, items: int) -> None:
        with self._lock:
            self.requests += ["BatchWriteItem"] * -(-items // BATCH_SIZE)
        if self.write_failure and items:
            raise AwsError(self.write_failure)

    @property
    def writes(self) -> int:
        """The number of write requests."""
        return self.requests.count("BatchWriteItem")

    def ledger_table(self, clock: FakeClock) -> LedgerTable:
        """The enforcer's own view of it."""
        return LedgerTable(self, clock)


class FakeCallMetrics(CallMetrics):
    """CloudWatch of one region; requests fail with `failure` while it is set.

    `data` has the points by metric and instance, `groups` by metric and Auto Scaling group. `requests` joins the
    metrics of one request with `+`.
    """

    def __init__(self) -> None:
        self.data: dict[tuple[str, str], list[tuple[datetime, float]]] = {}
        self.groups: dict[tuple[str, str], list[tuple[datetime, float]]] = {}
        self.requests: list[tuple[str, list[str], int]] = []
        self.failure: Failure | None = None

    def points(self, counted: Counted, names: Sequence[str], *, start: datetime, end: datetime, period: int) -> Points:
        """The points between two moments."""
        assert len(names) * len(counted.metrics) <= MAX_METRICS
        self.requests.append(("+".join(counted.metrics), list(names), period))
        if self.failure:
            raise AwsError(self.failure)
        data = {"InstanceId": self.data, "AutoScalingGroupName": self.groups}[counted.dimension]
        found: dict[str, Any] = {
            each: [
                (moment, value)
                for metric in counted.metrics
                for moment, value in data.get((metric, each), ())
                if start <= moment <= end
            ]
            for each in names
        }
        return {each: points for each, points in found.items() if points}
