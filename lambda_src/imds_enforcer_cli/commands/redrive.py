"""`imds-enforcer redrive`: events that failed for good, once more."""

from datetime import timedelta
from typing import Any

import typer

from imds_enforcer.aws.boto import aws_errors
from imds_enforcer.model.wording import count
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.output import say, working, write_document

_MOVING = "RUNNING"
_MOVED = "COMPLETED"
_PAUSE_SECONDS = 1.0
PATIENCE = timedelta(minutes=30)
"""How long to follow; the move itself goes on."""


def redrive(
    *,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = arguments.Format.TABLE,
) -> None:
    """Move what is in the dead-letter queue of the events back to the event queue.

    It is safe, and does not ask: each event only has its instances looked at once more, as they are by then. An
    event that fails again comes back within half an hour.
    """
    reached = connection.connect(profile, region)
    source = _arn_and_depth(reached, "DeadLetterQueueUrl")
    document: dict[str, Any] = {"messages": source[1], "moved": 0, "status": _MOVED, "failure": None}
    if source[1]:
        with working(f"Moving {count(source[1], 'message')}"):
            task = _moved(reached, source[0])
        document["moved"] = task.get("ApproximateNumberOfMessagesMoved", 0)
        document |= {"status": task["Status"], "failure": task.get("FailureReason")}
    else:
        say("The dead-letter queue is empty.")
    row = [(str(value),) if value is not None else ("",) for value in document.values()]
    write_document(output, document, ("MESSAGES", "MOVED", "STATUS", "FAILURE"), row)
    if document["status"] != _MOVED:
        raise typer.Exit(1)


def _moved(reached: connection.Connection, source: str) -> dict[str, Any]:
    """The task that moves the messages, once it is over."""
    sqs = reached.client("sqs", None)
    # Named, because a message that EventBridge could not deliver has never been in the event queue.
    destination, _ = _arn_and_depth(reached, "EventQueueUrl")
    deadline = reached.clock.now() + PATIENCE
    with aws_errors():
        sqs.start_message_move_task(SourceArn=source, DestinationArn=destination)
        while True:
            task: dict[str, Any] = sqs.list_message_move_tasks(SourceArn=source, MaxResults=1)["Results"][0]
            if task["Status"] != _MOVING or reached.clock.now() >= deadline:
                return task
            reached.clock.sleep(_PAUSE_SECONDS)


def _arn_and_depth(reached: connection.Connection, output: str) -> tuple[str, int]:
    with aws_errors():
        attributes = reached.client("sqs", None).get_queue_attributes(
            QueueUrl=reached.outputs[output], AttributeNames=["QueueArn", "ApproximateNumberOfMessages"]
        )["Attributes"]
    return attributes["QueueArn"], int(attributes["ApproximateNumberOfMessages"])
