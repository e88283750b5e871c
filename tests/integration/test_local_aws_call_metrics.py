"""The local CloudWatch and account defaults, as far as the gate and the watch use them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.client import LocalAws
from tests.integration.local_resources import assumed, outcome, refused, role

DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def put(aws: LocalAws, instance: str, *points: tuple[datetime, float], name: str = "MetadataNoToken") -> None:
    """Record this many IMDSv1 calls of an instance at these moments."""
    aws.client("cloudwatch").put_metric_data(
        Namespace="AWS/EC2",
        MetricData=[
            {
                "MetricName": name,
                "Dimensions": [{"Name": "InstanceId", "Value": instance}],
                "Timestamp": moment,
                "Value": value,
            }
            for moment, value in points
        ],
    )


def query(
    number: int, value: str, *, name: str = "MetadataNoToken", period: int = 86400, dimension: str = "InstanceId"
) -> dict[str, Any]:
    """A query for the sums of an instance's calls, or of another dimension's, by period."""
    metric = {"Namespace": "AWS/EC2", "MetricName": name, "Dimensions": [{"Name": dimension, "Value": value}]}
    return {"Id": f"m{number}", "MetricStat": {"Metric": metric, "Period": period, "Stat": "Sum"}}


def span(days: float = 14) -> dict[str, datetime]:
    """From midnight this many days ago until tomorrow's midnight."""
    return {"StartTime": TODAY - days * DAY, "EndTime": TODAY + DAY}


def test_five_hundred_instances_are_answered_in_one_request(aws: LocalAws) -> None:
    """Each has its own sums; without data the list is empty."""
    ids = [f"i-{number:017x}" for number in range(500)]
    for number, instance in enumerate(ids[:20], 1):
        put(aws, instance, (TODAY - DAY, number), (TODAY - DAY + timedelta(hours=5), 1))
    answer = aws.client("cloudwatch").get_metric_data(
        MetricDataQueries=[query(number, each) for number, each in enumerate(ids)], **span()
    )
    assert [each["Id"] for each in answer["MetricDataResults"]] == [f"m{number}" for number in range(500)]
    assert [each["Values"] for each in answer["MetricDataResults"][:20]] == [[number + 2.0] for number in range(20)]
    assert not any(each["Values"] or each["Timestamps"] for each in answer["MetricDataResults"][20:])
    assert {each["StatusCode"] for each in answer["MetricDataResults"]} == {"Complete"}
    assert "NextToken" not in answer
    assert aws.calls("cloudwatch:GetMetricData") == 1


@pytest.mark.parametrize(("period", "wanted"), [(86400, [4, 3]), (3600, [4, 1, 2])])
def test_sums_are_those_of_periods_latest_first(aws: LocalAws, period: int, wanted: list[float]) -> None:
    """The request may ask for the other order."""
    noon = TODAY - DAY + timedelta(hours=12)
    put(aws, "i-1", (noon - DAY, 2), (noon - DAY + timedelta(hours=1), 1), (noon, 3), (noon, 1))
    arguments = {"MetricDataQueries": [query(0, "i-1", period=period)], **span()}
    get = aws.client("cloudwatch").get_metric_data
    [result] = get(**arguments)["MetricDataResults"]
    assert result["Values"] == wanted
    assert result["Timestamps"] == sorted(result["Timestamps"], reverse=True)
    if period < 86400:
        assert result["Timestamps"][0] == noon
    [result] = get(**arguments, ScanBy="TimestampAscending")["MetricDataResults"]
    assert result["Values"] == wanted[::-1]


def test_data_of_past_weeks_is_kept(aws: LocalAws) -> None:
    """The start of the time range is included, its end is not."""
    start, end = TODAY - 30 * DAY, TODAY - 29 * DAY
    put(aws, "i-1", (start - timedelta(minutes=5), 1), (start, 2), (end - timedelta(minutes=5), 4), (end, 8))
    [result] = aws.client("cloudwatch").get_metric_data(
        MetricDataQueries=[query(0, "i-1")], StartTime=start, EndTime=end
    )["MetricDataResults"]
    assert result["Values"] == [6]


def by_group(aws: LocalAws, *groups: str, region: str = "", name: str = "MetadataNoToken") -> list[list[float]]:
    """The sums by Auto Scaling group."""
    queries = [query(n, each, name=name, dimension="AutoScalingGroupName") for n, each in enumerate(groups)]
    answer = aws.client("cloudwatch", region).get_metric_data(MetricDataQueries=queries, **span())
    return [each["Values"] for each in answer["MetricDataResults"]]


