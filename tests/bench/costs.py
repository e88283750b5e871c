"""What a deployment costs a month: `python -m tests.bench.costs`.

It measures the invocations of a month on the local AWS, at 50 ms a call (DynamoDB: 10 ms): seconds, bytes of log,
request units of the table, and metrics requested. It multiplies these by public prices, prints the tables of
infra/SCALE.md, and writes the measurements to results/costs.json.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tests.bench.invocations import Held, Measured, Watching, measure, measure_held
from tests.bench.meter import STORED_BESIDE
from tests.bench.prices import (
    ALARM,
    DASHBOARD,
    GB_OF_RECOVERY,
    GB_OF_TABLE,
    KEY,
    METRIC,
    MILLION_FORWARDED_EVENTS,
    MILLION_QUEUE_REQUESTS,
    MILLION_SCHEDULED,
    Took,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULTS = Path(__file__).parent / "results" / "costs.json"

REGIONS = 17
"""The regions that a new account has enabled."""

HOURS = 730
DAYS = HOURS / 24
SWEEPS_A_DAY = 24 * 4
SWEEPS = DAYS * SWEEPS_A_DAY
LAUNCHES = 10
"""How often an instance is replaced in a month."""

EVENTS_A_LAUNCH = 2
"""RunInstances, and the change of state to running."""

ALARMS = 11
POLLS = 5 * HOURS * 3600 / 20
"""Lambda's five pollers of a queue, each waiting 20 s for a message."""

REQUESTS_A_MESSAGE = 3  # send, receive, delete
OUTCOME_METRICS = 4 * (4 + 1)
"""Four outcomes, each in four regions and in total, every hour: AWS bills a metric for the hours that have a value."""

INVENTORY_METRICS = 2 * (REGIONS + 1) * DAYS / HOURS
"""Two metrics in each region and in total, in one hour a day."""

WATCH_HOURS = 24
DAYS_KEPT = 400
COPIES = 3
"""Copies of an entry: in the table, in the index by run and in the index by month."""

FLEETS = ((100, 1), (10_000, 10), (1_000_000, 1_000))


def monthly(instances: int, accounts: int, measured: Measured) -> dict[str, float]:
    """Dollars a month by purpose, over all accounts, once the ledger has reached its full size.

    Every launched instance allows IMDSv1, is changed, and is watched for a day.
    """
    launches = instances * LAUNCHES
    events = launches * EVENTS_A_LAUNCH
    return {
        "key, alarms, dashboard": accounts * (KEY + ALARMS * ALARM + DASHBOARD),
        "metrics": accounts * METRIC * (1 + INVENTORY_METRICS + OUTCOME_METRICS),
        "polling the queue": accounts * POLLS / 1e6 * MILLION_QUEUE_REQUESTS,
        "sweeps": accounts * SWEEPS * (measured.sweep.dollars + MILLION_SCHEDULED / 1e6),
        "inventories": DAYS * instances / 1_000 * measured.inventory.dollars,
        "launches": launches * measured.launch.dollars
        + events / 1e6 * (MILLION_FORWARDED_EVENTS + REQUESTS_A_MESSAGE * MILLION_QUEUE_REQUESTS),
        "watch": launches * watched(measured),
        "ledger, kept for 400 days": launches * (DAYS_KEPT / DAYS) * kept(measured.entry_bytes),
    }


def watched(measured: Measured) -> float:
    """Dollars for the watch of one changed instance: a request every hour, and the notes that other sweeps read."""
    watching, sweep = measured.watching, measured.sweep.safeguards
    between = SWEEPS_A_DAY / 24 - 1
    an_hour = (watching.asks.safeguards - sweep) + between * (watching.reads.safeguards - sweep)
    return WATCH_HOURS * an_hour / watching.instances


def kept(entry_bytes: int) -> float:
    """Dollars a month for one entry of the ledger."""
    return (entry_bytes + STORED_BESIDE) / 1e9 * (COPIES * GB_OF_TABLE + GB_OF_RECOVERY)


