from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imds_enforcer.event_queue import EventQueue
from imds_enforcer.failures import AwsError
from tests.unit.example_events import a_message

if TYPE_CHECKING:
    from tests.unit.fake_transport import FakeTransport

URL = "https://sqs.eu-west-1.amazonaws.com/111122223333/events"


def test_each_message_gets_its_own_delay(transport: FakeTransport) -> None:
    """In one request for ten messages, which is what SQS takes."""
    queue = EventQueue(transport.client("sqs"), URL)
    transport.answer("{}")
    transport.answer("{}")
    queue.deliver_again({a_message("", f"m-{number}"): number for number in range(12)})
    first, second = transport.requests
    assert second == {
        "Action": "ChangeMessageVisibilityBatch",
        "QueueUrl": URL,
        "Entries": [
            {"Id": "0", "ReceiptHandle": "receipt-m-10", "VisibilityTimeout": 10},
            {"Id": "1", "ReceiptHandle": "receipt-m-11", "VisibilityTimeout": 11},
        ],
    }
    assert [entry["VisibilityTimeout"] for entry in first["Entries"]] == list(range(10))
    assert len({entry["Id"] for entry in first["Entries"]}) == 10


def test_no_message_no_request(transport: FakeTransport) -> None:
    """SQS refuses an empty one."""
    EventQueue(transport.client("sqs"), URL).deliver_again({})
    assert transport.requests == []


def test_a_refused_request_is_an_error_with_its_code(transport: FakeTransport) -> None:
    """The caller decides what it means for the batch."""
    transport.answer('{"__type": "com.amazonaws.sqs#AccessDenied", "message": "not you"}', 403)
    with pytest.raises(AwsError, match="AccessDenied: not you"):
        EventQueue(transport.client("sqs"), URL).deliver_again({a_message(""): 5})