def test_calls_are_summed_by_auto_scaling_group_too(aws: LocalAws) -> None:
    """Each metric is separate; a group keeps the calls of a member that is gone.

    EC2 User Guide, "CloudWatch metrics that are available for your instances": dimension AutoScalingGroupName.
    """
    first, second = aws.launch(count=2, auto_scaling_group="web/blue [1] a")
    [other] = aws.launch(auto_scaling_group="batch")
    [alone] = aws.launch()
    for instance, calls in ((first, 2), (second, 3), (other, 10), (alone, 20)):
        put(aws, instance, (TODAY, calls))
    put(aws, first, (TODAY, 7), name="MetadataNoTokenRejected")
    aws.client("ec2").terminate_instances(InstanceIds=[second])
    groups = ("web/blue [1] a", "batch", "web")
    assert by_group(aws, *groups) == [[5], [10], []]
    assert by_group(aws, *groups, name="MetadataNoTokenRejected") == [[7], [], []]
    assert by_group(aws, *groups, region="us-east-1") == [[], [], []]
    answer = aws.client("cloudwatch").get_metric_data(MetricDataQueries=[query(0, first)], **span())
    assert answer["MetricDataResults"][0]["Values"] == [2]


def test_another_metric_dimension_or_region_is_another_metric(aws: LocalAws) -> None:
    """None of them counts in the sum."""
    put(aws, "i-1", (TODAY, 1))
    put(aws, "i-2", (TODAY, 1))
    wanted = [query(0, "i-1", name="MetadataNoTokenRejected"), query(1, "i-3")]
    no_dimension = query(2, "i-1")
    no_dimension["MetricStat"]["Metric"]["Dimensions"] = []
    arguments = {"MetricDataQueries": [*wanted, no_dimension], **span()}
    for region in ("eu-west-1", "us-east-1"):
        results = aws.client("cloudwatch", region).get_metric_data(**arguments)["MetricDataResults"]
        assert [each["Values"] for each in results] == [[], [], []]
    elsewhere = aws.client("cloudwatch", "us-east-1").get_metric_data(MetricDataQueries=[query(0, "i-1")], **span())
    assert elsewhere["MetricDataResults"][0]["Values"] == []


def test_what_cloudwatch_refuses(aws: LocalAws) -> None:
    """More than 500 queries, invalid or repeated ids, odd periods, and an end before the start.

    Also dimension values that are blank, not ASCII, or have control characters (CloudWatch API Reference, "Dimension").
    """
    get = aws.client("cloudwatch").get_metric_data
    too_many = [query(number, "i-1") for number in range(501)]
    an_instance_id = {**query(0, "i-1"), "Id": "i-1"}
    for wrong in (too_many, [an_instance_id], [query(0, "i-1"), query(0, "i-2")], [query(0, "i-1", period=90)]):
        assert refused(get, MetricDataQueries=wrong, **span()) == "ValidationError"
    for group in ("wéb", "web\n", " "):
        wrong = [query(0, group, dimension="AutoScalingGroupName")]
        assert refused(get, MetricDataQueries=wrong, **span()) == "ValidationError"
    assert refused(get, MetricDataQueries=[query(0, "i-1")], StartTime=TODAY, EndTime=TODAY) == "ValidationError"


def test_access_is_checked(aws: LocalAws) -> None:
    """IAM checks the action."""
    arguments = {"MetricDataQueries": [query(0, "i-1")], **span()}
    may = role(aws, "reader", {"Action": "cloudwatch:GetMetricData", "Resource": "*"})
    may_not = role(aws, "stranger")
    aws.enforce_iam()
    assert outcome(aws.client("cloudwatch", keys=assumed(aws, may)).get_metric_data, **arguments) == ""
    stranger = aws.client("cloudwatch", keys=assumed(aws, may_not))
    assert outcome(stranger.get_metric_data, **arguments).startswith("AccessDenied")


def test_a_declarative_policy_shows_in_the_defaults(aws: LocalAws) -> None:
    """As the manager, with its message; the account's own values are shown as before."""
    ec2 = aws.client("ec2")
    ec2.modify_instance_metadata_defaults(HttpTokens="required")
    assert ec2.get_instance_metadata_defaults()["AccountLevel"] == {"HttpTokens": "required", "ManagedBy": "account"}
    aws.knobs(declarative_policy_message="Ask <security> & wait")
    managed = {"ManagedBy": "declarative-policy", "ManagedExceptionMessage": "Ask <security> & wait"}
    assert ec2.get_instance_metadata_defaults()["AccountLevel"] == {"HttpTokens": "required", **managed}
    elsewhere = aws.client("ec2", "us-east-1").get_instance_metadata_defaults()["AccountLevel"]
    assert elsewhere == managed
    with pytest.raises(ValueError, match=r"knob declarative_policy_message is .*; allowed: text, or null"):
        aws.knobs(declarative_policy_message=1)
