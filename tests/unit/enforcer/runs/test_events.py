from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imds_enforcer.model import Trigger
from imds_enforcer.runs.event_fields import MalformedEventError
from imds_enforcer.runs.events import ForeignEventError, InstanceEvent, parse_event
from tests.fakes import example_events as events
from tests.fakes.clock import START
from tests.fakes.examples import ACCOUNT, HOME, HUGE_NUMBER, OTHER_ACCOUNT, an_id

OWN = {"account": ACCOUNT}
CALLS = "RunInstances, ModifyInstanceMetadataOptions, ModifyInstanceMetadataDefaults"


def _parsed(event: object) -> InstanceEvent:
    parsed = parse_event(json.dumps(event), ACCOUNT)
    assert isinstance(parsed, InstanceEvent)
    return parsed


def _refusal(event: object) -> str:
    with pytest.raises(MalformedEventError) as refused:
        parse_event(event if isinstance(event, str) else json.dumps(event), ACCOUNT)
    return str(refused.value)


def _changed_answer(answer: object) -> dict[str, Any]:
    event = events.launch(an_id())
    event["detail"]["responseElements"] = answer
    return event


def test_an_instance_that_starts_to_run_is_parsed() -> None:
    """EC2 itself sends this event; it needs no trail."""
    assert _parsed(events.running(an_id(5))) == InstanceEvent(Trigger.RUNNING, HOME, START, (an_id(5),))


def test_a_launch_names_each_of_its_instances_once() -> None:
    """However often the record repeats an id."""
    event = _parsed(events.launch(an_id(1), an_id(2), an_id(1)))
    assert event == InstanceEvent(Trigger.LAUNCH, HOME, START, (an_id(1), an_id(2)))


@pytest.mark.parametrize(
    "request_parameters",
    [{"ModifyInstanceMetadataDefaultsRequest": {"HttpTokens": "optional"}}, {"httpTokens": "optional"}, None],
)
def test_a_change_of_the_account_defaults_names_no_instance(request_parameters: object) -> None:
    """Whatever the record says of the request: the enforcer asks EC2."""
    event = events.defaults_change()
    event["detail"] |= {"requestParameters": request_parameters, "userIdentity": {"arn": "arn:ann"}}
    assert _parsed(event) == InstanceEvent(Trigger.DRIFT, HOME, START, (), of_defaults=True, principal="arn:ann")
    del event["detail"]["userIdentity"]
    assert _parsed(event).principal == "an unknown caller"
    assert not _parsed(events.drift()).of_defaults


def test_the_short_ids_of_old_instances_are_ids_too() -> None:
    """Ids from before 2016 have eight digits."""
    assert _parsed(events.running("i-1234abcd")).instance_ids == ("i-1234abcd",)


@pytest.mark.parametrize("managed", [True, "true"])
def test_a_launch_names_no_instance_that_a_service_manages(managed: object) -> None:
    """And does not mean the whole region, as a launch with omitted ids does."""
    theirs = events.managed_launch(an_id(1), an_id(2), operator={"managed": managed, "principal": "eks.amazonaws.com"})
    assert _parsed(theirs) == InstanceEvent(Trigger.LAUNCH, HOME, START, ())
    mixed = events.launch(an_id(3))
    items = mixed["detail"]["responseElements"]["instancesSet"]["items"]
    items[:0] = theirs["detail"]["responseElements"]["instancesSet"]["items"]
    assert _parsed(mixed) == InstanceEvent(Trigger.LAUNCH, HOME, START, (an_id(3),))


@pytest.mark.parametrize(
    "operator",
    [
        {"managed": False},
        {"managed": "false", "principal": "eks.amazonaws.com"},
        {"managed": None},
        {"managed": []},
        {},
        {"principal": "eks.amazonaws.com"},
        None,
        "eks.amazonaws.com",
        True,
    ],
)
def test_a_launch_names_every_other_instance(operator: object) -> None:
    """The enforcer asks EC2 about them, which says whether they are managed."""
    assert _parsed(events.managed_launch(an_id(1), operator=operator)).instance_ids == (an_id(1),)


