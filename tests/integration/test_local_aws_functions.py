import json
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.integration.local_resources import CHANGES, Queue, function, listen, role

RECORDER = """
    import boto3, json, os

    sqs = boto3.client("sqs")

    def handler(event, context):
        records = event.get("Records")
        if records is None:
            sqs.send_message(QueueUrl=os.environ["OUT"], MessageBody=json.dumps(event))
            if event.get("fail"):
                raise RuntimeError("as ordered")
            return {}
        failed = []
        for record in records:
            body, count = record["body"], int(record["attributes"]["ApproximateReceiveCount"])
            sqs.send_message(
                QueueUrl=os.environ["OUT"], MessageBody=json.dumps({"body": body, "count": count, "of": len(records)})
            )
            if body.startswith("fail"):
                sqs.change_message_visibility(
                    QueueUrl=os.environ["IN"], ReceiptHandle=record["receiptHandle"], VisibilityTimeout=int(body[4:])
                )
                failed.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failed}
"""


def _recorder(aws: LocalAws, out: Queue, source: Queue | None = None) -> str:
    """A function that sends the event of each invocation to a queue."""
    arn = function(aws, "recorder", RECORDER)
    variables = {"OUT": out.url, **({"IN": source.url} if source else {})}
    aws.client("lambda").update_function_configuration(FunctionName="recorder", Environment={"Variables": variables})
    return arn


def _connect(aws: LocalAws, queue: Queue, window: int) -> None:
    """Connect the recorder to a queue, in batches of up to a hundred."""
    aws.client("lambda").create_event_source_mapping(
        EventSourceArn=queue.arn,
        FunctionName="recorder",
        BatchSize=100,
        MaximumBatchingWindowInSeconds=window,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        ScalingConfig={"MaximumConcurrency": 5},
    )


def test_a_batch_may_hold_more_than_ten_messages(aws: LocalAws) -> None:
    """Up to the mapping's batch size, when the window closes."""
    out, source = Queue(aws, "out"), Queue(aws, "source")
    _recorder(aws, out, source)
    source.send(*map(str, range(25)))
    _connect(aws, source, window=1)
    assert {seen["of"] for seen in out.wait_for(25)} == {25}


def test_a_batch_waits_for_its_window_unless_a_knob_shortens_it(aws: LocalAws) -> None:
    """A message still waits when a later one, in a queue with a shorter window, is done."""
    out, patient, quick = Queue(aws, "out"), Queue(aws, "patient"), Queue(aws, "quick")
    _recorder(aws, out)
    _connect(aws, patient, window=300)
    _connect(aws, quick, window=0)
    patient.send("early")
    quick.send("late")
    assert [seen["body"] for seen in out.wait_for(1)] == ["late"]
    aws.knobs(batching_window_seconds=0)
    assert [seen["body"] for seen in out.wait_for(2)] == ["late", "early"]


def test_a_failed_message_comes_back_alone_at_its_own_time(aws: LocalAws) -> None:
    """After the visibility time-out that the function set."""
    out, source = Queue(aws, "out"), Queue(aws, "source", VisibilityTimeout="600")
    _recorder(aws, out, source)
    source.send("good", "fail1", "fail900")
    _connect(aws, source, window=1)
    seen = out.wait_for(4)
    assert sorted(each["body"] for each in seen[:3]) == ["fail1", "fail900", "good"]
    assert seen[3] == {"body": "fail1", "count": 2, "of": 1}
    counts = source.sqs.get_queue_attributes(
        QueueUrl=source.url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )
    assert int(counts["Attributes"]["ApproximateNumberOfMessagesNotVisible"]) >= 1  # fail900 is still invisible


def test_a_message_that_always_fails_ends_in_the_dead_letter_queue(aws: LocalAws) -> None:
    """After the queue's maximum of receives."""
    dead, out = Queue(aws, "dead"), Queue(aws, "out")
    redrive = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": 3})
    source = Queue(aws, "source", VisibilityTimeout="600", RedrivePolicy=redrive)
    _recorder(aws, out, source)
    _connect(aws, source, window=0)
    source.send("fail0", "good")
    messages = until(lambda: dead.sqs.receive_message(QueueUrl=dead.url).get("Messages", []))
    assert [message["Body"] for message in messages] == ["fail0"]
    assert [seen["count"] for seen in out.wait_for(4) if seen["body"] == "fail0"] == [1, 2, 3]


