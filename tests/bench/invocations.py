"""The cost factors of a month's invocations, measured with the function's code on a local AWS."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3

from infra.local.client import LocalAws
from infra.local.deployment import HTTP_TOKENS, POLICY
from infra.local.ledger_table import age_entries, create_ledger_table
from tests.bench.local_fleet import AGE_SECONDS, LATENCY_SECONDS, LAUNCH_SIZE, LEDGER, TABLE_LATENCY_SECONDS
from tests.bench.meter import Meter
from tests.bench.prices import Took

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLICY_WITH_GATE = '{"legacy_calls": {}}'
WATCHED = 100
"""The number of changes that EC2 accepts at once."""

HELD = 10_000
MANY_CALLS = 12_345
POINTS_A_REQUEST = 500


@dataclass(frozen=True)
class Watching:
    """Sweeps, without inventory, that watch some changed instances: one asks CloudWatch, the other reads its notes."""

    asks: Took
    reads: Took

    @property
    def instances(self) -> int:
        """The number of watched instances."""
        return self.asks.metrics


@dataclass(frozen=True)
class Held:
    """Invocations while the gate holds instances: a sweep that asks CloudWatch, one with notes, an inventory."""

    instances: int
    asks: Took
    reads: Took
    inventory: Took


@dataclass(frozen=True)
class Measured:
    """The invocations of a month. The inventory covers 1,000 instances in a single region.

    `entry_bytes` is the size of the ledger entry of one change.
    """

    sweep: Took
    launch: Took
    inventory: Took
    watching: Watching
    entry_bytes: int


@dataclass(frozen=True)
class Stage:
    """A warm process of the function, and the local AWS around it."""

    aws: LocalAws
    meter: Meter
    invoke: Callable[[Any], Took]


def measure() -> Measured:
    """Measure sweeps, a launch, an inventory and the watch."""
    with _stage() as stage:
        aws, invoke = stage.aws, stage.invoke
        aws.launch(aws.region, HttpTokens="required")
        invoke({})
        sweep = invoke({})
        launch = [_launch(stage) for _ in range(5)][-1]
        entry_bytes = stage.meter.largest_entry
        aws.launch(aws.region, 1_000, HttpTokens="required")
        inventory = invoke({"inventory": True})
        aws.launch(aws.region, WATCHED, HttpTokens="optional")
        invoke({})
        # The watch leaves each change alone for its first minutes.
        age_entries(aws, LEDGER, timedelta(minutes=20))
        return Measured(sweep, launch, inventory, Watching(invoke({}), invoke({})), entry_bytes)


def measure_held(instances: int = HELD) -> Held:
    """Measure existing instances that call IMDSv1, all of which the gate holds."""
    with _stage() as stage:
        aws, invoke = stage.aws, stage.invoke
        aws.knobs(latency_seconds=0, attached_seconds=AGE_SECONDS)
        for first in range(0, instances, LAUNCH_SIZE):
            _call(aws, aws.launch(aws.region, min(LAUNCH_SIZE, instances - first), HttpTokens="optional"))
        aws.knobs(latency_seconds=LATENCY_SECONDS)
        return Held(instances, invoke({}), invoke({}), invoke({"inventory": True}))


def _call(aws: LocalAws, instance_ids: list[str]) -> None:
    """Record IMDSv1 calls of these instances an hour ago in CloudWatch."""
    for first in range(0, len(instance_ids), POINTS_A_REQUEST):
        aws.client("cloudwatch").put_metric_data(
            Namespace="AWS/EC2",
            MetricData=[
                {
                    "MetricName": "MetadataNoToken",
                    "Dimensions": [{"Name": "InstanceId", "Value": each}],
                    "Timestamp": datetime.now(UTC) - timedelta(hours=1),
                    "Value": MANY_CALLS,
                }
                for each in instance_ids[first : first + POINTS_A_REQUEST]
            ],
        )


def _launch(stage: Stage) -> Took:
    """One launch in one message: the most expensive case, as a batch shares its requests."""
    from tests.fakes.example_events import a_batch, a_message, running  # noqa: PLC0415  # see _stage

    aws = stage.aws
    (instance_id,) = aws.launch(aws.region, HttpTokens="optional")
    event = running(instance_id)
    return stage.invoke(a_batch(a_message({**event, "account": aws.account, "region": aws.region})))


@contextmanager
def _stage() -> Iterator[Stage]:
    """A local AWS with tokens required and the gate; the application logs to a file, whose size is measured."""
    with LocalAws() as aws:
        ssm = aws.client("ssm")
        for name, value in ((HTTP_TOKENS, "required"), (POLICY, POLICY_WITH_GATE)):
            ssm.put_parameter(Name=name, Value=value, Type="String")
        create_ledger_table(aws, LEDGER)
        aws.knobs(
            cloudtrail_events=False,
            state_change_events=False,
            latency_seconds=LATENCY_SECONDS,
            table_latency_seconds=TABLE_LATENCY_SECONDS,
        )
        os.environ |= aws.environment() | {
            "HTTP_TOKENS_PARAMETER": HTTP_TOKENS,
            "POLICY_PARAMETER": POLICY,
            "EVENT_QUEUE_URL": f"{aws.endpoint_url}/{aws.account}/events",
            "NOTIFICATION_TOPIC_ARN": aws.client("sns").create_topic(Name="notifications")["TopicArn"],
            "LEDGER_TABLE": LEDGER,
        }
        with tempfile.TemporaryFile() as log:
            yield _warm_process(aws, log)


def _warm_process(aws: LocalAws, log: Any) -> Stage:
    # Imported once the environment is the function's.
    from imds_enforcer.application import Application, Invocation  # noqa: PLC0415
    from imds_enforcer.aws.services import Clients  # noqa: PLC0415
    from imds_enforcer.aws.session import fleet_session  # noqa: PLC0415
    from imds_enforcer.model import SystemClock  # noqa: PLC0415
    from imds_enforcer.settings import Settings  # noqa: PLC0415

    session = boto3.Session(botocore_session=fleet_session())
    meter = Meter(session)
    settings, clock = Settings.from_environment(os.environ), SystemClock()
    application = Application(settings, Clients(settings, clock, session), clock)

    def invoke(event: Any) -> Took:
        log.seek(0)
        log.truncate()
        meter.reset()
        started = time.monotonic()
        with _output_to(log):
            application.invoke(event, Invocation(str(uuid.uuid4()), aws.account, lambda: 900.0))
        seconds, size = time.monotonic() - started, os.fstat(log.fileno()).st_size
        return Took(seconds, size, meter.writes, meter.reads, meter.metrics)

    return Stage(aws, meter, invoke)


@contextmanager
def _output_to(file: Any) -> Iterator[None]:
    sys.stdout.flush()
    console = os.dup(1)
    os.dup2(file.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(console, 1)
        os.close(console)
