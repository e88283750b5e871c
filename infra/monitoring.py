"""Alarms and the dashboard: what needs an operator, and where to look next."""

from datetime import timedelta

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

NAMESPACE = "ImdsEnforcer"

_SHORT = Duration.minutes(5)
_DAY = Duration.days(1)
_LONGEST_GRACE = timedelta(minutes=15)
_OLD_EVENT = _LONGEST_GRACE + timedelta(minutes=15)
"""A launch may wait in the queue for the policy's `launch_grace_seconds`; that needs no operator."""

CHARTED = (
    "REMEDIATED",
    "PENDING",
    "WOULD_REMEDIATE",
    "HELD",
    "CONTESTED",
    "DEFERRED",
    "GONE",
    "FAILED",
    "REGION_DENIED",
    "LaunchesRefused",
)
"""What the enforcer changed, and what it could not: the many instances that were fine would drown the rest."""


class Alarms(Construct):
    """What needs an operator. Each alarm notifies the topic when it goes off and when it recovers."""

    def __init__(  # noqa: PLR0913 - each is something to watch or to notify
        self,
        scope: Construct,
        construct_id: str,
        *,
        function: lambda_.IFunction,
        queue: sqs.IQueue,
        lost_events: sqs.IQueue,
        lost_invocations: sqs.IQueue,
        topic: sns.ITopic,
        sweep_period: timedelta,
    ) -> None:
        super().__init__(scope, construct_id)
        self._topic = actions.SnsAction(topic)
        period = Duration.minutes(sweep_period // timedelta(minutes=1))
        # Every sweep meets a lasting problem again, and the problem must cause one mail, not one per sweep. So these
        # look at two periods: they go off with the first bad sweep, and recover only after some periods without one.
        for name, metric, meaning in (
            ("FunctionErrors", function.metric_errors(period=period), "The function failed: see its log"),
            ("PolicyInvalid", _total("PolicyInvalid", period), "The policy is invalid: nothing is enforced"),
            (
                "Failed",
                _total("FAILED", period),
                "Instances or account defaults could not be brought in line with the policy",
            ),
            ("RegionFailed", _total("RegionFailed", period), "A sweep could not cover a region"),
            (
                "RegionStopped",
                _total("RegionStopped", period),
                "A run stopped in a region: too many changes failed, or EC2 does not accept the credentials there",
            ),
            (
                "RejectedCalls",
                _total("RejectedCalls", period),
                (
                    "Instances that now require tokens still receive IMDSv1 calls, and reject them: a mail names them "
                    "and the command to revert; `imds-enforcer history` lists recent changes, each with its run"
                ),
            ),
            (
                "LedgerUnavailable",
                _total("LedgerUnavailable", period),
                "The ledger could not be reached: changes are deferred",
            ),
        ):
            self._alarm(name, metric, meaning, periods=2, enough=1)
        self._alarm(
            "NoSweep",
            # FILL, because CloudWatch looks past missing points at older ones, and the alarm would be late.
            cloudwatch.MathExpression(
                expression="FILL(sweeps, 0)",
                using_metrics={"sweeps": _total("SweepCompleted", period)},
                label="completed sweeps",
                period=period,
            ),
            "No sweep completed in two periods of its schedule",
            periods=2,
            below=True,
            # If the metric never had a point, there is nothing to fill.
            missing=cloudwatch.TreatMissingData.BREACHING,
        )
        self._alarm(
            "OldestEvent",
            queue.metric_approximate_age_of_oldest_message(period=_SHORT, statistic="Maximum"),
            "An event has waited in the queue for 30 minutes, 15 more than the longest launch_grace_seconds",
            threshold=_OLD_EVENT // timedelta(seconds=1),
        )
        for name, lost, meaning in (
            ("LostEvents", lost_events, "Events that could not be delivered or processed are in the dead-letter queue"),
            (
                "LostInvocations",
                lost_invocations,
                "Scheduled runs or policy changes did not reach the function, reached it too late, or failed there",
            ),
        ):
            visible = lost.metric_approximate_number_of_messages_visible(period=_SHORT, statistic="Maximum")
            self._alarm(name, visible, meaning)

    def _alarm(  # noqa: PLR0913 - the properties in which the alarms differ
        self,
        construct_id: str,
        metric: cloudwatch.IMetric,
        meaning: str,
        *,
        threshold: float = 1,
        below: bool = False,
        periods: int = 1,
        enough: int | None = None,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        operators = cloudwatch.ComparisonOperator
        alarm = cloudwatch.Alarm(
            self,
            construct_id,
            metric=metric,
            alarm_description=meaning,
            threshold=threshold,
            comparison_operator=operators.LESS_THAN_THRESHOLD
            if below
            else operators.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            evaluation_periods=periods,
            datapoints_to_alarm=enough or periods,
            treat_missing_data=missing,
        )
        alarm.add_alarm_action(self._topic)
        alarm.add_ok_action(self._topic)


class Dashboard(Construct):
    """The fleet's compliance and the enforcer's health."""

    def __init__(self, scope: Construct, construct_id: str, *, function: lambda_.IFunction, queue: sqs.IQueue) -> None:
        super().__init__(scope, construct_id)
        age = queue.metric_approximate_age_of_oldest_message(period=_SHORT, statistic="Maximum")
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            widgets=[
                [
                    _graph("Share of compliant instances, %", _share_compliant(), maximum=100),
                    _graph("Outcomes by region", _outcomes_by_region(), width=16),
                ],
                [
                    _graph("Age of the oldest event, s", age),
                    _graph("Function errors", function.metric_errors(period=_SHORT)),
                    _graph("Function duration, ms", function.metric_duration(period=_SHORT, statistic="p99")),
                ],
            ],
        )


def _graph(
    title: str, metric: cloudwatch.IMetric, *, width: int = 8, maximum: float | None = None
) -> cloudwatch.GraphWidget:
    axis = cloudwatch.YAxisProps(min=0, max=maximum, show_units=False)
    return cloudwatch.GraphWidget(title=title, left=[metric], left_y_axis=axis, width=width)


def _total(name: str, period: Duration) -> cloudwatch.Metric:
    return cloudwatch.Metric(namespace=NAMESPACE, metric_name=name, period=period, statistic="Sum")


def _share_compliant() -> cloudwatch.IMetric:
    return cloudwatch.MathExpression(
        expression="100 * compliant / instances",
        using_metrics={
            "compliant": _total("CompliantInstances", _DAY),
            "instances": _total("Instances", _DAY),
        },
        label="compliant",
        period=_DAY,
    )


def _outcomes_by_region() -> cloudwatch.IMetric:
    names = " OR ".join(f'"{name}"' for name in CHARTED)
    return cloudwatch.MathExpression(
        expression=f"SEARCH('{{{NAMESPACE},Region}} MetricName=({names})', 'Sum', 300)",
        label="${PROP('MetricName')} ${PROP('Dim.Region')}",
        using_metrics={},
        period=_SHORT,
    )
