"""How long a launch that allows IMDSv1 stays so: `python -m tests.bench.latency`.

From the moment RunInstances answers to the first description that shows `required`, applied, on the real
stacks on the local AWS: events without delay, the event source's batching window as deployed, the function warm.
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
"""What the median has to stay below."""


def measure(enforcer: Deployment, launches: int = LAUNCHES) -> list[float]:
    """The seconds that each of so many launches took, one after another; one more before them warms up."""
    return [_launch(enforcer) for _ in range(launches + 1)][1:]


def _launch(enforcer: Deployment) -> float:
    enforcer.drain()  # a batching window that an earlier event opened would make this one shorter
    ids = enforcer.aws.launch(HttpTokens="optional")
    return enforcer.wait_for(ids, HttpTokens="required")


def table(seconds: Sequence[float]) -> Table:
    """Median and extremes."""
    table = Table("launches", "median", "min", "max", title="Launch → required and applied", box=None)
    table.add_row(str(len(seconds)), *(f"{f(seconds):.2f} s" for f in (statistics.median, min, max)))
    return table


def main() -> int:
    """Deploy, measure, print; 1 if it takes too long."""
    with LocalAws() as aws:
        enforcer = deploy(aws)
        # Deploying the policy starts sweeps, which would be first to find what is launched while they run.
        enforcer.settle(policy=enforcer.set_policy({}))
        seconds = measure(enforcer)
    Console().print(table(seconds))
    return int(statistics.median(seconds) >= LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
