"""CloudWatch of one region: how often instances, or those of an Auto Scaling group, were called without a token."""

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
"""By instance or group: the beginnings of periods, and what was counted in each."""

MAX_METRICS = 500
"""Metrics that one GetMetricData request may ask for (CloudWatch API Reference)."""

MAX_POINTS = 100_800
"""Points that one GetMetricData answer has at most (CloudWatch API Reference)."""


def most_at_once(counted: Counted, start: datetime, end: datetime, period: timedelta) -> int:
    """About how many instances or groups one request may ask."""
    periods = (end - start) // period + 2
    return min(MAX_METRICS, MAX_POINTS // periods) // len(counted.metrics)


class CallMetrics:
    """EC2's metrics of calls without a token."""

    def __init__(self, client: CloudWatchClient) -> None:
        self._client = client

    def points(self, counted: Counted, names: Sequence[str], *, start: datetime, end: datetime, period: int) -> Points:
        """The sums of each instance or group by period (seconds), with the beginning of the period.

        Each metric that is counted has its own points; `MAX_METRICS` of them at most.

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
