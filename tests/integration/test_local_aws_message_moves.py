import json

import pytest
from botocore.exceptions import ClientError

from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.integration.local_resources import Queue, refused


@pytest.fixture
def queues(aws: LocalAws) -> tuple[Queue, Queue]:
    """A queue, and its dead-letter queue, which gets messages after one delivery."""
    lost = Queue(aws, "lost")
    policy = {"deadLetterTargetArn": lost.arn, "maxReceiveCount": 1}
    return Queue(aws, "source", RedrivePolicy=json.dumps(policy), VisibilityTimeout="0"), lost


def test_dead_letters_go_back_to_their_queue(queues: tuple[Queue, Queue]) -> None:
    """The request names no destination."""
    source, lost = queues
    source.send('"once"')
    for _ in range(2):
        source.sqs.receive_message(QueueUrl=source.url)
    assert lost.sqs.list_message_move_tasks(SourceArn=lost.arn)["Results"] == []
    lost.sqs.start_message_move_task(SourceArn=lost.arn)
    [task] = lost.sqs.list_message_move_tasks(SourceArn=lost.arn)["Results"]
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 1)
    assert source.wait_for(1) == ["once"]


def test_messages_sent_directly_to_the_dead_letter_queue_need_a_destination(queues: tuple[Queue, Queue]) -> None:
    """EventBridge sends events there that it cannot deliver."""
    source, lost = queues
    lost.send('"stray"')
    lost.sqs.start_message_move_task(SourceArn=lost.arn)
    [task] = lost.sqs.list_message_move_tasks(SourceArn=lost.arn)["Results"]
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "CouldNotDetermineMessageSource")
    lost.sqs.start_message_move_task(SourceArn=lost.arn, DestinationArn=source.arn)
    [task] = lost.sqs.list_message_move_tasks(SourceArn=lost.arn, MaxResults=1)["Results"]
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 1)
    assert source.wait_for(1) == ["stray"]


def test_only_dead_letters_are_moved(queues: tuple[Queue, Queue]) -> None:
    """SQS refuses to move the messages of any other queue."""
    source, lost = queues
    assert refused(lost.sqs.start_message_move_task, SourceArn=source.arn) == "InvalidParameterValue"
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        lost.sqs.start_message_move_task(SourceArn=f"{lost.arn}-2")


def test_a_move_may_be_listed_late(aws: LocalAws, queues: tuple[Queue, Queue]) -> None:
    """No document says that ListMessageMoveTasks shows a task as soon as StartMessageMoveTask has answered."""
    source, lost = queues
    lost.send('"stray"')
    aws.knobs(move_listing_seconds=1)
    lost.sqs.start_message_move_task(SourceArn=lost.arn, DestinationArn=source.arn)
    assert lost.sqs.list_message_move_tasks(SourceArn=lost.arn)["Results"] == []
    [task] = until(lambda: lost.sqs.list_message_move_tasks(SourceArn=lost.arn)["Results"], seconds=10)
    assert task["Status"] == "COMPLETED"


def test_one_move_of_a_queue_at_a_time(aws: LocalAws, queues: tuple[Queue, Queue]) -> None:
    """SQS refuses a second move while one is running. A move has a handle only while it runs.

    SQS API Reference, "StartMessageMoveTask" and "ListMessageMoveTasks".
    """
    source, lost = queues
    lost.send('"stray"')
    aws.knobs(move_seconds=1)
    start = {"SourceArn": lost.arn, "DestinationArn": source.arn}
    handle = lost.sqs.start_message_move_task(**start)["TaskHandle"]
    [task] = lost.sqs.list_message_move_tasks(SourceArn=lost.arn)["Results"]
    assert (task["Status"], task["TaskHandle"]) == ("RUNNING", handle)
    assert refused(lost.sqs.start_message_move_task, **start) == "InvalidParameterValue"

    def over() -> bool:
        [task] = lost.sqs.list_message_move_tasks(SourceArn=lost.arn)["Results"]
        return (task["Status"], task.get("TaskHandle")) == ("COMPLETED", None)

    until(over, seconds=10)
    assert lost.sqs.start_message_move_task(**start)["TaskHandle"] != handle
