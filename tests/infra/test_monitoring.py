import json
from pathlib import Path
from typing import Any

import pytest

from imds_enforcer import policy
from imds_enforcer.model import Outcome
from infra.monitoring import CHARTED
from tests.infra.synthesized import Stack, Synthesize

SCHEMA = Path(policy.__file__).with_name("schema.json")
TOPIC = ["${NotificationsTopic}"]
AT_LEAST = "GreaterThanOrEqualToThreshold"
OURS = {"Namespace": "ImdsEnforcer", "Statistic": "Sum"}
MESSAGES = {"Namespace": "AWS/SQS", "Statistic": "Maximum", "Period": 300}


def queue(name: str) -> list[dict[str, str]]:
    """The dimension of a queue's metrics."""
    return [{"Name": "QueueName", "Value": f"${{{name}.QueueName}}"}]


@pytest.mark.parametrize(
    ("name", "metric", "condition"),
    [
        (
            "AlarmsFunctionErrors",
            {
                "Namespace": "AWS/Lambda",
                "MetricName": "Errors",
                "Dimensions": [{"Name": "FunctionName", "Value": "${EnforcerFunction}"}],
                "Statistic": "Sum",
                "Period": 900,
            },
            (AT_LEAST, 1, "1 of 2", "notBreaching"),
        ),
        (
            "AlarmsPolicyInvalid",
            {**OURS, "MetricName": "PolicyInvalid", "Period": 900},
            (AT_LEAST, 1, "1 of 2", "notBreaching"),
        ),
        ("AlarmsFailed", {**OURS, "MetricName": "FAILED", "Period": 900}, (AT_LEAST, 1, "1 of 2", "notBreaching")),
        (
            "AlarmsRegionFailed",
            {**OURS, "MetricName": "RegionFailed", "Period": 900},
            (AT_LEAST, 1, "1 of 2", "notBreaching"),
        ),
        (
            "AlarmsRegionStopped",
            {**OURS, "MetricName": "RegionStopped", "Period": 900},
            (AT_LEAST, 1, "1 of 2", "notBreaching"),
        ),
        (
            "AlarmsRejectedCalls",
            {**OURS, "MetricName": "RejectedCalls", "Period": 900},
            (AT_LEAST, 1, "1 of 2", "notBreaching"),
        ),
        (
            "AlarmsLedgerUnavailable",
            {**OURS, "MetricName": "LedgerUnavailable", "Period": 900},
            (AT_LEAST, 1, "1 of 2", "notBreaching"),
        ),
        (
            "AlarmsNoSweep",
            {
                "Metrics": [
                    {"Expression": "FILL(sweeps, 0)", "Id": "expr_1", "Label": "completed sweeps", "ReturnData": True},
                    {
                        "Id": "sweeps",
                        "MetricStat": {
                            "Metric": {"Namespace": "ImdsEnforcer", "MetricName": "SweepCompleted"},
                            "Period": 900,
                            "Stat": "Sum",
                        },
                        "ReturnData": False,
                    },
                ]
            },
            ("LessThanThreshold", 1, "2 of 2", "breaching"),
        ),
        (
            "AlarmsOldestEvent",
            {**MESSAGES, "MetricName": "ApproximateAgeOfOldestMessage", "Dimensions": queue("EventsQueue")},
            (AT_LEAST, 1800, "1 of 1", "notBreaching"),
        ),
        (
            "AlarmsLostEvents",
            {**MESSAGES, "MetricName": "ApproximateNumberOfMessagesVisible", "Dimensions": queue("EventsDeadLetters")},
            (AT_LEAST, 1, "1 of 1", "notBreaching"),
        ),
        (
            "AlarmsLostInvocations",
            {
                **MESSAGES,
                "MetricName": "ApproximateNumberOfMessagesVisible",
                "Dimensions": queue("LostInvocationsDeadLetters"),
            },
            (AT_LEAST, 1, "1 of 1", "notBreaching"),
        ),
    ],
)
def test_alarms(home: Stack, name: str, metric: dict[str, Any], condition: tuple[str, float, str, str]) -> None:
    """What each alarm watches, when it goes off, and that it notifies the topic then and when it recovers."""
    alarm = home.properties(name)
    assert alarm.pop("AlarmDescription")
    comparison, threshold, datapoints, missing = condition
    enough, periods = map(int, datapoints.split(" of "))
    if enough < periods:
        assert alarm.pop("DatapointsToAlarm") == enough
    else:
        assert alarm.pop("DatapointsToAlarm", enough) == enough
    assert alarm == {
        **metric,
        "ComparisonOperator": comparison,
        "Threshold": threshold,
        "EvaluationPeriods": periods,
        "TreatMissingData": missing,
        "AlarmActions": TOPIC,
        "OKActions": TOPIC,
    }


