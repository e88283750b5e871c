"""CloudWatch's GetMetricData: each metric by its exact dimensions, with CloudWatch's errors and order."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from ministack.services import cloudwatch, ec2

from infra.local.server.errors import AwsError

Query = dict[str, Any]
Response = tuple[int, dict[str, str], Any]
Handler = Callable[[Any, dict[str, Any], bool, bool], Response]

QUERIES = 500
IDENTIFIER = re.compile(r"[a-z][a-zA-Z0-9_]{0,254}")
PERIODS = (1, 5, 10, 20, 30)
"""The periods below a minute; above, all multiples of a minute are allowed."""


def get_metric_data(original: Handler) -> Handler:
    """GetMetricData in JSON, boto3's protocol; ministack still handles metric math and other protocols."""

    def get(parameters: Any, request: dict[str, Any], is_cbor: bool, is_json: bool) -> Response:  # noqa: FBT001
        queries = request.get("MetricDataQueries", [])
        if not is_json or any("Expression" in query for query in queries):
            return original(parameters, request, is_cbor, is_json)
        try:
            _check(queries)
            start, end = _times(request)
        except AwsError as error:
            refusal: Response = cloudwatch._error(error.code, error.message, error.status, use_json=True)
            return refusal
        newest_first = request.get("ScanBy") != "TimestampAscending"
        results = [
            _result(query, start, end, newest_first=newest_first) for query in queries if query.get("ReturnData", True)
        ]
        answer: Response = cloudwatch._json_ok({"MetricDataResults": results, "Messages": []})
        return answer

    return get


def counting_by_group(original: Callable[..., None]) -> Callable[..., None]:
    """Store a point of one of EC2's metrics by Auto Scaling group too, if its instance is in one.

    As with EC2 itself, the group keeps the point when the instance is gone (EC2 User Guide, "CloudWatch metrics that
    are available for your instances": dimension AutoScalingGroupName, basic monitoring included).
    """

    def store(namespace: str, name: str, dimensions: dict[str, str], *point: Any) -> None:
        original(namespace, name, dimensions, *point)
        if namespace == "AWS/EC2" and [*dimensions] == ["InstanceId"]:
            for tag in ec2._tags.get(dimensions["InstanceId"], []):
                if tag["Key"] == "aws:autoscaling:groupName":
                    original(namespace, name, {"AutoScalingGroupName": tag["Value"]}, *point)

    return store


def install() -> None:
    """Replace the action, store points by group too, and keep all points.

    ministack drops points after two weeks; CloudWatch keeps five-minute points for 63 days.
    """
    cloudwatch._get_metric_data = get_metric_data(cloudwatch._get_metric_data)
    cloudwatch._store_datum = counting_by_group(cloudwatch._store_datum)
    cloudwatch._evict_old_metrics = lambda: None


def _check(queries: list[Query]) -> None:
    if not queries:
        raise _invalid("The parameter MetricDataQueries is required.")
    if len(queries) > QUERIES:
        raise _invalid(f"The collection MetricDataQueries must not have a size greater than {QUERIES}.")
    ids = [query.get("Id", "") for query in queries]
    for wrong in (each for each in ids if not IDENTIFIER.fullmatch(each)):
        raise _invalid(f'The value "{wrong}" for parameter Id is invalid: it begins with a lower-case letter.')
    if len({*ids}) < len(ids):
        raise _invalid("The values for parameter Id must be unique.")
    for query in queries:
        period = query.get("MetricStat", {}).get("Period", 0)
        if period not in PERIODS and (period < 60 or period % 60):  # noqa: PLR2004  # seconds of a minute
            raise _invalid(f"Period is {period}; allowed: 1, 5, 10, 20, 30 and multiples of 60.")
        for each in query["MetricStat"]["Metric"].get("Dimensions", []):
            if not (each["Value"].isascii() and each["Value"].isprintable() and each["Value"].strip()):
                raise _invalid("A dimension value must contain only ASCII characters and no control characters.")


def _times(request: dict[str, Any]) -> tuple[float, float]:
    start, end = (cloudwatch._parse_ts(request.get(name)) for name in ("StartTime", "EndTime"))
    if start is None or end is None or start >= end:
        raise _invalid("The parameter StartTime must be less than the parameter EndTime.")
    return float(start), float(end)


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationError", message)


def _result(query: Query, start: float, end: float, *, newest_first: bool) -> Query:
    stat = query["MetricStat"]
    periods: defaultdict[int, list[Any]] = defaultdict(list)
    for point in _points(stat["Metric"]):
        if start <= point["Timestamp"] < end:
            periods[int(point["Timestamp"] // stat["Period"]) * stat["Period"]].append(point)
    moments = sorted(periods, reverse=newest_first)
    return {
        "Id": query["Id"],
        "Label": query.get("Label", stat["Metric"]["MetricName"]),
        "Timestamps": [datetime.fromtimestamp(moment, UTC).isoformat() for moment in moments],
        "Values": [*_values(stat["Stat"], (periods[moment] for moment in moments))],
        "StatusCode": "Complete",
    }


def _points(metric: dict[str, Any]) -> list[Any]:
    key = cloudwatch._dims_key({each["Name"]: each["Value"] for each in metric.get("Dimensions", [])})
    points: list[Any] = cloudwatch._metrics.get((metric["Namespace"], metric["MetricName"], key), [])
    return points


def _values(statistic: str, periods: Iterable[list[Any]]) -> Iterator[float]:
    for points in periods:
        yield cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points)