@pytest.mark.parametrize(
    "request_parameters",
    [
        {"ModifyInstanceMetadataOptionsRequest": {"InstanceId": an_id(), "HttpTokens": "optional"}},
        {"ModifyInstanceMetadataOptionsRequest": {"instanceId": an_id()}},
        {"instanceId": an_id(), "httpTokens": "optional"},
        {"InstanceId": an_id()},
    ],
)
def test_an_options_change_is_understood_nested_and_flat(request_parameters: dict[str, Any]) -> None:
    """CloudTrail writes both forms."""
    event = _parsed(events.options_change(request_parameters))
    assert (event.trigger, event.instance_ids) == (Trigger.DRIFT, (an_id(),))


@pytest.mark.parametrize(
    "answer",
    [
        {"omitted": "true", "originalSize": 104_858},
        {"omitted": True},
        "omitted",
        None,
        {},
        {"instancesSet": None},
        {"instancesSet": {"items": []}},
        {"instancesSet": {"omitted": "true"}},
        {"instancesSet": {}},
    ],
)
def test_a_launch_whose_ids_were_omitted_is_about_its_whole_region(answer: object) -> None:
    """However the record was cut: the launch succeeded."""
    event = _parsed(_changed_answer(answer))
    assert event == InstanceEvent(Trigger.LAUNCH, HOME, START, (), whole_region=True)


def test_a_failed_launch_is_about_nothing() -> None:
    """Neither about instances nor about the region: nothing was launched."""
    event = _changed_answer(None)
    event["detail"]["errorCode"] = "Client.InstanceLimitExceeded"
    assert parse_event(json.dumps(event), ACCOUNT) is None


@pytest.mark.parametrize("items", [None, {"instanceId": an_id()}, "i-1"])
def test_a_launch_with_a_malformed_list_of_instances_is_refused(items: object) -> None:
    """AWS is not known to write it this way."""
    message = _refusal(_changed_answer({"instancesSet": {"items": items}}))
    assert message == f"items is {json.dumps(items)}; allowed: a list"


@pytest.mark.parametrize(
    "instance_id",
    [None, 5, "", "i-", "i-1234567", "i-123456789", "I-1234abcd", "i-1234ABCD", "i-1234abcd\n", " i-1234abcd", ["i"]],
)
def test_a_malformed_id_is_refused(instance_id: Any) -> None:
    """EC2 would refuse a whole request because of it."""
    expected = f"instance id is {json.dumps(instance_id)}; allowed: i- and 8 or 17 hexadecimal digits"
    assert _refusal(events.running(instance_id)) == expected
    assert _refusal(events.launch(an_id(), instance_id)) == expected
    assert _refusal(events.drift(instance_id)) == expected


@pytest.mark.parametrize("account", ["", "11112222333", "1111222233334", "aaaabbbbcccc", "११११२२२२३३३३"])
def test_a_malformed_account_is_refused(account: str) -> None:
    """An account has twelve ASCII digits."""
    assert _refusal(events.running(account=account)) == f"account is {json.dumps(account)}; allowed: 12 digits"


@pytest.mark.parametrize(
    "event",
    [
        events.running(account=OTHER_ACCOUNT),
        events.running("i-1", account=OTHER_ACCOUNT, region="moon"),
        {"account": OTHER_ACCOUNT},
    ],
)
def test_an_event_of_another_account_is_not_parsed_further(event: dict[str, Any]) -> None:
    """Whatever else it says."""
    with pytest.raises(ForeignEventError) as refused:
        _parsed(event)
    assert refused.value.account == OTHER_ACCOUNT


@pytest.mark.parametrize("region", ["", "moon", "eu-west", "eu-west-1a", "EU-WEST-1", "e-w-1", "eu-west-1/x"])
def test_a_malformed_region_is_refused(region: str) -> None:
    """It would become part of a host name."""
    expected = f"region is {json.dumps(region)}; allowed: the name of an AWS region"
    assert _refusal(events.running(region=region)) == expected


