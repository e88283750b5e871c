"""CloudWatch: log lines in embedded metric format become metrics, and alarms evaluate them."""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import cloudwatch, cloudwatch_logs, sqs
from ministack.services.cloudformation import provisioners

log = logging.getLogger(__name__)

Alarm = dict[str, Any]
FILL_WITH_NOUGHT = re.compile(r"FILL\((?P<metric>\w+), 0\)")
TICK_SECONDS = 1.0
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


def keeping_metrics(original: Callable[..., None]) -> Callable[..., None]:
    """Store log events, and the metrics in them."""

    def append(stream: Any, log_events: list[dict[str, Any]]) -> None:
        original(stream, log_events)
        for event in log_events:
            if '"_aws"' in event["message"]:
                for namespace, name, dimensions, point in embedded_metrics(event["message"]):
                    _store(namespace, name, dimensions, point)

    return append


def embedded_metrics(line: str) -> Iterator[tuple[str, str, dict[str, str], dict[str, Any]]]:
    """The metrics of a log line: each name once for every set of dimensions, the empty one included."""
    try:
        record = json.loads(line)
        metadata = record["_aws"]
    except (ValueError, KeyError, TypeError):
        return
    for directive in metadata.get("CloudWatchMetrics", []):
        for names in directive.get("Dimensions") or [[]]:
            dimensions = {name: str(record[name]) for name in names}
            for metric in directive["Metrics"]:
                values = record[metric["Name"]]
                point = {"Unit": metric.get("Unit", "None"), "Timestamp": metadata["Timestamp"] / 1000}
                for value in values if isinstance(values, list) else [values]:
                    yield directive["Namespace"], metric["Name"], dimensions, {**point, "Value": float(value)}


class ExactDimensions(dict[str, str]):
    """Dimensions of a query. To ministack, none means any; to CloudWatch, the metric without dimensions."""

    def __bool__(self) -> bool:
        """True, even when empty."""
        return True


def evaluate(alarm: Alarm) -> None:
    """Set an alarm's state by its metric's latest periods."""
    breaching = list(_breaches(alarm))
    wanted = int(alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"])
    if all(breach is None for breach in breaching):
        state, reason = "INSUFFICIENT_DATA", "No data for the evaluated periods"
    else:
        count = sum(breach is True for breach in breaching)
        state = "ALARM" if count >= wanted else "OK"
        reason = f"{count} of {len(breaching)} periods breach {alarm['ComparisonOperator']} {alarm['Threshold']}"
    before = alarm["StateValue"]
    if state != before:
        alarm |= {"StateValue": state, "StateReason": reason, "StateUpdatedTimestamp": int(time.time())}
        cloudwatch._record_history(alarm["AlarmName"], before, state, reason)
        cloudwatch._dispatch_alarm_actions(alarm, before, state, reason)
        cloudwatch._evaluate_parent_alarms(alarm)


def without_fill(original: Callable[[str, Alarm], Alarm]) -> Callable[[str, Alarm], Alarm]:
    """Turn a template's alarm on FILL(metric, 0), which ministack rejects, into one on the metric itself.

    A missing point counts like zero, so the two alarms are the same.
    """

    def record(name: str, properties: Alarm) -> Alarm:
        by_id = {each["Id"]: each for each in properties.get("Metrics", [])}
        for each in by_id.values():
            if filled := FILL_WITH_NOUGHT.fullmatch(each.get("Expression", "")):
                stat = by_id[filled["metric"]]["MetricStat"]
                breaches = COMPARISONS[properties["ComparisonOperator"]](0, float(properties["Threshold"]))
                plain = {key: value for key, value in properties.items() if key != "Metrics"}
                plain |= stat["Metric"] | {"Period": stat["Period"], "Statistic": stat["Stat"]}
                return original(name, plain | {"TreatMissingData": "breaching" if breaches else "notBreaching"})
        return original(name, properties)

    return record


def install() -> None:
    """Take metrics from logs, and evaluate the alarms once a second."""
    provisioners._cw_metric_alarm_record = without_fill(provisioners._cw_metric_alarm_record)
    cloudwatch_logs._append_log_events = keeping_metrics(cloudwatch_logs._append_log_events)
    dimensions_from_list = cloudwatch._dims_from_list
    cloudwatch._dims_from_list = lambda listed: ExactDimensions(dimensions_from_list(listed))
    cloudwatch._evaluate_alarm = evaluate
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(TICK_SECONDS)  # the alarms' clock: no event says that a period has ended
        for (account, region, name), alarm in list(cloudwatch._alarms._data.items()):
            with request_scope(account, region):
                try:
                    if alarm["Namespace"] == "AWS/SQS":
                        _sample_queue(alarm)
                    evaluate(alarm)
                except (KeyError, ValueError):
                    log.exception("alarm %s", name)


def _breaches(alarm: Alarm) -> Iterator[bool | None]:
    """Whether each period breaches, latest first; None if it has no data and missing data do not count."""
    dimensions = {each["Name"]: each["Value"] for each in alarm.get("Dimensions", [])}
    points = cloudwatch._metrics.get((alarm["Namespace"], alarm["MetricName"], cloudwatch._dims_key(dimensions)), [])
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average")
    missing = {"breaching": True, "notBreaching": False}.get(alarm.get("TreatMissingData", "missing"))
    now, period = time.time(), alarm["Period"]
    for number in range(alarm["EvaluationPeriods"]):
        end = now - number * period
        inside = [point for point in points if end - period < point["Timestamp"] <= end]
        if inside:
            value = cloudwatch._stat_value(cloudwatch._calc_stats(inside), statistic, inside)
            yield COMPARISONS[alarm["ComparisonOperator"]](value, alarm["Threshold"])
        else:
            yield missing


def _sample_queue(alarm: Alarm) -> None:
    """Record the two AWS/SQS metrics that alarms use: one point a minute, the minute's highest value."""
    names = {each["Name"]: each["Value"] for each in alarm.get("Dimensions", [])}
    queue = sqs._queues.get(sqs._queue_url(names.get("QueueName", "")))
    if queue is None:
        return
    now = time.time()
    waiting = [message for message in queue["messages"] if message["visible_at"] <= now]
    oldest = min((message["sent_at"] for message in queue["messages"]), default=now)
    values = {"ApproximateNumberOfMessagesVisible": len(waiting), "ApproximateAgeOfOldestMessage": now - oldest}
    if alarm["MetricName"] in values:
        _keep_highest("AWS/SQS", alarm["MetricName"], names, values[alarm["MetricName"]], now)


def _keep_highest(namespace: str, name: str, dimensions: dict[str, str], value: float, now: float) -> None:
    points = cloudwatch._metric_bucket((namespace, name, cloudwatch._dims_key(dimensions)))
    if points and now // 60 == points[-1]["Timestamp"] // 60:
        points[-1]["Value"] = max(points[-1]["Value"], value)
    else:
        _store(namespace, name, dimensions, {"Timestamp": now, "Value": value, "Unit": "None"})


def _store(namespace: str, name: str, dimensions: dict[str, str], point: dict[str, Any]) -> None:
    bucket = cloudwatch._metric_bucket((namespace, name, cloudwatch._dims_key(dimensions)))
    bucket.append({**point, "Dimensions": dimensions})
