"""The measurements: one run of one system, and the summary of several."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DESCRIBE = "ec2:DescribeInstances"
MODIFY = "ec2:ModifyInstanceMetadataOptions"
CAPACITY, REFILL = 100, 5
"""EC2's published bucket of ModifyInstanceMetadataOptions, per account and region."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of one system.

    Attributes:
        seconds: from the start of its process (warm: of its invocation; deployed: of the first event) to its end.
        requests: requests made, by action.
        throttled: how many of them EC2 refused because a bucket was empty.
        required: instances with tokens required and applied at the end.
        instances: the number of instances.
        cpu_s: CPU time of its processes; None if it could not be measured.
        peak_mb: the most memory that one of its processes held.
        facts: further measurements of a scenario.
    """

    seconds: float
    requests: Mapping[str, int]
    throttled: int
    required: int
    instances: int
    cpu_s: float | None = None
    peak_mb: float | None = None
    facts: Mapping[str, float] = field(default_factory=dict)


System = Mapping[str, Any]
"""The summary of the runs of one system, in its form in bench.json."""


def bound(instances: int, refill: float = REFILL) -> float:
    """The least seconds that EC2's bucket allows for this many changes in one region."""
    return max(0.0, (instances - CAPACITY) / refill)


def summary(runs: Sequence[Run], bound_s: float) -> dict[str, Any]:
    """Medians of values that vary, and the worst of those that must never occur.

    Facts in seconds, whose names end with `_s`, vary, and `slowest` keeps their worst; other facts are counts that must
    stay low.
    """
    seconds = statistics.median(run.seconds for run in runs)
    peaks = [run.peak_mb for run in runs if run.peak_mb is not None]
    times = [run.cpu_s for run in runs if run.cpu_s is not None]
    facts = {name: [run.facts[name] for run in runs] for name in runs[0].facts}
    actions = sorted({action for run in runs for action in run.requests})
    return {
        "seconds": round(seconds, 3),
        "runs_s": [round(run.seconds, 3) for run in runs],
        "ratio": round(seconds / bound_s, 3) if bound_s else None,
        "requests": {name: statistics.median_high(run.requests.get(name, 0) for run in runs) for name in actions},
        "throttled": max(run.throttled for run in runs),
        "cpu_s": round(statistics.median(times), 3) if times else None,
        "peak_mb": round(max(peaks), 1) if peaks else None,
        "required": min(run.required for run in runs),
        "instances": runs[0].instances,
        "facts": {name: round(_typical(name, each), 3) for name, each in facts.items()},
        "slowest": {name: round(max(each), 3) for name, each in facts.items() if _varies(name)},
    }


def _varies(fact: str) -> bool:
    return fact.endswith("_s")


def _typical(fact: str, values: Sequence[float]) -> float:
    return statistics.median(values) if _varies(fact) else max(values)
