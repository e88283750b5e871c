"""The deployed stack for the operator's command: the few calls that it makes to each service."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from imds_enforcer.aws.cloudwatch import MAX_POINTS
from tests.fakes.clock import START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.clients import FakeClients

OUTPUTS = {
    "FunctionName": "enforcer",
    "EventQueueUrl": "https://sqs/events",
    "DeadLetterQueueUrl": "https://sqs/lost",
    "LostInvocationsQueueUrl": "https://sqs/invocations",
    "NotificationTopicArn": "arn:aws:sns:eu-west-1:111122223333:topic",
    "LogGroupName": "logs",
    "LedgerTableName": "ledger",
    "Version": "0.1.0",
}
RUN = "11111111-2222-3333-4444-555555555555"


def refusal(code: str, message: str = "no") -> ClientError:
    """A service's refusal, as boto3 raises it."""
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {}}, "Call")  # type: ignore[typeddict-item]  # the part that is read


class FakePaginator:
    """Every page of a call, one for each item."""

    def __init__(self, pages: Callable[..., Iterator[dict[str, Any]]]) -> None:
        self.paginate = pages


class FakeLog:
    """The function's log: `write` adds lines to one stream, JSON or not."""

    def __init__(self) -> None:
        self.lines: list[tuple[datetime, str, str]] = []
        self.requests = 0

    def write(self, *lines: dict[str, Any] | str, at: datetime = START, stream: str = "first") -> None:
        """Log lines, by default at the start of the test."""
        self.lines += [(at, line if isinstance(line, str) else json.dumps(line), stream) for line in lines]

    def get_paginator(self, name: str) -> FakePaginator:
        """The paginator of FilterLogEvents, which understands quoted phrases here."""
        assert name == "filter_log_events"
        return FakePaginator(self._pages)

    def _pages(self, **request: Any) -> Iterator[dict[str, Any]]:
        self.requests += 1
        assert request["logGroupName"] == OUTPUTS["LogGroupName"]
        phrases = [each for each in request.get("filterPattern", "").split('"') if each.strip()]
        start, end, streams = request["startTime"], request.get("endTime", float("inf")), request.get("logStreamNames")
        for at, line, stream in self.lines:
            milliseconds = int(at.timestamp() * 1000)
            named = streams is None or stream in streams
            if named and start <= milliseconds <= end and all(phrase in line for phrase in phrases):
                yield {"events": [{"message": line, "logStreamName": stream, "timestamp": milliseconds}]}


class FakeQueues:
    """SQS with the event queue, its dead-letter queue and the lost invocations.

    `earlier` are the moves before the test's own, `later` those after it. Each listing shows the move in the next of
    `states`; None leaves it out. SQS refuses to start a move with `refused`, if it is set.
    """

    def __init__(self) -> None:
        self.depth = {"events": 0, "lost": 0, "invocations": 0}
        self.earlier: list[dict[str, Any]] = []
        self.later: list[dict[str, Any]] = []
        self.states: list[dict[str, Any] | None] = []
        self.refused: ClientError | None = None
        self.moves: list[dict[str, str]] = []

    def get_queue_attributes(self, **request: Any) -> dict[str, Any]:
        """Its ARN and depth."""
        name = request["QueueUrl"].rpartition("/")[2]
        known = {"QueueArn": f"arn:{name}", "ApproximateNumberOfMessages": str(self.depth[name])}
        return {"Attributes": {each: known.get(each, "0") for each in request["AttributeNames"]}}

    def start_message_move_task(self, **request: str) -> None:
        """Start a move."""
        self.moves.append(request)
        if self.refused:
            raise self.refused

    def list_message_move_tasks(self, **request: Any) -> dict[str, Any]:
        """The state of all moves; a move that the command did not start goes on by itself."""
        assert request == {"SourceArn": "arn:lost", "MaxResults": 10}
        states = [self.states.pop(0)] if self.moves else []
        return {"Results": [*(self.later if self.moves else ()), *filter(None, states), *self.earlier]}