@pytest.mark.parametrize("region", ["eu-west-1", "us-gov-east-1", "ap-southeast-12", "cn-north-1", "us-iso-east-1"])
def test_regions_of_every_partition_have_well_formed_names(region: str) -> None:
    """Whether the account has the region is checked later."""
    assert _parsed(events.running(region=region)).region == region


@pytest.mark.parametrize("time", ["", "yesterday", "2026-11-31T12:00:00Z", "12:00:00Z", "1763812800"])
def test_a_malformed_time_is_refused(time: str) -> None:
    """The age of an event decides when an instance counts as gone."""
    expected = f"time is {json.dumps(time)}; allowed: a moment as YYYY-MM-DDThh:mm:ssZ"
    assert _refusal(events.running(time=time)) == expected


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("2026-11-22T12:00:00Z", START),
        ("2026-11-22T12:00:00.250Z", START + timedelta(seconds=0.25)),
        ("2026-11-22T13:00:00+01:00", START),
        ("2026-11-22T12:00:00", START),
    ],
)
def test_a_time_is_a_moment_in_utc_unless_it_says_otherwise(time: str, moment: datetime) -> None:
    """EventBridge writes Z."""
    assert _parsed(events.running(time=time)).time == moment


@pytest.mark.parametrize("name", ["account", "region", "time"])
@pytest.mark.parametrize("value", [None, 5, [], {}])
def test_a_field_that_is_not_text_is_refused(name: str, value: Any) -> None:
    """The error names the field."""
    assert _refusal(events.running(**{name: value})) == f"{name} is {json.dumps(value)}; allowed: text"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("", 'the body is not JSON (Expecting value: line 1 column 1 (char 0)): ""'),
        (
            "{",
            'the body is not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)): "{"',
        ),
        ([], "the body is []; allowed: an EventBridge event"),
        (None, "the body is null; allowed: an EventBridge event"),
        ({}, "account is null; allowed: text"),
        (OWN, "detail is null; allowed: an object"),
        ({**OWN, "detail": "running"}, 'detail is "running"; allowed: an object'),
        (
            {**OWN, "detail": {}},
            "detail-type is null; allowed: EC2 Instance State-change Notification, AWS API Call via CloudTrail",
        ),
        (
            {**OWN, "detail": {}, "detail-type": "AWS API Call via CloudTrail"},
            f"detail.eventName is null; allowed: {CALLS}",
        ),
        (
            {**OWN, "detail": {"eventName": "StopInstances"}, "detail-type": "AWS API Call via CloudTrail"},
            f'detail.eventName is "StopInstances"; allowed: {CALLS}',
        ),
        (
            {**OWN, "detail": {"state": "stopped"}, "detail-type": "EC2 Instance State-change Notification"},
            'detail.state is "stopped"; allowed: running',
        ),
        (events.options_change({}), "instance id is null; allowed: i- and 8 or 17 hexadecimal digits"),
        (
            {
                **OWN,
                "detail": {"eventName": "ModifyInstanceMetadataOptions"},
                "detail-type": "AWS API Call via CloudTrail",
            },
            "requestParameters is null; allowed: an object",
        ),
    ],
)
def test_anything_else_is_refused_with_what_was_received_and_what_is_allowed(event: object, message: str) -> None:
    """An operator who reads the dead-letter queue has nothing but this reason."""
    assert _refusal(event) == message


@pytest.mark.parametrize("body", [HUGE_NUMBER, f'{{"detail": {HUGE_NUMBER}}}'], ids=["alone", "in a field"])
def test_a_number_with_thousands_of_digits_is_refused(body: str) -> None:
    """JSON sets no limit; Python does."""
    assert _refusal(body).startswith("the body is not JSON (Exceeds the limit (4300 digits) for integer string")


@pytest.mark.parametrize("depth", [500, 5_000, 500_000])
def test_a_body_that_is_nested_too_deeply_is_refused(depth: int) -> None:
    """It does not end the process."""
    assert _refusal("[" * depth + "]" * depth).startswith("the body is ")


def test_moments_are_comparable_with_the_clock() -> None:
    """Without a time zone, a moment cannot be compared."""
    assert _parsed(events.running(time="2026-11-22")).time < datetime(2026, 11, 23, tzinfo=UTC)