@pytest.mark.parametrize("retries", [0, 1])
def test_a_rule_retries_an_invocation_as_configured(aws: LocalAws, retries: int) -> None:
    """With 0 there is no retry."""
    out, dead = Queue(aws, "out"), Queue(aws, "dead")
    arn = _recorder(aws, out)
    aws.client("lambda").put_function_event_invoke_config(
        FunctionName="recorder",
        MaximumRetryAttempts=retries,
        DestinationConfig={"OnFailure": {"Destination": dead.arn}},
    )
    events = aws.client("events")
    events.put_rule(Name="invoke", EventPattern=json.dumps({"source": ["own"]}))
    events.put_targets(Rule="invoke", Targets=[{"Id": "f", "Arn": arn, "InputPath": "$.detail"}])
    events.put_events(Entries=[{"Source": "own", "DetailType": "kind", "Detail": json.dumps({"fail": True})}])
    dead.wait_for(1)
    assert out.wait_for(retries + 1) == [{"fail": True}] * (retries + 1)


def test_a_failed_invocation_goes_to_the_destination_if_the_role_allows_it(aws: LocalAws) -> None:
    """With the event of the invocation; without the permission it is lost, and CloudWatch counts it."""
    out, dead = Queue(aws, "out"), Queue(aws, "dead")
    to_out = {"Action": "sqs:SendMessage", "Resource": out.arn}
    arn = role(aws, "recorder-role", to_out)
    function(aws, "recorder", RECORDER, role_arn=arn)
    client = aws.client("lambda")
    client.update_function_configuration(FunctionName="recorder", Environment={"Variables": {"OUT": out.url}})
    client.put_function_event_invoke_config(
        FunctionName="recorder",
        MaximumRetryAttempts=0,
        MaximumEventAgeInSeconds=900,
        DestinationConfig={"OnFailure": {"Destination": dead.arn}},
    )
    aws.enforce_iam()

    def fail(name: str) -> None:
        payload = json.dumps({"fail": True, "name": name})
        client.invoke(FunctionName="recorder", InvocationType="Event", Payload=payload)

    def lost() -> float:
        now = datetime.now(UTC)
        points = aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="DestinationDeliveryFailures",
            Dimensions=[{"Name": "FunctionName", "Value": "recorder"}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=1),
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    fail("lost")
    until(lost)
    statements = [{"Effect": "Allow", **to_out}, {"Effect": "Allow", **to_out, "Resource": dead.arn}]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    aws.client("iam").put_role_policy(RoleName="recorder-role", PolicyName="may", PolicyDocument=policy)
    fail("kept")
    assert [body["requestPayload"]["name"] for body in dead.wait_for(1)] == ["kept"]
    assert lost() == 1


def test_a_schedule_invokes_with_its_input(aws: LocalAws) -> None:
    """The test fires it, without waiting a day."""
    out = Queue(aws, "out")
    arn = _recorder(aws, out)
    aws.client("scheduler").create_schedule(
        Name="daily",
        ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": arn, "RoleArn": role(aws, "schedule"), "Input": json.dumps({"inventory": True})},
    )
    aws.fire_schedule("daily")
    assert out.wait_for(1) == [{"inventory": True}]


def test_a_function_calls_as_its_role(aws: LocalAws) -> None:
    """STS, the trail and the counts of calls show the role."""
    queue = listen(aws, CHANGES)
    [instance] = aws.launch(HttpTokens="optional")
    source = f"""
        import boto3

        def handler(event, context):
            boto3.client("ec2").modify_instance_metadata_options(InstanceId="{instance}", HttpTokens="required")
            return boto3.client("sts").get_caller_identity()["Arn"]
    """
    function(aws, "changer", source)
    answer = aws.client("lambda").invoke(FunctionName="changer")
    assert json.load(answer["Payload"]) == f"arn:aws:sts::{aws.account}:assumed-role/changer-role/changer"
    [event] = queue.wait_for(1)
    issuer = event["detail"]["userIdentity"]["sessionContext"]["sessionIssuer"]
    assert issuer["arn"] == f"arn:aws:iam::{aws.account}:role/changer-role"
    assert aws.calls("ec2:ModifyInstanceMetadataOptions", caller="role/changer-role") == 1


@pytest.mark.parametrize("kind", ["Event", "RequestResponse"])
def test_an_invocation_has_the_id_of_its_request(aws: LocalAws, kind: str) -> None:
    """So a caller that did not wait for the answer finds the invocation in the log."""
    function(aws, "plain", "def handler(event, context):\n    print('run', context.aws_request_id)\n")
    aws.client("lambda").invoke(FunctionName="plain", Payload="{}")  # creates the log group
    answer = aws.client("lambda").invoke(FunctionName="plain", InvocationType=kind, Payload="{}")
    run_id = answer["ResponseMetadata"]["RequestId"]

    def lines() -> list[str]:
        events = aws.client("logs").filter_log_events(logGroupName="/aws/lambda/plain", filterPattern=f'"{run_id}"')
        return [event["message"].strip() for event in events["events"]]

    seen = until(lines, lambda found: f"END RequestId: {run_id}" in found)
    assert f"run {run_id}" in seen