class FakeWatch:
    """CloudWatch: the times of completed sweeps and of each outcome, and the alarms that are raised."""

    def __init__(self) -> None:
        self.sweeps: list[datetime] = []
        self.outcomes: dict[str, list[datetime]] = {}
        self.alarms: list[dict[str, Any]] = []
        self.error: ClientError | None = None

    def raise_alarm(self, meaning: str, reason: str) -> None:
        """Raise an alarm."""
        name = f"ImdsEnforcer-Alarms{len(self.alarms)}"
        fields = {"AlarmName": name, "AlarmDescription": meaning, "StateReason": reason}
        self.alarms.append({**fields, "StateUpdatedTimestamp": START})

    def get_paginator(self, name: str) -> FakePaginator:
        """The paginator of either read."""
        return FakePaginator({"get_metric_data": self._metric, "describe_alarms": self._raised}[name])

    def _metric(self, **request: Any) -> Iterator[dict[str, Any]]:
        if self.error:
            raise self.error
        start, end, queries = request["StartTime"], request["EndTime"], request["MetricDataQueries"]
        assert end - start < timedelta(days=15), "CloudWatch keeps one-minute points for a shorter time"
        assert len(queries) * (end - start) / timedelta(minutes=1) <= MAX_POINTS
        yield {"MetricDataResults": [{"Id": query["Id"], "Timestamps": []} for query in queries]}
        for query in queries:
            metric = query["MetricStat"].pop("Metric")
            assert query["MetricStat"] == {"Period": 60, "Stat": "Sum"}
            assert metric.pop("Namespace") == "ImdsEnforcer"
            moments = {"SweepCompleted": self.sweeps, **self.outcomes}.get(metric.pop("MetricName"), [])
            assert metric == {}
            seen = [moment for moment in moments if start <= moment <= end]
            yield {"MetricDataResults": [{"Id": query["Id"], "Timestamps": seen}]}

    def _raised(self, **request: Any) -> Iterator[dict[str, Any]]:
        assert request == {"AlarmNamePrefix": "ImdsEnforcer-", "StateValue": "ALARM"}
        for alarm in self.alarms:
            yield {"MetricAlarms": [alarm]}


class FakeCloudFormation:
    """CloudFormation of another region: it shows one stack, or refuses."""

    def __init__(self, code: str | None, stack: str = "ImdsEnforcer") -> None:
        self.code, self.stack = code, stack

    def describe_stacks(self, **request: str) -> dict[str, Any]:
        """The stack."""
        if self.code:
            raise refusal(self.code)
        if request["StackName"] != self.stack:
            raise refusal("ValidationError")
        return {"Stacks": [{"StackName": self.stack}]}


class FakeStack:
    """The client of each service by name, and the fakes that a test controls."""

    def __init__(self, clients: FakeClients) -> None:
        self.ssm = clients.ssm
        self.log, self.queues, self.watch = FakeLog(), FakeQueues(), FakeWatch()
        self.invocations: list[dict[str, Any]] = []
        self.elsewhere = FakeCloudFormation("ValidationError")
        self.role = "arn:aws:iam::111122223333:role/imds-enforcer"
        self.stack: dict[str, Any] = {"StackStatus": "UPDATE_COMPLETE", "CreationTime": START, "LastUpdatedTime": START}

    def client(self, service: str, region: str | None) -> Any:
        """The client of a service in the home region, and CloudFormation's of any other."""
        if region:
            assert service == "cloudformation"
            return self.elsewhere
        by_name = {"ssm": self.ssm, "logs": self.log, "sqs": self.queues, "cloudwatch": self.watch}
        return by_name.get(service, self)

    def describe_stacks(self, **request: str) -> dict[str, Any]:
        """Describe the stack, as CloudFormation does."""
        assert request == {"StackName": "ImdsEnforcer"}
        return {"Stacks": [self.stack]}

    def invoke(self, **request: Any) -> dict[str, Any]:
        """Accept an asynchronous invocation, as Lambda does; the answer has only its id."""
        self.invocations.append(request)
        return {"ResponseMetadata": {"RequestId": RUN}}

    def get_function_configuration(self, **request: str) -> dict[str, Any]:
        """Describe the function, as Lambda does."""
        assert request == {"FunctionName": OUTPUTS["FunctionName"]}
        return {"Role": self.role}
