"""SQS's way back from a dead-letter queue: StartMessageMoveTask and ListMessageMoveTasks, which ministack lacks."""

import json
import time
import uuid
from collections import defaultdict
from typing import Any

from ministack.services import sqs

Request = dict[str, Any]
Task = dict[str, Any]

_tasks: defaultdict[str, list[Task]] = defaultdict(list)
"""The tasks of each queue, newest first."""


def start(request: Request, _url: str) -> Request:
    """Move every message that nobody has received, at once."""
    source, queue = request["SourceArn"], _queue(request["SourceArn"])
    if source not in map(_dead_letters_of, sqs._queues.values()):
        raise sqs._Err("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
    now = time.time()
    waiting = [message for message in queue["messages"] if message["visible_at"] <= now]
    destinations = [request.get("DestinationArn") or _origin(message) for message in waiting]
    moved = destinations.index("") if "" in destinations else len(waiting)
    for message, destination in zip(waiting[:moved], destinations, strict=False):
        queue["messages"].remove(message)
        sqs._act_send_message({"QueueUrl": _queue(destination)["url"], "MessageBody": message["body"]}, "")
    task = {
        "Status": "COMPLETED" if moved == len(waiting) else "FAILED",
        "SourceArn": source,
        "ApproximateNumberOfMessagesMoved": moved,
        "ApproximateNumberOfMessagesToMove": len(waiting),
        "StartedTimestamp": int(now * 1000),
    }
    if moved < len(waiting):
        task["FailureReason"] = "CouldNotDetermineMessageSource"
    _tasks[source].insert(0, task)
    return {"TaskHandle": str(uuid.uuid4())}


def listed(request: Request, _url: str) -> Request:
    """The latest tasks of a queue: one, unless more are asked for."""
    _queue(request["SourceArn"])
    return {"Results": _tasks[request["SourceArn"]][: request.get("MaxResults", 1)]}


def install() -> None:
    """Add both actions."""
    sqs._HANDLERS |= {"StartMessageMoveTask": start, "ListMessageMoveTasks": listed}


def _queue(arn: str) -> Any:
    queue = sqs._queue_by_arn(arn)
    if queue is None:
        raise sqs._Err("ResourceNotFoundException", f"The resource that you specified doesn't exist: {arn}")
    return queue


def _origin(message: Any) -> str:
    """The queue that gave the message up; empty for one that was sent to the dead-letter queue itself."""
    return str(message.get("sys", {}).get("DeadLetterQueueSourceArn", ""))


def _dead_letters_of(queue: Any) -> str:
    return str(json.loads(queue["attributes"].get("RedrivePolicy") or "{}").get("deadLetterTargetArn", ""))
