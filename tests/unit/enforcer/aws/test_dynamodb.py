from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ReadTimeoutError

from imds_enforcer.aws.dynamodb import Table
from imds_enforcer.model import AwsError, Failure, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.clock import FakeClock
    from tests.fakes.transport import FakeTransport

    Call = Callable[[Table], object]

NAME = "ledger"

READS: dict[str, Call] = {
    "partition": lambda table: list(table.partition("i-1")),
    "index": lambda table: list(table.index("by-run", "run_id", "run-1")),
    "whole index": lambda table: list(table.whole_index("open")),
}
WRITES: dict[str, Call] = {
    "put": lambda table: table.put([{"pk": "a", "sk": "b"}]),
    "delete": lambda table: table.delete([("a", "b")]),
    "swap": lambda table: table.swap(None, {"pk": "a", "sk": "b"}),
}
CALLS = READS | WRITES


@pytest.fixture
def table(transport: FakeTransport, clock: FakeClock) -> Table:
    """The table to test."""
    client = transport.client("dynamodb")
    return Table(lambda: client, NAME, clock)


def _items(*keys: str, following: str = "") -> str:
    page: dict[str, Any] = {"Items": [{"pk": {"S": "i-1"}, "sk": {"S": key}} for key in keys], "Count": len(keys)}
    return json.dumps(page | ({"LastEvaluatedKey": {"pk": {"S": following}}} if following else {}))


def _taken(*left: dict[str, Any]) -> str:
    return json.dumps({"UnprocessedItems": {NAME: list(left)} if left else {}})