def held(measured: Held) -> dict[str, float]:
    """Dollars a month by purpose, in an account in which the gate holds this many instances.

    Each day one sweep asks CloudWatch about all of them, and the other sweeps read that day's notes. The metric of the
    outcome HELD is among those of every account.
    """
    sweeps = ((measured.asks, DAYS), (measured.reads, SWEEPS - DAYS))
    runs = (*sweeps, (measured.inventory, DAYS))
    return {
        "GetMetricData": sum(count * run.asking for run, count in runs),
        "notes, written": sum(count * run.writing for run, count in runs),
        "notes, read by every sweep": sum(count * run.reading for run, count in runs),
        "log of the sweeps": sum(count * run.log for run, count in sweeps),
        "log of the daily inventories": DAYS * measured.inventory.log,
        "compute": sum(count * run.compute for run, count in runs),
    }


def write(measured: Measured, several: Held, file: Path = RESULTS) -> None:
    """Write the measurements, for later calculations."""
    document = {"measured": asdict(measured), "held": asdict(several)}
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def read(file: Path = RESULTS) -> tuple[Measured, Held]:
    """Read the last measurements."""
    document = json.loads(file.read_text(encoding="utf-8"))
    month, several = document["measured"], document["held"]
    watching = Watching(**_runs(month.pop("watching")))
    return Measured(**_runs(month), watching=watching), Held(**_runs(several))


def _runs(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Took(**value) if isinstance(value, dict) else value for name, value in document.items()}


def main() -> None:
    """Measure, calculate and print."""
    measured, several = measure(), measure_held()
    write(measured, several)
    console = Console(width=120)
    console.print(_invocations(measured, several))
    for lines in (month_table(measured), held_table(several)):
        print(*lines, "", sep="\n")  # noqa: T201  # to be copied: no console may wrap it


def month_table(measured: Measured) -> list[str]:
    """The lines of the table of monthly costs."""
    months = [monthly(instances, accounts, measured) for instances, accounts in FLEETS]
    heads = [f"{i:,} instances, {a:,} account{'s' * (a > 1)}" for i, a in FLEETS]
    rows = {name: [month[name] for month in months] for name in months[0]}
    return _markdown(["dollars a month", *heads], rows)


def held_table(several: Held) -> list[str]:
    """The lines of the table of costs of held instances."""
    rows = {name: [dollars] for name, dollars in held(several).items()}
    return _markdown([f"{several.instances:,} gated instances in one account", "dollars a month"], rows)


def _markdown(head: Sequence[str], rows: Mapping[str, Sequence[float]]) -> list[str]:
    total = [f"**{sum(column):,.2f}**" for column in zip(*rows.values(), strict=True)]
    cells = [[name, *(f"{dollars:,.2f}" for dollars in row)] for name, row in rows.items()]
    lines = [" | ".join(line) for line in (head, *cells, ["**total**", *total])]
    return [f"| {lines[0]} |", f"|---|{'---:|' * len(total)}", *(f"| {line} |" for line in lines[1:])]


def _invocations(measured: Measured, several: Held) -> Table:
    table = Table(
        "invocation", "seconds", "bytes of log", "written", "read", "metrics", "dollars a million", title="Measured"
    )
    for name, each in (
        (f"sweep of {REGIONS} compliant regions", measured.sweep),
        ("launch of one instance", measured.launch),
        ("inventory of 1,000 instances", measured.inventory),
        (f"sweep that asks about {measured.watching.instances} watched", measured.watching.asks),
        ("the next, which has the answers", measured.watching.reads),
        (f"sweep that asks about {several.instances:,} to hold", several.asks),
        ("the next, which has the answers", several.reads),
        ("inventory of these", several.inventory),
    ):
        units = (f"{each.writes:,.0f}", f"{each.reads:,.1f}", f"{each.metrics:,}")
        table.add_row(name, f"{each.seconds:.2f}", f"{each.log_bytes:,}", *units, f"{each.dollars * 1e6:,.2f}")
    table.caption = (
        f"Written and read: request units of the table. An entry of the ledger: {measured.entry_bytes} bytes."
    )
    return table


if __name__ == "__main__":
    main()