def test_the_alarm_on_rejected_calls_says_which_command_lists_the_instances(home: Stack) -> None:
    """The watch only reports: the operator needs instances and run for `imds-enforcer revert`."""
    meaning = home.properties("AlarmsRejectedCalls")["AlarmDescription"]
    assert "`imds-enforcer history` lists recent changes, each with its run" in meaning


def test_an_event_that_waits_for_its_grace_is_not_old(home: Stack) -> None:
    """A launch waits in the queue for that long, and is then processed within minutes."""
    longest = json.loads(SCHEMA.read_text("utf-8"))["properties"]["launch_grace_seconds"]["maximum"]
    assert home.properties("AlarmsOldestEvent")["Threshold"] - longest == 15 * 60


def test_there_are_no_other_alarms(home: Stack) -> None:
    """The test above covers all of them."""
    assert len(home.of_type("AWS::CloudWatch::Alarm")) == 11


def test_alarms_on_sweeps_follow_the_schedule(synthesize: Synthesize) -> None:
    """A problem that every sweep meets again causes one alarm only if the alarm's period is the sweeps'."""
    stack = Stack(synthesize(schedule="rate(6 hours)").get_stack_by_name("ImdsEnforcer").template)
    periods = {
        name: alarm.get("Period") or alarm["Metrics"][1]["MetricStat"]["Period"]
        for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items()
    }
    assert periods == {
        "AlarmsFunctionErrors": 21600,
        "AlarmsPolicyInvalid": 21600,
        "AlarmsFailed": 21600,
        "AlarmsRegionFailed": 21600,
        "AlarmsRegionStopped": 21600,
        "AlarmsRejectedCalls": 21600,
        "AlarmsLedgerUnavailable": 21600,
        "AlarmsNoSweep": 21600,
        "AlarmsOldestEvent": 300,
        "AlarmsLostEvents": 300,
        "AlarmsLostInvocations": 300,
    }


def test_the_dashboard(home: Stack) -> None:
    """Share of compliant instances, outcomes by region, age of the oldest event, errors, duration."""
    (dashboard,) = home.of_type("AWS::CloudWatch::Dashboard").values()
    widgets = {
        widget["properties"]["title"]: widget["properties"]["metrics"]
        for widget in json.loads(dashboard["DashboardBody"])["widgets"]
    }
    assert [*widgets] == [
        "Share of compliant instances, %",
        "Outcomes by region",
        "Age of the oldest event, s",
        "Function errors",
        "Function duration, ms",
    ]
    share = widgets["Share of compliant instances, %"]
    assert share[0][0]["expression"] == "100 * compliant / instances"
    assert {metric[1] for metric in share[1:]} == {"CompliantInstances", "Instances"}
    assert widgets["Outcomes by region"][0][0]["expression"] == (
        'SEARCH(\'{ImdsEnforcer,Region} MetricName=("REMEDIATED" OR "PENDING" OR "WOULD_REMEDIATE" OR "HELD" OR '
        '"CONTESTED" OR "DEFERRED" OR "GONE" OR "FAILED" OR "REGION_DENIED" OR "LaunchesRefused")\', \'Sum\', 300)'
    )


def test_the_dashboard_shows_outcomes_that_exist() -> None:
    """All of them except the three that mean that nothing had to be done."""
    fine = {Outcome.COMPLIANT, Outcome.EXEMPT, Outcome.SKIPPED}
    assert {*CHARTED} == {*map(str, {*Outcome} - fine), "REGION_DENIED", "LaunchesRefused"}
