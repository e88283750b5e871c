"""One DynamoDB table in plain values: its users read and write text, numbers, maps and None."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from imds_enforcer.aws.boto import aws_errors, batched, expected
from imds_enforcer.model import AwsError, Failure, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import WriteRequestTypeDef

    from imds_enforcer.model import Clock

Item = dict[str, Any]

BATCH_SIZE = 25
"""Items that one BatchWriteItem takes (DynamoDB API Reference)."""

_WRITERS = 8
"""Batches that are written at once."""

_WRITE_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.1

_serializer, _deserializer = TypeSerializer(), TypeDeserializer()


class Table:
    """A table with the keys `pk` and `sk`. Every method raises `AwsError`, and nothing else, for a failed call.

    `client` is not called before the first request: many runs make none.
    """

    def __init__(self, client: Callable[[], DynamoDBClient], name: str, clock: Clock) -> None:
        self._client = client
        self._name = name
        self._clock = clock

    def partition(self, pk: str, *, since: str = "", latest_first: bool = False) -> Iterator[Item]:
        """The items of a partition whose `sk` is not before `since`, read consistently, in order of `sk`.

        With `latest_first`, in reverse order. A page is read only when its items are asked for.
        """
        order = {"ScanIndexForward": False} if latest_first else {}
        request = {"ConsistentRead": True, **order, **_keys("pk", pk, since)}
        return self._pages("query", request)

    def index(self, name: str, attribute: str, value: str, *, since: str = "") -> Iterator[Item]:
        """The items that an index has under a value of its attribute; eventually consistent."""
        return self._pages("query", {"IndexName": name, **_keys(attribute, value, since)})

    def whole_index(self, name: str) -> Iterator[Item]:
        """Everything that an index has; eventually consistent."""
        return self._pages("scan", {"IndexName": name})

    def put(self, items: Iterable[Item]) -> None:
        """Write items in batches until the table has accepted all; each replaces the item with its key."""
        # DynamoDB refuses a whole request that names a key twice (DynamoDB API Reference, "BatchWriteItem").
        latest = {(item["pk"], item["sk"]): item for item in items}
        self._write_all({"PutRequest": {"Item": _serialized(item)}} for item in latest.values())

    def delete(self, keys: Iterable[tuple[str, str]]) -> None:
        """Delete the items with these keys; a missing item counts as deleted."""
        self._write_all({"DeleteRequest": {"Key": _serialized({"pk": pk, "sk": sk})}} for pk, sk in dict.fromkeys(keys))

    def swap(self, old: Item | None, new: Item) -> bool:
        """Replace the item `old` by `new`, which has the same key; False if the table has another item.

        If `old` is None, the table must have no item with this key. If an answer is lost, a retry may return False
        although the item was written.
        """
        expected_there = {} if old is None else old
        condition = " AND ".join(f"#{number} = :{number}" for number, _ in enumerate(expected_there))
        request: dict[str, Any] = {"ConditionExpression": condition or "attribute_not_exists(pk)"}
        if condition:
            request["ExpressionAttributeNames"] = {f"#{number}": name for number, name in enumerate(expected_there)}
            values = {f":{number}": value for number, value in enumerate(expected_there.values())}
            request["ExpressionAttributeValues"] = _serialized(values)
        try:
            with aws_errors():
                self._client().put_item(TableName=self._name, Item=_serialized(new), **request)
        except AwsError as error:
            if error.failure.code == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def _write_all(self, requests: Iterable[WriteRequestTypeDef]) -> None:
        batches = list(batched(requests, BATCH_SIZE))
        if len(batches) > 1:
            with ThreadPoolExecutor(min(len(batches), _WRITERS), thread_name_prefix="table") as pool:
                list(pool.map(self._write, batches))
        elif batches:
            self._write(batches[0])

    def _write(self, requests: list[WriteRequestTypeDef]) -> None:
        """DynamoDB may accept part of a batch (DynamoDB Developer Guide, "Error handling with DynamoDB")."""
        pause = _FIRST_PAUSE_SECONDS
        for attempt in range(_WRITE_ATTEMPTS):
            if attempt:
                self._clock.sleep(pause)
                pause *= 2
            with aws_errors():
                answer = self._client().batch_write_item(RequestItems={self._name: requests})
            left = expected(answer, "UnprocessedItems").get(self._name)
            if not left:
                return
            requests = list(left)
        raise AwsError(Failure("UnprocessedItems", f"DynamoDB did not accept {len(requests)} items", Kind.THROTTLED))

    def _pages(self, operation: str, request: dict[str, Any]) -> Iterator[Item]:
        paginator = self._client().get_paginator(operation)  # type: ignore[call-overload]  # query or scan
        pages = iter(paginator.paginate(TableName=self._name, **request))
        while True:
            with aws_errors():
                page = next(pages, None)
            if page is None:
                return
            for item in expected(page, "Items"):
                yield {name: _deserializer.deserialize(value) for name, value in item.items()}


class NoTable:
    """Stands in for the table where the enforcer is not deployed: it is empty and keeps nothing."""

    def partition(self, pk: str, *, since: str = "", latest_first: bool = False) -> Iterator[Item]:  # noqa: ARG002
        """No items."""
        return iter(())

    def index(self, name: str, attribute: str, value: str, *, since: str = "") -> Iterator[Item]:  # noqa: ARG002
        """No items."""
        return iter(())

    def whole_index(self, name: str) -> Iterator[Item]:  # noqa: ARG002  # as `Table` is asked
        """No items."""
        return iter(())

    def put(self, items: Iterable[Item]) -> None:
        """Keep nothing."""

    def swap(self, old: Item | None, new: Item) -> bool:  # noqa: ARG002  # as `Table` is asked
        """Keep nothing."""
        return True

    def delete(self, keys: Iterable[tuple[str, str]]) -> None:
        """Nothing is there."""


def _keys(attribute: str, value: str, since: str) -> dict[str, Any]:
    return {
        "KeyConditionExpression": "#pk = :pk AND #sk >= :since" if since else "#pk = :pk",
        "ExpressionAttributeNames": {"#pk": attribute} | ({"#sk": "sk"} if since else {}),
        "ExpressionAttributeValues": _serialized({":pk": value} | ({":since": since} if since else {})),
    }


def _serialized(item: Item) -> dict[str, Any]:
    return {name: _serializer.serialize(value) for name, value in item.items() if value is not None}
