"""The function's input: a request for a sweep, or a batch from the queue."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imds_enforcer.model import Trigger
from imds_enforcer.model.wording import shown
from imds_enforcer.runs.event_fields import MalformedEventError
from imds_enforcer.runs.events import ForeignEventError, SweepRequest, parse_invocation
from tests.fakes import example_events as events
from tests.fakes.examples import ACCOUNT, HUGE_NUMBER, OTHER_ACCOUNT


@pytest.mark.parametrize(
    ("event", "trigger"),
    [
        ({}, Trigger.MANUAL),
        ({"trigger": "schedule"}, Trigger.SCHEDULE),
        ({"inventory": True}, Trigger.INVENTORY),
        ({"source": "aws.ssm", "account": ACCOUNT}, Trigger.POLICY_CHANGE),
        ({"source": "aws.ssm", "detail-type": "Parameter Store Change", "detail": {}}, Trigger.POLICY_CHANGE),
    ],
)
def test_an_invocation_asks_for_a_sweep(event: dict[str, Any], trigger: Trigger) -> None:
    """Only the daily inventory counts every instance."""
    request = parse_invocation(event, ACCOUNT)
    assert request == SweepRequest(trigger)
    assert isinstance(request, SweepRequest)
    assert request.inventory == (trigger is Trigger.INVENTORY)


def test_a_policy_change_in_another_account_is_foreign() -> None:
    """The other account's parameters have the same names."""
    with pytest.raises(ForeignEventError) as refused:
        parse_invocation({"source": "aws.ssm", "account": OTHER_ACCOUNT}, ACCOUNT)
    assert refused.value.account == OTHER_ACCOUNT


def test_an_invocation_brings_a_batch_from_the_queue() -> None:
    """Each message has its number of deliveries; its body is parsed later, on its own."""
    messages = events.a_message("{", "m-1", receives=1), events.a_message("", "m-2", receives=12)
    assert parse_invocation(events.a_batch(*messages), ACCOUNT) == messages


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "schedule",
        5,
        {"inventory": False},
        {"inventory": 1},
        {"inventory": 1.0},
        {"inventory": "true"},
        {"inventory": True, "x": 1},
        {"trigger": "manual"},
        {"trigger": "schedule", "x": 1},
    ],
)
def test_any_other_input_is_an_error_that_names_it(event: object) -> None:
    """It also names what is allowed."""
    with pytest.raises(MalformedEventError) as refused:
        parse_invocation(event, ACCOUNT)
    assert str(refused.value) == (
        f"the function was invoked with {json.dumps(event)}; allowed: an SQS batch, a Parameter Store Change event, "
        '{}, {"trigger": "schedule"}, {"inventory": true}'
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eventSource": "aws:s3"}, "a record is "),
        ({"attributes": None}, "attributes is null; allowed: an object"),
        ({"attributes": {}}, "ApproximateReceiveCount is null; allowed: text"),
        ({"attributes": {"ApproximateReceiveCount": "-1"}}, 'ApproximateReceiveCount is "-1"; allowed: a number'),
        ({"messageId": None}, "messageId is null; allowed: text"),
        ({"receiptHandle": 5}, "receiptHandle is 5; allowed: text"),
        ({"body": {}}, "body is {}; allowed: text"),
    ],
)
def test_a_record_from_another_service_than_sqs_is_refused(change: dict[str, Any], message: str) -> None:
    """The function was connected to another event source."""
    batch = events.a_batch(events.a_message("{}"))
    batch["Records"][0] |= change
    with pytest.raises(MalformedEventError) as refused:
        parse_invocation(batch, ACCOUNT)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    "receives", ["", "0", "01", "1000000", "1.5", "\u0661", "1\n", pytest.param(HUGE_NUMBER, id="5000 digits")]
)
def test_a_malformed_receive_count_is_refused(receives: str) -> None:
    """The delay of the next delivery depends on it."""
    batch = events.a_batch(events.a_message("{}"))
    batch["Records"][0]["attributes"]["ApproximateReceiveCount"] = receives
    with pytest.raises(MalformedEventError) as refused:
        parse_invocation(batch, ACCOUNT)
    assert str(refused.value) == f"ApproximateReceiveCount is {shown(receives)}; allowed: a number"


def test_a_receive_count_has_up_to_six_digits() -> None:
    """No queue delivers a message more often."""
    message = events.a_message("{}", receives=999_999)
    assert parse_invocation(events.a_batch(message), ACCOUNT) == (message,)


@pytest.mark.parametrize("records", [None, {}, "Records"])
def test_records_that_are_not_a_list_are_refused(records: object) -> None:
    """The error names the field."""
    with pytest.raises(MalformedEventError, match=r"^Records is .*; allowed: a list$"):
        parse_invocation({"Records": records}, ACCOUNT)
