"""The enforcer as a system to measure: the deployed function's code, in a new or warm process."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.local.deployment import HTTP_TOKENS, POLICY
from infra.local.process import ROOT
from tests.bench.driver import ACCOUNT
from tests.bench.local_fleet import LEDGER, NO_SAFEGUARDS, REGION, SAFEGUARDS
from tests.bench.measurement import MODIFY, REFILL, Run
from tests.bench.processes import MeasuredProcess, folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.bench.local_fleet import LocalFleet

SWEEP: dict[str, str] = {}
"""The event of a sweep."""


def launch_event(*instance_ids: str) -> dict[str, Any]:
    """The event of one launch in the home region, small enough for CloudTrail to name the instances."""
    items = [{"instanceId": instance_id} for instance_id in instance_ids]
    return {
        "detail-type": "AWS API Call via CloudTrail",
        "account": ACCOUNT,
        "region": REGION,
        "time": datetime.now(UTC).isoformat(),
        "detail": {"eventName": "RunInstances", "responseElements": {"instancesSet": {"items": items}}},
    }


def running_events(instance_ids: Iterable[str]) -> dict[str, Any]:
    """The batch that the event queue delivers when these instances have started to run."""
    return {"Records": [_running(instance_id) for instance_id in instance_ids]}


def _running(instance_id: str) -> dict[str, Any]:
    event = {
        "detail-type": "EC2 Instance State-change Notification",
        "account": ACCOUNT,
        "region": REGION,
        "time": datetime.now(UTC).isoformat(),
        "detail": {"instance-id": instance_id, "state": "running"},
    }
    return {
        "eventSource": "aws:sqs",
        "messageId": instance_id,
        "receiptHandle": instance_id,
        "body": json.dumps(event),
        "attributes": {"ApproximateReceiveCount": "1"},
    }


@contextmanager
def driver(fleet: LocalFleet, *options: str, **environment: str) -> Iterator[MeasuredProcess]:
    """A new process of the function, with the environment of its stack.

    Args:
        fleet: the fleet that it calls.
        options: options of `tests.bench.driver`.
        environment: further variables.
    """
    aws = fleet.aws
    variables = {
        **aws.environment(),
        "PYTHONPATH": os.pathsep.join((str(ROOT / "lambda_src"), str(ROOT))),
        "HTTP_TOKENS_PARAMETER": HTTP_TOKENS,
        "POLICY_PARAMETER": POLICY,
        "EVENT_QUEUE_URL": f"{aws.endpoint_url}/{aws.account}/events",
        "NOTIFICATION_TOPIC_ARN": f"arn:aws:sns:{aws.region}:{aws.account}:topic",
        "LEDGER_TABLE": LEDGER,
        "POWERTOOLS_LOG_LEVEL": "INFO",
        **environment,
    }
    command = [sys.executable, "-m", "tests.bench.driver", *options]
    with folder() as path, MeasuredProcess(command, variables, Path(path)) as process:
        yield process


def _prepared(fleet: LocalFleet, *, safeguards: bool, swept: bool = False) -> tuple[str, ...]:
    """Set the policy for a run with or without safeguards; returns the driver's options.

    If `swept`, another process has swept under this policy before: the first sweep under a policy looks twice.
    """
    fleet.set_policy(SAFEGUARDS if safeguards else NO_SAFEGUARDS)
    options = () if safeguards else ("--without-safeguards",)
    if swept:
        with driver(fleet, *options) as process:
            process.ask(SWEEP)
    return options


def cold(fleet: LocalFleet, event: object, *, safeguards: bool = True, swept: bool = False) -> Run:
    """An event for a new process: from the start of the process until the handler returns."""
    options = _prepared(fleet, safeguards=safeguards, swept=swept)
    fleet.begin()
    with driver(fleet, *options) as process:
        done = process.ask(event)
        calls = fleet.calls()
        usage = process.usage()
    seconds = done["ended"] - usage["started"]
    return Run(seconds=seconds, cpu_s=usage["cpu_s"], peak_mb=usage["peak_mb"], **calls, **fleet.state())


def warm(fleet: LocalFleet, first: Callable[[], object], then: Callable[[], object], *, safeguards: bool = True) -> Run:
    """The second event of a process: from the call of the handler until it returns.

    Args:
        fleet: the fleet to enforce.
        first: launches the instances of the first event, and returns that event.
        then: the same for the second.
        safeguards: whether gate, ledger and watch are on.
    """
    options = _prepared(fleet, safeguards=safeguards)
    event = first()
    fleet.begin()
    with driver(fleet, *options) as process:
        process.ask(event)
        changed = fleet.calls()["requests"].get(MODIFY, 0)
        event = then()
        # The bucket in the process must be as full as EC2's, which is refilled here.
        time.sleep(changed / REFILL)  # only time brings tokens back: there is no condition to wait for
        fleet.begin()
        done = process.ask(event)
        calls = fleet.calls()
        usage = process.usage()
    return Run(seconds=done["seconds"], cpu_s=done["cpu_s"], peak_mb=usage["peak_mb"], **calls, **fleet.state())
