"""How long a launched instance keeps IMDSv1: `python -m tests.bench.latency`.

It measures from the answer of RunInstances to the first description that shows `required` and applied, on the real
stacks on the local AWS, with events without delay, the deployed batching window, and a warm function.
"""

import statistics
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from infra.local.client import LocalAws
from infra.local.deployment import Deployment, deploy

LAUNCHES = 20
LIMIT_SECONDS = 2.5
"""The limit of the median, in seconds."""


def measure(enforcer: Deployment, launches: int = LAUNCHES) -> list[float]:
    """The seconds of each of this many launches, one after another; another one before them warms up."""
    return [_launch(enforcer) for _ in range(launches + 1)][1:]


def _launch(enforcer: Deployment) -> float:
    enforcer.drain()  # the open batching window of an earlier event would shorten this one
    ids = enforcer.aws.launch(HttpTokens="optional")
    return enforcer.wait_for(ids, HttpTokens="required")


def table(seconds: Sequence[float]) -> Table:
    """Median, minimum and maximum."""
    table = Table("launches", "median", "min", "max", title="Launch → required and applied", box=None)
    table.add_row(str(len(seconds)), *(f"{f(seconds):.2f} s" for f in (statistics.median, min, max)))
    return table


def main() -> int:
    """Deploy, measure and print; returns 1 if the median is above its limit."""
    with LocalAws() as aws:
        enforcer = deploy(aws)
        # Deploying the policy starts sweeps, which would find a new instance before its event does.
        enforcer.settle(policy=enforcer.set_policy({}))
        seconds = measure(enforcer)
    Console().print(table(seconds))
    return int(statistics.median(seconds) >= LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
