"""Long and memory: sweeps that end before all is done, and fleets of which most instances wait."""

from __future__ import annotations

import time

from tests.bench.enforcer import SWEEP, driver
from tests.bench.local_fleet import AGE_SECONDS, REGION, LocalFleet, local_fleet
from tests.bench.marks import SWEEP_SECONDS
from tests.bench.measurement import CAPACITY, MODIFY, REFILL, Run

LONG = 3000
REFILL_TIMES = 10
MOST_SWEEPS = 20
PAGE_SECONDS = 3.6
"""Time limit of a sweep per page of 1,000: listing may take half of it, and takes 0.6 s, or twice that under load."""
LEAST_SECONDS = 40
CANDIDATES = (5_000, 50_000)


def long() -> Run:
    """Sweeps of one process in sequence, each with its time limit, until one has nothing left to do."""
    limits = {"SWEEP_DEADLINE_SECONDS": str(SWEEP_SECONDS)}
    with local_fleet(REGION, buckets={MODIFY: (CAPACITY, REFILL * REFILL_TIMES)}) as fleet:
        fleet.launch(LONG, age_seconds=AGE_SECONDS)
        fleet.begin()
        with driver(fleet, "--refill-times", str(REFILL_TIMES), **limits) as process:
            started = time.monotonic()
            sweeps = 0
            left = True
            while left and sweeps < MOST_SWEEPS:
                done = process.ask(SWEEP)
                sweeps += 1
                left = bool(done["answer"]["outcomes"].keys() & {"DEFERRED", "PENDING"})
            seconds = done["ended"] - started
            calls, changed = fleet.calls(), _changed(fleet)
            usage = process.usage()
        facts = {"sweeps": sweeps, "changed": changed}
        return Run(
            seconds=seconds, cpu_s=usage["cpu_s"], peak_mb=usage["peak_mb"], facts=facts, **calls, **fleet.state()
        )


def _changed(fleet: LocalFleet) -> int:
    return fleet.aws.calls(MODIFY, error="")


def memory(mode: str, candidates: int) -> Run:
    """One sweep of an EC2 within the process. In enforce mode it defers most candidates for lack of time.

    An instance without an outcome counts as left. Ledger, holds and watch use the local AWS's table; the gate is off,
    as the local CloudWatch does not know these instances.
    """
    limit = max(LEAST_SECONDS, candidates / 1000 * PAGE_SECONDS)
    with local_fleet(REGION) as fleet:
        fleet.set_policy({"mode": mode})
        limits = {"SWEEP_DEADLINE_SECONDS": str(limit)}
        with driver(fleet, "--candidates", str(candidates), **limits) as process:
            done = process.ask(SWEEP)
            usage = process.usage()
    outcomes = done["answer"]["outcomes"]
    return Run(
        seconds=done["seconds"],
        cpu_s=usage["cpu_s"],
        peak_mb=usage["peak_mb"],
        requests={},
        throttled=0,
        required=sum(outcomes.values()),
        instances=candidates,
        facts={name.lower(): float(count) for name, count in outcomes.items()},
    )
