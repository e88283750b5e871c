from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber

from imds_enforcer.aws.cloudwatch import MAX_METRICS, CallMetrics, Points, most_at_once
from imds_enforcer.decision.legacy_calls import CALLS_OF_GROUP, CALLS_SERVED
from imds_enforcer.model import AwsError, Failure, Kind
from tests.fakes.clock import START
from tests.fakes.examples import an_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.transport import FakeTransport

BEGIN = START - timedelta(days=14)


def _day(day: int) -> datetime:
    return datetime(2026, 11, day, tzinfo=UTC)


@pytest.fixture
def client(transport: FakeTransport) -> Any:
    """A client of CloudWatch on a fake network."""
    return transport.client("cloudwatch")


@pytest.fixture
def answers(client: Any) -> Iterator[Stubber]:
    """CloudWatch's answers: its protocol is not text, so they replace what the client parsed."""
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def _result(number: int, *points: tuple[datetime, float], status: str = "Complete") -> dict[str, Any]:
    return {
        "Id": f"m{number}",
        "Timestamps": [moment for moment, _ in points],
        "Values": [value for _, value in points],
        "StatusCode": status,
    }


def _query(number: int) -> dict[str, Any]:
    metric = {
        "Namespace": "AWS/EC2",
        "MetricName": "MetadataNoToken",
        "Dimensions": [{"Name": "InstanceId", "Value": an_id(number)}],
    }
    return {"Id": f"m{number}", "MetricStat": {"Metric": metric, "Period": 86_400, "Stat": "Sum"}}


def _asked(count: int, **more: str) -> dict[str, Any]:
    """The request about the first instances, this many, as boto3 got it."""
    return {"MetricDataQueries": [_query(n) for n in range(count)], "StartTime": BEGIN, "EndTime": START} | more


def _points(client: Any, count: int) -> Points:
    ids = [an_id(number) for number in range(count)]
    return CallMetrics(client).points(CALLS_SERVED, ids, start=BEGIN, end=START, period=86_400)


def test_the_sums_of_each_instance_come_from_one_request(client: Any, answers: Stubber) -> None:
    """In whatever order; an instance without data is missing or has no points."""
    answers.add_response(
        "get_metric_data",
        {"MetricDataResults": [_result(2), _result(1, (_day(9), 3.0)), _result(0, (_day(10), 2.0), (_day(9), 0.0))]},
        _asked(3),
    )
    assert {each: points for each, points in _points(client, 3).items() if points} == {
        an_id(0): [(_day(10), 2.0), (_day(9), 0.0)],
        an_id(1): [(_day(9), 3.0)],
    }


def test_a_request_may_be_about_500_instances(client: Any, answers: Stubber) -> None:
    """Each has its own name in the request."""
    assert MAX_METRICS == 500
    answers.add_response("get_metric_data", {"MetricDataResults": [_result(n) for n in range(500)]}, _asked(500))
    assert not any(_points(client, 500).values())


def test_both_metrics_of_a_group_are_asked_for_in_one_request(client: Any, answers: Stubber) -> None:
    """The points of both are the group's."""
    names = ("web/blue [1] a", "batch")
    queries = [
        {
            "Id": f"m{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/EC2",
                    "MetricName": metric,
                    "Dimensions": [{"Name": "AutoScalingGroupName", "Value": name}],
                },
                "Period": 86_400,
                "Stat": "Sum",
            },
        }
        for number, (name, metric) in enumerate(product(names, ("MetadataNoToken", "MetadataNoTokenRejected")))
    ]
    answers.add_response(
        "get_metric_data",
        {"MetricDataResults": [_result(1, (_day(9), 3.0)), _result(0, (_day(9), 2.0)), _result(2), _result(3)]},
        {"MetricDataQueries": queries, "StartTime": BEGIN, "EndTime": START},
    )
    points = CallMetrics(client).points(CALLS_OF_GROUP, names, start=BEGIN, end=START, period=86_400)
    assert points == {names[0]: [(_day(9), 3.0), (_day(9), 2.0)], names[1]: []}


