"""What a deployment costs a month: `python -m tests.bench.costs`.

Measures on the local AWS what a sweep of a compliant account, a launch and the daily inventory take (seconds, bytes of
log), at 50 ms a call, and multiplies that by public prices. Prints the tables of infra/SCALE.md.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from infra.local.client import LocalAws
from infra.local.deployment import HTTP_TOKENS, POLICY
from infra.local.ledger_table import create_ledger_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REGIONS = 17
"""That a new account has enabled."""

LATENCY_SECONDS = 0.05
MEMORY_GB = 1.0
HOURS = 730
SWEEPS = HOURS * 4
INVENTORIES = HOURS / 24
LAUNCHES = 10
"""An instance is replaced so often in a month."""

EVENTS_A_LAUNCH = 2
"""RunInstances, and the change to running."""

# Public prices in US dollars, us-east-1, first tier, no free tier, as of 2026-11.
GB_SECOND = 0.0000133334  # Lambda on arm64
MILLION_INVOCATIONS = 0.20
MILLION_QUEUE_REQUESTS = 0.40
MILLION_FORWARDED_EVENTS = 1.00  # to a bus of another region; events of AWS on the default bus are free
MILLION_SCHEDULED = 1.00
MILLION_TRACES = 5.00
GB_OF_LOG = 0.50
METRIC = 0.30
ALARM = 0.10
DASHBOARD = 3.00
KEY = 1.00

ALARMS = 8
POLLS = 5 * HOURS * 3600 / 20
"""Lambda's five pollers of a queue, each waiting 20 s for a message."""

REQUESTS_A_MESSAGE = 3  # send, receive, delete
OUTCOME_METRICS = 4 * (4 + 1)
"""Four outcomes in each of four regions and in total, every hour: a metric is paid for the hours that have a value."""

INVENTORY_METRICS = 2 * (REGIONS + 1) * INVENTORIES / HOURS
"""Two, in each region and in total, in one hour a day."""


@dataclass(frozen=True)
class Took:
    """What one invocation took."""

    seconds: float
    log_bytes: int

    @property
    def dollars(self) -> float:
        """Compute, request, trace and log."""
        return (
            self.seconds * MEMORY_GB * GB_SECOND
            + (MILLION_INVOCATIONS + MILLION_TRACES) / 1e6
            + self.log_bytes / 1e9 * GB_OF_LOG
        )


@dataclass(frozen=True)
class Measured:
    """The invocations that a month is made of. The inventory is one of 1,000 instances in a single region."""

    sweep: Took
    launch: Took
    inventory: Took


def monthly(instances: int, accounts: int, measured: Measured) -> dict[str, float]:
    """Dollars a month by what they are for, over all accounts."""
    launches = instances * LAUNCHES
    events = launches * EVENTS_A_LAUNCH
    return {
        "key, alarms, dashboard": accounts * (KEY + ALARMS * ALARM + DASHBOARD),
        "metrics": accounts * METRIC * (1 + INVENTORY_METRICS + OUTCOME_METRICS),
        "polling the queue": accounts * POLLS / 1e6 * MILLION_QUEUE_REQUESTS,
        "sweeps": accounts * SWEEPS * (measured.sweep.dollars + MILLION_SCHEDULED / 1e6),
        "inventories": INVENTORIES * instances / 1_000 * measured.inventory.dollars,
        "launches": launches * measured.launch.dollars
        + events / 1e6 * (MILLION_FORWARDED_EVENTS + REQUESTS_A_MESSAGE * MILLION_QUEUE_REQUESTS),
    }


def measure() -> Measured:
    """Measure with the function's code in this process, warm."""
    with LocalAws() as aws, _application(aws) as invoke:
        aws.launch(aws.region, HttpTokens="required")
        invoke({})
        sweep = invoke({})
        launch = [_launch(aws, invoke) for _ in range(5)][-1]
        aws.launch(aws.region, 1_000, HttpTokens="required")
        inventory = invoke({"inventory": True})
        return Measured(sweep, launch, inventory)


def _launch(aws: LocalAws, invoke: Callable[[Any], Took]) -> Took:
    """One launch, brought by one message: the dearest way, as a batch shares its requests."""
    from tests.unit.example_events import a_batch, a_message, running  # noqa: PLC0415  # see _application

    (instance_id,) = aws.launch(aws.region, HttpTokens="optional")
    event = running(instance_id)
    return invoke(a_batch(a_message({**event, "account": aws.account, "region": aws.region})))


@contextmanager
def _application(aws: LocalAws) -> Iterator[Callable[[Any], Took]]:
    """The application against a local AWS with the policy `required`; what it logs goes to a file, to be measured."""
    ssm = aws.client("ssm")
    for name, value in ((HTTP_TOKENS, "required"), (POLICY, "{}")):
        ssm.put_parameter(Name=name, Value=value, Type="String")
    create_ledger_table(aws, "ledger")
    aws.knobs(cloudtrail_events=False, state_change_events=False, latency_seconds=LATENCY_SECONDS)
    os.environ |= aws.environment() | {
        "HTTP_TOKENS_PARAMETER": HTTP_TOKENS,
        "POLICY_PARAMETER": POLICY,
        "EVENT_QUEUE_URL": f"{aws.endpoint_url}/{aws.account}/events",
        "NOTIFICATION_TOPIC_ARN": f"arn:aws:sns:{aws.region}:{aws.account}:topic",
        "LEDGER_TABLE": "ledger",
    }
    # Imported once the environment is the function's.
    from imds_enforcer.application import Application, Invocation  # noqa: PLC0415
    from imds_enforcer.clients import Clients  # noqa: PLC0415
    from imds_enforcer.clock import SystemClock  # noqa: PLC0415
    from imds_enforcer.settings import Settings  # noqa: PLC0415

    settings, clock = Settings.from_environment(os.environ), SystemClock()
    application = Application(settings, Clients(settings, clock), clock)
    console = os.dup(1)
    with tempfile.TemporaryFile() as log:

        def invoke(event: Any) -> Took:
            log.seek(0)
            log.truncate()
            started = time.monotonic()
            application.invoke(event, Invocation(str(uuid.uuid4()), aws.account, lambda: 900.0))
            sys.stdout.flush()
            return Took(time.monotonic() - started, os.fstat(log.fileno()).st_size)

        os.dup2(log.fileno(), 1)
        try:
            yield invoke
        finally:
            os.dup2(console, 1)


def main() -> None:
    """Measure, multiply, print."""
    measured = measure()
    console = Console(width=110)
    took = Table("invocation", "seconds", "bytes of log", "dollars a million", title="Measured")
    for name, each in (
        (f"sweep of {REGIONS} compliant regions", measured.sweep),
        ("launch of one instance", measured.launch),
        ("inventory of 1,000 instances", measured.inventory),
    ):
        took.add_row(name, f"{each.seconds:.2f}", f"{each.log_bytes:,}", f"{each.dollars * 1e6:,.2f}")
    console.print(took)
    fleets = ((100, 1), (10_000, 10), (1_000_000, 1_000))
    months = [monthly(instances, accounts, measured) for instances, accounts in fleets]
    table = Table("dollars a month", *(f"{i:,} instances, {a:,} account{'s' * (a > 1)}" for i, a in fleets))
    for name in months[0]:
        table.add_row(name, *(f"{month[name]:,.2f}" for month in months))
    table.add_row("total", *(f"{sum(month.values()):,.2f}" for month in months))
    console.print(table)


if __name__ == "__main__":
    main()
