from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.aws.sqs import EventQueue
from imds_enforcer.model import AwsError, Failure, Kind

if TYPE_CHECKING:
    from tests.fakes.transport import FakeTransport

URL = "https://sqs.eu-west-1.amazonaws.com/111122223333/events"


def test_each_message_gets_its_own_delay(transport: FakeTransport) -> None:
    """One request has ten messages, the most that SQS accepts."""
    queue = EventQueue(transport.client("sqs"), URL)
    transport.answer("{}")
    transport.answer("{}")
    queue.deliver_again({f"receipt-m-{number}": number for number in range(12)})
    first, second = transport.requests
    assert second == {
        "Action": "ChangeMessageVisibilityBatch",
        "QueueUrl": URL,
        "Entries": [
            {"Id": "10", "ReceiptHandle": "receipt-m-10", "VisibilityTimeout": 10},
            {"Id": "11", "ReceiptHandle": "receipt-m-11", "VisibilityTimeout": 11},
        ],
    }
    assert [entry["VisibilityTimeout"] for entry in first["Entries"]] == list(range(10))
    assert len({entry["Id"] for entry in first["Entries"]}) == 10


def test_without_messages_there_is_no_request(transport: FakeTransport) -> None:
    """SQS refuses an empty request."""
    EventQueue(transport.client("sqs"), URL).deliver_again({})
    assert transport.requests == []


def test_a_refused_request_is_an_error_with_its_code(transport: FakeTransport) -> None:
    """The caller decides what it means for the batch."""
    transport.answer('{"__type": "com.amazonaws.sqs#AccessDenied", "message": "not you"}', 403)
    with pytest.raises(AwsError, match=r"^AccessDenied: not you$"):
        EventQueue(transport.client("sqs"), URL).deliver_again({"receipt-m-1": 5})


def test_a_refused_request_does_not_stop_the_next_one(transport: FakeTransport) -> None:
    """The next ten messages still get their delays; the first failure is raised."""
    transport.answer('{"__type": "com.amazonaws.sqs#InvalidAddress", "message": "which one?"}', 400)
    transport.answer("{}")
    transport.answer('{"__type": "com.amazonaws.sqs#AccessDenied", "message": "not you"}', 403)
    with pytest.raises(AwsError, match=r"^InvalidAddress: which one\?$"):
        EventQueue(transport.client("sqs"), URL).deliver_again({f"receipt-m-{n}": n for n in range(25)})
    delays = [[entry["VisibilityTimeout"] for entry in request["Entries"]] for request in transport.requests]
    assert delays == [list(range(10)), list(range(10, 20)), list(range(20, 25))]


@pytest.mark.parametrize(
    ("message", "text"), [({"Message": "not in flight"}, "not in flight"), ({}, "")], ids=["explained", "bare"]
)
def test_messages_that_the_answer_lists_as_failed_are_an_error_too(
    transport: FakeTransport, message: dict[str, str], text: str
) -> None:
    """SQS answers 200 even if it accepted only part of a request."""
    refused = {"Id": "0", "SenderFault": True, "Code": "MessageNotInflight"} | message
    other = {"Id": "1", "SenderFault": True, "Code": "ReceiptHandleIsInvalid", "Message": "which one?"}
    transport.answer(json.dumps({"Successful": [{"Id": "2"}], "Failed": [refused, other]}))
    transport.answer("{}")
    with pytest.raises(AwsError) as raised:
        EventQueue(transport.client("sqs"), URL).deliver_again({f"receipt-m-{n}": 5 for n in range(12)})
    assert raised.value.failure == Failure("MessageNotInflight", text, Kind.FINAL)
    assert len(transport.requests) == 2
