"""SQS's redrive from a dead-letter queue: StartMessageMoveTask and ListMessageMoveTasks, which ministack lacks."""

import json
import time
import uuid
from collections import defaultdict
from typing import Any

from ministack.services import sqs

from infra.local.server.knobs import KNOBS

Request = dict[str, Any]
Task = dict[str, Any]

_tasks: defaultdict[str, list[Task]] = defaultdict(list)
"""The tasks of each queue, newest first."""


_RUNNING = "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
"""SQS's error text, as LocalStack's tests recorded it (test_sqs_move_task.py)."""


def start(request: Request, _url: str) -> Request:
    """Move all visible messages at once; the knob `move_seconds` says how long the task runs."""
    source, queue = request["SourceArn"], _queue(request["SourceArn"])
    if source not in map(_dead_letters_of, sqs._queues.values()):
        raise sqs._Err("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
    now = time.time()
    if any(now < task["ends_at"] for task in _tasks[source]):
        raise sqs._Err("InvalidParameterValue", _RUNNING)
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
        "TaskHandle": str(uuid.uuid4()),
        "listed_at": now + KNOBS.move_listing_seconds,
        "ends_at": now + KNOBS.move_seconds,
    }
    if moved < len(waiting):
        task["FailureReason"] = "CouldNotDetermineMessageSource"
    _tasks[source].insert(0, task)
    return {"TaskHandle": task["TaskHandle"]}


def listed(request: Request, _url: str) -> Request:
    """The latest tasks of a queue that are listed by now: one, unless the request asks for more."""
    _queue(request["SourceArn"])
    now = time.time()
    tasks = [_shown(task, now) for task in _tasks[request["SourceArn"]] if now >= task["listed_at"]]
    return {"Results": tasks[: request.get("MaxResults", 1)]}


def _shown(task: Task, now: float) -> Task:
    """The task as SQS lists it; only a running task has a handle (SQS API Reference, "ListMessageMoveTasks")."""
    shown = {name: value for name, value in task.items() if name not in {"listed_at", "ends_at"}}
    if now < task["ends_at"]:
        return shown | {"Status": "RUNNING", "ApproximateNumberOfMessagesMoved": 0}
    del shown["TaskHandle"]
    return shown


def install() -> None:
    """Add both actions."""
    sqs._HANDLERS |= {"StartMessageMoveTask": start, "ListMessageMoveTasks": listed}


def _queue(arn: str) -> Any:
    queue = sqs._queue_by_arn(arn)
    if queue is None:
        raise sqs._Err("ResourceNotFoundException", f"The resource that you specified doesn't exist: {arn}")
    return queue


def _origin(message: Any) -> str:
    """The queue that the message came from; empty if it was sent to the dead-letter queue itself."""
    return str(message.get("sys", {}).get("DeadLetterQueueSourceArn", ""))


def _dead_letters_of(queue: Any) -> str:
    return str(json.loads(queue["attributes"].get("RedrivePolicy") or "{}").get("deadLetterTargetArn", ""))
