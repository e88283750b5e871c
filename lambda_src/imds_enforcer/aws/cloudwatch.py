"""CloudWatch of one region: the calls without a token of instances, or of an Auto Scaling group's instances."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

from imds_enforcer.aws.boto import aws_errors, expected
from imds_enforcer.model import AwsError, Failure, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

    from imds_enforcer.decision.legacy_calls import Counted

Points = dict[str, list[tuple[datetime, float]]]
"""By instance or group: the start of each period, and the count in it."""

MAX_METRICS = 500
"""Metrics that one GetMetricData request may ask for (CloudWatch API Reference)."""

MAX_POINTS = 100_800
"""The most points that one GetMetricData answer has (CloudWatch API Reference)."""


def most_at_once(counted: Counted, start: datetime, end: datetime, period: timedelta) -> int:
    """The number of instances or groups that one request may ask about."""
    periods = (end - start) // period + 2
    return min(MAX_METRICS, MAX_POINTS // periods) // len(counted.metrics)


class CallMetrics:
    """EC2's metrics of calls without a token."""

    def __init__(self, client: CloudWatchClient) -> None:
        self._client = client

    def points(self, counted: Counted, names: Sequence[str], *, start: datetime, end: datetime, period: int) -> Points:
        """The sums of each instance or group by period (in seconds), with the start of the period.

        Each counted metric has its own points; a call asks for at most `MAX_METRICS` metrics.

        Raises:
            AwsError: if CloudWatch did not answer for all of them.
        """
        metrics = [(name, metric) for name in names for metric in counted.metrics]
        queries = [
            _query(f"m{number}", metric, counted.dimension, name, period)
            for number, (name, metric) in enumerate(metrics)
        ]
        found: Points = defaultdict(list)
        status: dict[str, str] = {}
        paginator = self._client.get_paginator("get_metric_data")
        with aws_errors():
            for page in paginator.paginate(MetricDataQueries=queries, StartTime=start, EndTime=end):
                for result in expected(page, "MetricDataResults"):
                    # One metric may be spread over several pages; the last one says how it ended.
                    status[result["Id"]] = result.get("StatusCode", "Complete")
                    name, _ = metrics[int(result["Id"].removeprefix("m"))]
                    found[name] += zip(result["Timestamps"], result["Values"], strict=True)
        unfinished = [number for number in range(len(queries)) if status.get(f"m{number}") != "Complete"]
        if unfinished:
            message = f"no complete answer for {len(unfinished)} of {len(queries)} metrics"
            raise AwsError(Failure("IncompleteAnswer", message, Kind.UNAVAILABLE))
        return dict(found)


def _query(query_id: str, metric: str, dimension: str, value: str, period: int) -> MetricDataQueryTypeDef:
    return {
        "Id": query_id,
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/EC2",
                "MetricName": metric,
                "Dimensions": [{"Name": dimension, "Value": value}],
            },
            "Period": period,
            "Stat": "Sum",
        },
    }
