"""CloudWatch of one region: how often instances were called without a token."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

from imds_enforcer.aws.boto import aws_errors, expected
from imds_enforcer.model import AwsError, Failure, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

Points = dict[str, list[tuple[datetime, float]]]
"""By instance: the beginnings of periods, and what was counted in each."""

MAX_METRICS = 500
"""Metrics that one GetMetricData request may ask for (CloudWatch API Reference)."""

MAX_POINTS = 100_800
"""Points that one GetMetricData answer has at most (CloudWatch API Reference)."""


class CallMetrics:
    """EC2's metrics of calls without a token."""

    def __init__(self, client: CloudWatchClient) -> None:
        self._client = client

    def points(
        self, metric: str, instance_ids: Sequence[str], *, start: datetime, end: datetime, period: int
    ) -> Points:
        """The sums of each instance by period (seconds), with the beginning of the period; `MAX_METRICS` at most.

        Raises:
            AwsError: if CloudWatch did not answer for all of them.
        """
        queries = [_query(f"m{number}", metric, each, period) for number, each in enumerate(instance_ids)]
        found: Points = defaultdict(list)
        status: dict[str, str] = {}
        paginator = self._client.get_paginator("get_metric_data")
        with aws_errors():
            for page in paginator.paginate(MetricDataQueries=queries, StartTime=start, EndTime=end):
                for result in expected(page, "MetricDataResults"):
                    # One metric may be spread over several pages; the last one says how it ended.
                    status[result["Id"]] = result.get("StatusCode", "Complete")
                    instance_id = instance_ids[int(result["Id"].removeprefix("m"))]
                    found[instance_id] += zip(result["Timestamps"], result["Values"], strict=True)
        unfinished = [number for number in range(len(queries)) if status.get(f"m{number}") != "Complete"]
        if unfinished:
            message = f"no complete answer for {len(unfinished)} of {len(queries)} instances"
            raise AwsError(Failure("IncompleteAnswer", message, Kind.UNAVAILABLE))
        return dict(found)


def _query(query_id: str, metric: str, instance_id: str, period: int) -> MetricDataQueryTypeDef:
    return {
        "Id": query_id,
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/EC2",
                "MetricName": metric,
                "Dimensions": [{"Name": "InstanceId", "Value": instance_id}],
            },
            "Period": period,
            "Stat": "Sum",
        },
    }
