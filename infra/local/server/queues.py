"""The SQS event source: batches of any size, gathered during the mapping's window."""

import threading
import time
from typing import Any

from ministack.core.concurrency import esm_wake
from ministack.services import lambda_svc, sqs

from infra.local.server.knobs import KNOBS

Message = dict[str, Any]

_timers: dict[str, threading.Timer] = {}


def receive(queue_url: str, batch_size: int) -> list[Message]:
    """The next batch of a queue's messages for its function; empty while the window is open.

    Lambda opens the window with the first message and closes it early when the batch is full.
    """
    with sqs._queues_lock:
        queue = sqs._get_q(queue_url)
        sqs._expire_retained(queue)
        sqs._dlq_sweep(queue)
        now = time.time()
        since = [message["visible_at"] for message in queue["messages"] if message["visible_at"] <= now]
        if not since:
            return []
        left = min(since) + _window(queue) - now
        if len(since) < batch_size and left > 0:
            _look_again(queue_url, left)
            return []
        batch: list[Message] = sqs._collect_msgs(
            queue, batch_size, int(queue["attributes"].get("VisibilityTimeout", "30"))
        )
        return batch


def install() -> None:
    """Replace the event source's reads of a queue."""
    sqs._receive_messages_for_esm = receive


def _window(queue: Message) -> float:
    if KNOBS.batching_window_seconds is not None:
        return KNOBS.batching_window_seconds
    arn = queue["attributes"]["QueueArn"]
    windows = [
        float(mapping.get("MaximumBatchingWindowInSeconds") or 0)
        for mapping in lambda_svc._esms.values()
        if mapping["EventSourceArn"] == arn
    ]
    return max(windows, default=0.0)


def _look_again(queue_url: str, seconds: float) -> None:
    """Wake the poller when the window closes; each queue needs only one timer."""
    if (timer := _timers.get(queue_url)) and timer.is_alive():
        return
    timer = threading.Timer(seconds, esm_wake.set)
    timer.daemon = True
    _timers[queue_url] = timer
    timer.start()