def test_a_group_without_one_of_its_metrics_has_no_complete_answer(client: Any, answers: Stubber) -> None:
    """The other metric alone does not have all its calls."""
    answers.add_response("get_metric_data", {"MetricDataResults": [_result(0, (_day(9), 0.0))]})
    with pytest.raises(AwsError, match="no complete answer for 1 of 2 metrics"):
        CallMetrics(client).points(CALLS_OF_GROUP, ["web"], start=BEGIN, end=START, period=86_400)


@pytest.mark.parametrize(("days", "instances", "groups"), [(14, 500, 250), (455, 220, 110)])
def test_a_request_is_as_large_as_cloudwatch_allows(days: int, instances: int, groups: int) -> None:
    """A group counts twice."""
    span = (START - timedelta(days=days), START, timedelta(days=1))
    assert (most_at_once(CALLS_SERVED, *span), most_at_once(CALLS_OF_GROUP, *span)) == (instances, groups)


def test_the_points_of_one_instance_may_be_spread_over_pages(client: Any, answers: Stubber) -> None:
    """The last page with the instance says that its data is complete."""
    pages = [
        [_result(0, (_day(11), 1.0), status="PartialData"), _result(1, (_day(11), 5.0))],
        [_result(0, (_day(10), 2.0), status="PartialData")],
        [_result(0, (_day(9), 4.0))],
    ]
    for number, results in enumerate(pages):
        more = {"NextToken": f"t-{number}"} if number else {}
        following = {"NextToken": f"t-{number + 1}"} if number < 2 else {}
        answers.add_response("get_metric_data", {"MetricDataResults": results} | following, _asked(2, **more))
    assert _points(client, 2) == {
        an_id(0): [(_day(11), 1.0), (_day(10), 2.0), (_day(9), 4.0)],
        an_id(1): [(_day(11), 5.0)],
    }


@pytest.mark.parametrize(
    ("results", "missing"),
    [
        ([_result(0)], 1),
        ([], 2),
        ([_result(0), _result(1, (_day(9), 1.0), status="PartialData")], 1),
        ([_result(0, status="InternalError"), _result(1, status="Forbidden")], 2),
    ],
)
def test_an_incomplete_answer_is_a_failed_call(
    client: Any, answers: Stubber, results: list[dict[str, Any]], missing: int
) -> None:
    """Otherwise an instance with unknown calls would count as one without calls."""
    answers.add_response("get_metric_data", {"MetricDataResults": results})
    with pytest.raises(AwsError) as raised:
        _points(client, 2)
    message = f"no complete answer for {missing} of 2 metrics"
    assert raised.value.failure == Failure("IncompleteAnswer", message, Kind.UNAVAILABLE)


def test_an_answer_without_results_is_a_failed_call(client: Any, answers: Stubber) -> None:
    """CloudWatch writes an empty list if it has no results."""
    answers.add_response("get_metric_data", {})
    with pytest.raises(AwsError) as raised:
        _points(client, 1)
    assert raised.value.failure == Failure("IncompleteAnswer", "the answer has no MetricDataResults", Kind.UNAVAILABLE)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AccessDenied", 403, Kind.FINAL),
        ("Throttling", 400, Kind.THROTTLED),
        ("InternalServiceFault", 500, Kind.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("pages", [0, 1])
def test_a_refused_call_is_an_error_with_cloudwatchs_code(  # each is a part of the question
    client: Any, answers: Stubber, *, pages: int, code: str, status: int, kind: Kind
) -> None:
    """On any page; the pages before it do not count as the whole answer."""
    for _ in range(pages):
        answers.add_response("get_metric_data", {"MetricDataResults": [_result(0)], "NextToken": "t-1"})
    answers.add_client_error("get_metric_data", code, "no", status)
    with pytest.raises(AwsError, match=f"^{code}: no$") as raised:
        _points(client, 1)
    assert raised.value.failure.kind is kind


@pytest.mark.usefixtures("backoffs")
def test_an_unanswered_call_may_work_later(client: Any, transport: FakeTransport) -> None:
    """After three attempts."""
    transport.fail(ReadTimeoutError(endpoint_url="https://monitoring"), times=3)
    with pytest.raises(AwsError) as raised:
        _points(client, 1)
    assert raised.value.failure.kind is Kind.UNAVAILABLE
    assert [request["Action"] for request in transport.requests] == ["GetMetricData"] * 3
