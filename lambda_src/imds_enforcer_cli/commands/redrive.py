"""`imds-enforcer redrive`: process failed events once more."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import typer

from imds_enforcer.aws.boto import aws_errors
from imds_enforcer.model import AwsError
from imds_enforcer.model.wording import count
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.output import say, working, write_document

Task = dict[str, Any]

_ACTIVE = frozenset({"RUNNING", "CANCELLING"})
_MOVED = "COMPLETED"
_STARTED = "STARTED"
"""Our own status for a move that SQS accepted but does not list yet."""

_UNDER_WAY = "A move is already under way; the command waits for that one."
_REFUSED = "InvalidParameterValue"
"""SQS's error code if a move is under way, listed or not; the code has other causes too."""

_RECENT = 10
"""The most moves that ListMessageMoveTasks returns (SQS API Reference)."""

_PAUSE_SECONDS = 1.0
PATIENCE = timedelta(minutes=30)
"""How long to wait for the move to end; the move itself goes on after that."""

LISTED_WITHIN = timedelta(minutes=1)
"""How long to wait until SQS lists a move: AWS does not document that it does so at once."""


def redrive(
    *,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = arguments.Format.TABLE,
) -> None:
    """Move failed events from the dead-letter queue back to the event queue.

    The command does not ask you to confirm, because a move is safe: for each event, the enforcer reads the instances
    again, and evaluates them in their state at that time. An event that fails again is back in the dead-letter queue
    within half an hour. If a move is already under way, the command waits for that one.
    """
    reached = connection.connect_running(profile, region)
    source, waiting = _arn_and_depth(reached, "DeadLetterQueueUrl")
    document: dict[str, Any] = {"messages": waiting, "moved": 0, "status": _MOVED, "failure": None}
    if waiting:
        with working(f"Moving {count(waiting, 'message')}"):
            task = _moved(reached, source)
        document["moved"] = task.get("ApproximateNumberOfMessagesMoved", 0)
        document |= {"status": task["Status"], "failure": task.get("FailureReason")}
    else:
        say("The dead-letter queue is empty.")
    row = [(str(value),) if value is not None else ("",) for value in document.values()]
    write_document(output, document, ("MESSAGES", "MOVED", "STATUS", "FAILURE"), row)
    if document["status"] != _MOVED:
        raise typer.Exit(1)


def _moved(reached: connection.Connection, source: str) -> Task:
    """The task that moved the messages, once it has ended."""
    sqs = reached.client("sqs", None)
    # Name the destination: a message that EventBridge could not deliver has no source queue to go back to.
    destination, _ = _arn_and_depth(reached, "EventQueueUrl")
    earlier = _tasks(sqs, source)
    refusal: AwsError | None = None
    if any(task["Status"] in _ACTIVE for task in earlier):
        say(_UNDER_WAY)
    else:
        try:
            with aws_errors():
                sqs.start_message_move_task(SourceArn=source, DestinationArn=destination)
        except AwsError as error:
            if error.failure.code != _REFUSED:
                raise
            refusal = error
    task = _followed(reached, source, earlier)
    if task is None and refusal:
        raise refusal
    if task is None:
        say("SQS has started the move but does not list it yet; `imds-enforcer status` shows how many are left.")
        return {"Status": _STARTED, "ApproximateNumberOfMessagesMoved": None}
    if refusal:
        say(_UNDER_WAY)
    return task


def _followed(reached: connection.Connection, source: str, earlier: Sequence[Task]) -> Task | None:
    """The first task that is not one of the ended `earlier` tasks; None if SQS lists no other task in time.

    Wait until the task ends or time is up. A task is identified by its start time, because it has a handle only while
    it runs.
    """
    over = {task["StartedTimestamp"] for task in earlier if task["Status"] not in _ACTIVE}
    sqs, began = reached.client("sqs", None), reached.clock.now()
    task: Task | None = None
    while True:
        listed = [each for each in _tasks(sqs, source) if each["StartedTimestamp"] not in over]
        task = min(listed, key=lambda each: each["StartedTimestamp"], default=task)
        waited = reached.clock.now() - began
        if waited >= (PATIENCE if task else LISTED_WITHIN) or (task and task["Status"] not in _ACTIVE):
            return task
        reached.clock.sleep(_PAUSE_SECONDS)


def _tasks(sqs: Any, source: str) -> list[Task]:
    """The latest moves from a queue."""
    with aws_errors():
        tasks: list[Task] = sqs.list_message_move_tasks(SourceArn=source, MaxResults=_RECENT).get("Results", [])
    return tasks


def _arn_and_depth(reached: connection.Connection, output: str) -> tuple[str, int]:
    with aws_errors():
        attributes = reached.client("sqs", None).get_queue_attributes(
            QueueUrl=reached.outputs[output], AttributeNames=["QueueArn", "ApproximateNumberOfMessages"]
        )["Attributes"]
    return attributes["QueueArn"], int(attributes["ApproximateNumberOfMessages"])
