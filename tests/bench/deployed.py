"""Storm and mixed: several processes of the deployed function at once."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.local.client import LocalAws
from infra.local.deployment import Deployment, deploy
from infra.local.process import PYTHON
from infra.local.waiting import until
from tests.bench.enforcer import launch_event
from tests.bench.local_fleet import (
    AGE_SECONDS,
    LATENCY_SECONDS,
    REGION,
    SAFEGUARDS,
    TABLE_LATENCY_SECONDS,
    TAGS,
    counted,
    described,
    is_required,
)
from tests.bench.measurement import CAPACITY, MODIFY, Run
from tests.bench.processes import folder
from tests.bench.reads import reads_of
from tests.bench.workers import Use, used, uses_of_children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

STORM, SWEPT, LAUNCHED = 500, 600, 10
SENDERS, A_REQUEST = 10, 10
"""How many threads put events on the queue at once, and how many messages SQS accepts in one request."""
PATIENCE_SECONDS = 400
EVERY_SECONDS, CLOSELY_SECONDS = 0.5, 0.1
"""The pause between two reads, which use the enforcer's own bucket of 20 requests a second."""


@dataclass(frozen=True)
class Observed:
    """The stack on a local AWS that records every call, the earlier use of its processes, and a fleet."""

    enforcer: Deployment
    record: Path
    pid: int
    before: dict[int, Use]
    ids: list[str]

    def reads(self) -> dict[str, int]:
        """The purposes of the function's reads by id."""
        calls = map(json.loads, self.record.read_text(encoding="utf-8").splitlines()[1:])
        return reads_of(call for call in calls if call["caller"] == self.enforcer.caller)

    def run(self, seconds: float, instances: int, **facts: float) -> Run:
        """The run since the start."""
        aws = self.enforcer.aws
        rows = [row for row in aws.call_rows() if row["caller"] == self.enforcer.caller]
        options = described(aws)
        return Run(
            seconds=seconds,
            required=sum(map(is_required, options)),
            instances=instances,
            facts=facts,
            **counted(rows),
            **used(self.before, uses_of_children(self.pid)),
        )


def storm() -> Run:
    """The events of single launches, all at once. They go directly to the queue: that many launches would take long."""
    with _observed(STORM) as stage:
        aws, url = stage.enforcer.aws, stage.enforcer.outputs["EventQueueUrl"]
        entries = [{"Id": each, "MessageBody": json.dumps(launch_event(each))} for each in stage.ids]

        def send(first: int) -> None:
            aws.client("sqs").send_message_batch(QueueUrl=url, Entries=entries[first : first + A_REQUEST])

        started = time.monotonic()
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(send, range(0, STORM, A_REQUEST)))
        sent = time.monotonic() - started
        _wait_until(lambda: described(aws), STORM)
        seconds = time.monotonic() - started
        stage.enforcer.drain()
        return stage.run(seconds, STORM, sending_s=sent, **stage.reads())


def mixed() -> Run:
    """A launch arrives when a sweep has emptied the bucket and still has most of its work to do."""
    with _observed(SWEPT, AGE_SECONDS) as stage:
        aws, enforcer = stage.enforcer.aws, stage.enforcer
        started = time.monotonic()
        aws.client("lambda").invoke(
            FunctionName=enforcer.outputs["FunctionName"], InvocationType="Event", Payload=json.dumps({})
        )
        until(lambda: enforcer.calls()[MODIFY], lambda changes: changes >= CAPACITY, seconds=PATIENCE_SECONDS)
        aws.knobs(cloudtrail_events=True)
        ids = aws.launch(count=LAUNCHED, tags=TAGS, HttpTokens="optional")
        launched = time.monotonic()  # the local AWS puts the event on the queue as it answers
        _wait_until(lambda: enforcer.options(ids).values(), LAUNCHED, every=CLOSELY_SECONDS)
        launch_seconds = time.monotonic() - launched
        _wait_until(lambda: described(aws), SWEPT + LAUNCHED)
        seconds = time.monotonic() - started
        enforcer.drain()
        return stage.run(seconds, SWEPT + LAUNCHED, launch_s=launch_seconds)


@contextmanager
def _observed(count: int, age_seconds: float = 0) -> Iterator[Observed]:
    """The stack, deployed, warm and idle, and a fleet of some age that no event has named."""
    with folder() as path:
        record, python = Path(path, "calls.jsonl"), Path(path, "python")
        python.write_text(f'#!/bin/sh\nexec "{PYTHON}" -m tests.bench.recording "$3" "{record}"\n', encoding="utf-8")
        python.chmod(0o700)
        with LocalAws(REGION, python=python) as aws:
            enforcer = deploy(aws)
            # Deploying the policy starts sweeps; the one under this last policy ends them.
            enforcer.settle(policy=enforcer.set_policy({"regions": {"include": [REGION]}, **SAFEGUARDS}))
            enforcer.drain()
            aws.knobs(cloudtrail_events=False, state_change_events=False, attached_seconds=age_seconds)
            ids = aws.launch(count=count, tags=TAGS, HttpTokens="optional")
            aws.reset()
            aws.knobs(
                cloudtrail_events=False,
                state_change_events=False,
                latency_seconds=LATENCY_SECONDS,
                table_latency_seconds=TABLE_LATENCY_SECONDS,
                request_buckets="published",
            )
            pid = json.loads(record.read_text(encoding="utf-8").partition("\n")[0])["pid"]
            yield Observed(enforcer, record, pid, uses_of_children(pid), ids)


def _wait_until(look: Callable[[], Iterable[Mapping[str, Any]]], count: int, *, every: float = EVERY_SECONDS) -> None:
    def required() -> int:
        return sum(map(is_required, look()))

    until(required, lambda done: done >= count, seconds=PATIENCE_SECONDS, every=every)
