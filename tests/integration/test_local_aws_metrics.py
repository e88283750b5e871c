import json
from typing import Any

from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.integration.local_resources import Queue, function

EMBEDDED: dict[str, Any] = {
    "_aws": {
        "Timestamp": 0,
        "CloudWatchMetrics": [
            {
                "Namespace": "Own",
                "Dimensions": [[], ["Region"]],
                "Metrics": [{"Name": "FAILED", "Unit": "Count"}],
            }
        ],
    },
    "Region": "eu-west-1",
    "FAILED": [3],
}


def _log_line(aws: LocalAws) -> None:
    """Write the line to a log through a function's print."""
    source = f"""
        import json, time

        def handler(event, context):
            line = {json.dumps(EMBEDDED)}
            line["_aws"]["Timestamp"] = int(time.time() * 1000)
            print(json.dumps(line))
    """
    function(aws, "printer", source)
    aws.client("lambda").invoke(FunctionName="printer")


def _total(aws: LocalAws, namespace: str, name: str, **dimensions: str) -> float:
    """The sum of a metric."""
    answer = aws.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime="2020-01-01T00:00:00Z",
        EndTime="2100-01-01T00:00:00Z",
        Period=3600,
        Statistics=["Sum"],
    )
    return float(sum(point["Sum"] for point in answer["Datapoints"]))


def test_embedded_metrics_are_counted_for_each_set_of_dimensions(aws: LocalAws) -> None:
    """The empty set is a metric of its own."""
    _log_line(aws)
    assert until(lambda: _total(aws, "Own", "FAILED")) == 3
    assert _total(aws, "Own", "FAILED", Region="eu-west-1") == 3
    assert _total(aws, "Own", "FAILED", Region="us-east-1") == 0


def test_an_alarm_publishes_when_its_metric_breaches(aws: LocalAws) -> None:
    """Another metric of the same name does not count."""
    queue = Queue(aws, "mail")
    sns = aws.client("sns")
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn)
    cloudwatch = aws.client("cloudwatch")
    for name, region in (("failed", "eu-west-1"), ("elsewhere", "us-east-1")):
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="Own",
            MetricName="FAILED",
            Dimensions=[{"Name": "Region", "Value": region}],
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="notBreaching",
            AlarmActions=[topic],
        )
    _log_line(aws)
    message = json.loads(queue.wait_for_event(lambda event: "Message" in event)["Message"])
    assert (message["AlarmName"], message["NewStateValue"]) == ("failed", "ALARM")
    states = {each["AlarmName"]: each["StateValue"] for each in cloudwatch.describe_alarms()["MetricAlarms"]}
    assert states == {"failed": "ALARM", "elsewhere": "OK"}


def test_a_queue_and_missing_data_raise_alarms(aws: LocalAws) -> None:
    """A message in a dead-letter queue, and a missing sweep."""
    dead = Queue(aws, "dead")
    cloudwatch = aws.client("cloudwatch")
    common = {"Statistic": "Maximum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1}
    cloudwatch.put_metric_alarm(
        AlarmName="dead-letters",
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": "dead"}],
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        **common,
    )
    cloudwatch.put_metric_alarm(
        AlarmName="no-sweep",
        Namespace="Own",
        MetricName="SweepCompleted",
        ComparisonOperator="LessThanThreshold",
        TreatMissingData="breaching",
        **common,
    )
    dead.send("{}")

    def states() -> dict[str, str]:
        alarms = cloudwatch.describe_alarms()["MetricAlarms"]
        return {each["AlarmName"]: each["StateValue"] for each in alarms}

    until(states, lambda seen: seen == {"dead-letters": "ALARM", "no-sweep": "ALARM"})


def test_errors_of_a_function_are_measured(aws: LocalAws) -> None:
    """Once for each invocation."""
    function(aws, "broken", "def handler(event, context): raise RuntimeError('no')")
    aws.client("lambda").invoke(FunctionName="broken")
    assert _total(aws, "AWS/Lambda", "Errors", FunctionName="broken") == 1
    assert _total(aws, "AWS/Lambda", "Invocations", FunctionName="broken") == 1


def test_an_alarm_on_a_filled_metric_rises_without_points(aws: LocalAws) -> None:
    """In a template's form; the local AWS refuses any other expression, as it cannot evaluate it."""
    filled = {"Id": "filled", "Expression": "FILL(sweeps, 0)"}
    metric = {"Namespace": "Fills", "MetricName": "SweepCompleted"}
    sweeps = {"Id": "sweeps", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}, "ReturnData": False}
    alarm = {
        "AlarmName": "filled",
        "Metrics": [filled, sweeps],
        "ComparisonOperator": "LessThanThreshold",
        "Threshold": 1,
        "EvaluationPeriods": 2,
    }
    template = {"Resources": {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm}}}
    aws.client("cloudformation").create_stack(StackName="filled", TemplateBody=json.dumps(template))
    describe = aws.client("cloudwatch").describe_alarms
    until(lambda: [each["StateValue"] for each in describe()["MetricAlarms"]], lambda seen: seen == ["ALARM"])