def _sent(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The puts or deletes of a request as sent over the wire."""
    assert request["Action"] == "BatchWriteItem"
    assert list(request["RequestItems"]) == [NAME]
    return list(request["RequestItems"][NAME])


def test_a_partition_is_read_consistently(table: Table, transport: FakeTransport) -> None:
    """A hold that was set a moment ago must be seen."""
    transport.answer(_items("a", "b"))
    assert list(table.partition("i-1")) == [{"pk": "i-1", "sk": "a"}, {"pk": "i-1", "sk": "b"}]
    assert transport.requests == [
        {
            "Action": "Query",
            "TableName": NAME,
            "ConsistentRead": True,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": "pk"},
            "ExpressionAttributeValues": {":pk": {"S": "i-1"}},
        }
    ]


def test_a_partition_is_read_from_its_end_only_as_far_as_needed(table: Table, transport: FakeTransport) -> None:
    """Later pages then cost nothing."""
    transport.answer(_items("b", following="b"))
    assert next(table.partition("i-1", latest_first=True))["sk"] == "b"
    [request] = transport.requests
    assert request["ScanIndexForward"] is False


def test_an_index_is_read_by_its_own_attribute(table: Table, transport: FakeTransport) -> None:
    """DynamoDB refuses consistent reads of an index."""
    transport.answer(_items("a"))
    assert list(table.index("by-run", "run_id", "run-1")) == [{"pk": "i-1", "sk": "a"}]
    assert transport.requests == [
        {
            "Action": "Query",
            "TableName": NAME,
            "IndexName": "by-run",
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": "run_id"},
            "ExpressionAttributeValues": {":pk": {"S": "run-1"}},
        }
    ]


@pytest.mark.parametrize(
    ("read", "attribute"),
    [
        (lambda table: table.partition("x", since="2026"), "pk"),
        (lambda table: table.index("by-day", "day", "x", since="2026"), "day"),
    ],
)
def test_items_before_a_moment_are_not_read(
    table: Table, transport: FakeTransport, read: Callable[[Table], Any], attribute: str
) -> None:
    """DynamoDB itself leaves them out: items that it reads cost money."""
    transport.answer(_items())
    assert list(read(table)) == []
    (request,) = transport.requests
    assert request["KeyConditionExpression"] == "#pk = :pk AND #sk >= :since"
    assert request["ExpressionAttributeNames"] == {"#pk": attribute, "#sk": "sk"}
    assert request["ExpressionAttributeValues"] == {":pk": {"S": "x"}, ":since": {"S": "2026"}}


def test_a_whole_index_is_scanned_and_not_the_table(table: Table, transport: FakeTransport) -> None:
    """The index has few items, the table has all."""
    transport.answer(_items("a"))
    assert list(table.whole_index("open")) == [{"pk": "i-1", "sk": "a"}]
    assert transport.requests == [{"Action": "Scan", "TableName": NAME, "IndexName": "open"}]


@pytest.mark.parametrize("call", READS)
def test_every_page_is_read_even_an_empty_one(table: Table, transport: FakeTransport, call: str) -> None:
    """DynamoDB ends a page after reading a megabyte, whatever it found there."""
    transport.answer(_items("a", following="p-1"))
    transport.answer(_items(following="p-2"))
    transport.answer(_items("b"))
    assert CALLS[call](table) == [{"pk": "i-1", "sk": "a"}, {"pk": "i-1", "sk": "b"}]
    starts = [request.get("ExclusiveStartKey") for request in transport.requests]
    assert starts == [None, {"pk": {"S": "p-1"}}, {"pk": {"S": "p-2"}}]


def test_a_page_is_requested_only_when_needed(table: Table, transport: FakeTransport) -> None:
    """A reader that stops early pays for no further page."""
    transport.answer(_items("a", following="p-1"))
    assert next(table.whole_index("open"))["sk"] == "a"
    assert len(transport.requests) == 1


def test_values_come_back_as_they_were_written(table: Table, transport: FakeTransport) -> None:
    """Text, numbers and maps; an attribute that is None is left out, and so not in its index either."""
    item = {"pk": "a", "sk": "b", "number": 7, "map": {"x": "y", "n": 1}, "open": None, "empty": ""}
    transport.answer(_taken())
    table.put([item])
    (request,) = _sent(transport.requests[0])
    written = request["PutRequest"]["Item"]
    assert written == {
        "pk": {"S": "a"},
        "sk": {"S": "b"},
        "number": {"N": "7"},
        "map": {"M": {"x": {"S": "y"}, "n": {"N": "1"}}},
        "empty": {"S": ""},
    }
    transport.answer(json.dumps({"Items": [written]}))
    assert list(table.partition("a")) == [{name: value for name, value in item.items() if name != "open"}]


def test_items_are_written_25_at_a_time(table: Table, transport: FakeTransport) -> None:
    """One request accepts no more; the items may come from an iterator."""
    for _ in range(6):
        transport.answer(_taken())
    table.put({"pk": "i-1", "sk": str(number)} for number in range(51))
    table.delete(("i-1", str(number)) for number in range(51))
    puts, deletes = map(_sent, transport.requests[:3]), map(_sent, transport.requests[3:])
    # In parallel, so in any order.
    keys = sorted([each["PutRequest"]["Item"]["sk"]["S"] for each in batch] for batch in puts)
    assert keys == [[str(number) for number in range(*ends)] for ends in ((25,), (25, 50), (50, 51))]
    assert sorted([each["DeleteRequest"]["Key"]["sk"]["S"] for each in batch] for batch in deletes) == keys


@pytest.mark.parametrize("call", [lambda table: table.put([]), lambda table: table.delete([])])
def test_without_items_there_is_no_request(table: Table, transport: FakeTransport, call: Call) -> None:
    """DynamoDB refuses an empty request."""
    call(table)
    assert transport.requests == []


def test_a_key_is_named_once_in_a_request(table: Table, transport: FakeTransport) -> None:
    """DynamoDB would refuse the whole request otherwise. The last item with the key is written."""
    transport.answer(_taken())
    table.put([{"pk": "a", "sk": "b", "n": 1}, {"pk": "a", "sk": "c"}, {"pk": "a", "sk": "b", "n": 2}])
    transport.answer(_taken())
    table.delete([("a", "b"), ("a", "c"), ("a", "b")])
    puts, deletes = map(_sent, transport.requests)
    assert [each["PutRequest"]["Item"] for each in puts] == [
        {"pk": {"S": "a"}, "sk": {"S": "b"}, "n": {"N": "2"}},
        {"pk": {"S": "a"}, "sk": {"S": "c"}},
    ]
    assert [each["DeleteRequest"]["Key"]["sk"]["S"] for each in deletes] == ["b", "c"]


def test_unprocessed_items_are_sent_again_after_a_pause(
    table: Table, transport: FakeTransport, clock: FakeClock
) -> None:
    """Only these items are sent. The pause doubles each time."""
    left = [{"PutRequest": {"Item": {"pk": {"S": "a"}, "sk": {"S": str(number)}}}} for number in range(3)]
    for answer in (_taken(left[1], left[2]), _taken(left[2]), _taken()):
        transport.answer(answer)
    table.put({"pk": "a", "sk": str(number)} for number in range(3))
    assert [_sent(request) for request in transport.requests] == [left, left[1:], left[2:]]
    assert clock.pauses == [0.1, 0.2]


@pytest.mark.parametrize("kind", ["PutRequest", "DeleteRequest"])
def test_a_table_that_keeps_refusing_items_is_throttling(
    table: Table, transport: FakeTransport, clock: FakeClock, kind: str
) -> None:
    """The error comes after five attempts and a second and a half."""
    item = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    left = {kind: {"Item" if kind == "PutRequest" else "Key": item}}
    for _ in range(5):
        transport.answer(_taken(left, left))
    with pytest.raises(AwsError) as raised:
        WRITES["put" if kind == "PutRequest" else "delete"](table)
    assert raised.value.failure == Failure("UnprocessedItems", "DynamoDB did not accept 2 items", Kind.THROTTLED)
    assert clock.pauses == [0.1, 0.2, 0.4, 0.8]


def test_one_refused_batch_of_several_is_an_error(table: Table, transport: FakeTransport) -> None:
    """The caller gets the error, and cannot know which of the others were written."""
    transport.answer(_taken())
    transport.answer(json.dumps({"__type": "com.amazonaws.dynamodb.v20120810#ValidationException"}), 400)
    with pytest.raises(AwsError, match="ValidationException"):
        table.put({"pk": "i-1", "sk": str(number)} for number in range(26))


def test_an_item_replaces_what_was_read(table: Table, transport: FakeTransport) -> None:
    """Every attribute is compared, as any of them may have changed meanwhile."""
    transport.answer("{}")
    old, new = {"pk": "a", "sk": "b", "n": 1}, {"pk": "a", "sk": "b", "n": 2, "none": None}
    assert table.swap(old, new)
    assert transport.requests == [
        {
            "Action": "PutItem",
            "TableName": NAME,
            "Item": {"pk": {"S": "a"}, "sk": {"S": "b"}, "n": {"N": "2"}},
            "ConditionExpression": "#0 = :0 AND #1 = :1 AND #2 = :2",
            "ExpressionAttributeNames": {"#0": "pk", "#1": "sk", "#2": "n"},
            "ExpressionAttributeValues": {":0": {"S": "a"}, ":1": {"S": "b"}, ":2": {"N": "1"}},
        }
    ]


def test_an_item_is_written_where_none_was_read(table: Table, transport: FakeTransport) -> None:
    """The request's condition is that there is still no item."""
    transport.answer("{}")
    assert table.swap(None, {"pk": "a", "sk": "b"})
    assert transport.requests == [
        {
            "Action": "PutItem",
            "TableName": NAME,
            "Item": {"pk": {"S": "a"}, "sk": {"S": "b"}},
            "ConditionExpression": "attribute_not_exists(pk)",
        }
    ]


@pytest.mark.parametrize("old", [None, {"pk": "a", "sk": "b"}])
def test_an_item_does_not_replace_another_one(
    table: Table, transport: FakeTransport, old: dict[str, Any] | None
) -> None:
    """The answer is False, and no error."""
    failed = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
    transport.answer(json.dumps({"__type": failed, "message": "The conditional request failed"}), 400)
    assert not table.swap(old, {"pk": "a", "sk": "b"})


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("code", "kind", "tries"),
    [
        ("AccessDeniedException", Kind.FINAL, 1),
        ("ResourceNotFoundException", Kind.FINAL, 1),
        ("ProvisionedThroughputExceededException", Kind.THROTTLED, 3),
        ("ThrottlingException", Kind.THROTTLED, 3),
    ],
)
@pytest.mark.usefixtures("backoffs")
def test_a_refused_call_is_an_error_with_dynamodbs_code(  # each is a part of the question
    table: Table, transport: FakeTransport, *, call: str, code: str, kind: Kind, tries: int
) -> None:
    """This holds for every kind of call."""
    for _ in range(tries):
        transport.answer(json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no"}), 400)
    with pytest.raises(AwsError, match=f"^{code}: no$") as raised:
        CALLS[call](table)
    assert raised.value.failure.kind is kind
    assert len(transport.requests) == tries


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.usefixtures("backoffs")
def test_an_unanswered_call_may_work_later(table: Table, transport: FakeTransport, call: str) -> None:
    """This holds for every kind of call. Each is tried three times."""
    transport.fail(ReadTimeoutError(endpoint_url="https://dynamodb"), times=3)
    with pytest.raises(AwsError) as raised:
        CALLS[call](table)
    assert raised.value.failure.kind is Kind.UNAVAILABLE


@pytest.mark.parametrize("call", [*READS, "put", "delete"])  # the answer to a swap has no fields
@pytest.mark.parametrize("body", ["{}", '{"Items": [{"pk', "<html>", ""])
def test_a_truncated_answer_is_a_failed_call(table: Table, transport: FakeTransport, call: str, body: str) -> None:
    """It neither means that the table is empty, nor that all items were written."""
    transport.answer(body)
    with pytest.raises(AwsError) as raised:
        CALLS[call](table)
    missing = "Items" if call in READS else "UnprocessedItems"
    assert raised.value.failure == Failure("IncompleteAnswer", f"the answer has no {missing}", Kind.UNAVAILABLE)


def test_items_before_an_error_are_not_lost(table: Table, transport: FakeTransport) -> None:
    """The reader gets them, and then the error: they are not all."""
    transport.answer(_items("a", following="p-1"))
    transport.answer(json.dumps({"__type": "x#AccessDeniedException", "message": "no"}), 400)
    items = table.partition("i-1")
    assert next(items)["sk"] == "a"
    with pytest.raises(AwsError):
        next(items)
