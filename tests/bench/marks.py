"""The marks that the measurements must meet; a missing figure meets none."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.measurement import DESCRIBE, System

Systems = Mapping[str, System]

COLD, WARM, DEPLOYED = "enforcer, cold", "enforcer, warm", "enforcer, deployed"
COLD_WITHOUT, WARM_WITHOUT = f"{COLD}, no safeguards", f"{WARM}, no safeguards"
BARE = "bare boto3"
C7N, C7N_ORG, C7N_ORG_WIDE, METABADGER = "c7n", "c7n-org", "c7n-org, a process a region", "metabadger"
AUDIT, AUDIT_JSON = "command, audit as table", "command, audit as JSON"
SYSTEMS: Mapping[str, str] = {
    "cold": COLD,
    "warm": WARM,
    "deployed": DEPLOYED,
    "cold-without": COLD_WITHOUT,
    "warm-without": WARM_WITHOUT,
    "boto3": BARE,
    "audit": AUDIT,
    "audit-json": AUDIT_JSON,
    "c7n": C7N,
    "c7n-org": C7N_ORG,
    "c7n-org-wide": C7N_ORG_WIDE,
    "metabadger": METABADGER,
}
"""The systems by their names in the variable SYSTEMS."""

OURS = (COLD, WARM)
PEAK_MB = 150
SAFEGUARDS_COST = 1.15
"""The most time, as a multiple of the enforcer's without gate, ledger and watch."""

NO_SLOWER = 1.02
"""The most time, as a multiple of the fastest peer's. If EC2's bucket sets the time, a difference of 2 % is noise."""

EVENTS_A_REQUEST = 100
SWEEP_SECONDS = 15


@dataclass(frozen=True)
class Mark:
    """A figure and its inclusive limits."""

    name: str
    figure: float | None
    at_most: float = math.inf
    at_least: float = -math.inf

    @property
    def met(self) -> bool:
        """Whether the figure is within its limits."""
        return self.figure is not None and self.at_least <= self.figure <= self.at_most

    def as_json(self) -> dict[str, Any]:
        """The mark's form in bench.json."""
        limits = {"at_most": self.at_most, "at_least": self.at_least}
        return {
            "mark": self.name,
            "figure": None if self.figure is None else round(self.figure, 3),
            **{name: limit for name, limit in limits.items() if math.isfinite(limit)},
            "met": self.met,
        }


def _safeguards(systems: Systems) -> list[Mark]:
    """The time that gate, ledger and watch add."""
    return [
        Mark(
            f"seconds ÷ without safeguards, {name}", _times(systems, both, without, "seconds"), at_most=SAFEGUARDS_COST
        )
        for name, both, without in (("cold", COLD, COLD_WITHOUT), ("warm", WARM, WARM_WITHOUT))
    ]


def burst(systems: Systems, _bound_s: float) -> list[Mark]:
    """One launch of 100."""
    return [
        Mark("seconds, warm", _get(systems, WARM, "seconds"), at_most=1.5),
        Mark("seconds, cold", _get(systems, COLD, "seconds"), at_most=3),
        Mark("times as fast as c7n, cold", _times(systems, C7N, COLD, "seconds"), at_least=4),
        *_safeguards(systems),
    ]


def sustained(systems: Systems, bound_s: float) -> list[Mark]:
    """400 in one region, at the rate that EC2 allows, with EC2's bucket to itself."""
    return [
        Mark("times the bound, cold", _bounds(systems, COLD, bound_s), at_most=1.05),
        Mark("times the bound, warm", _bounds(systems, WARM, bound_s), at_most=1.04),
        *(Mark(f"requests throttled: {name}", _get(systems, name, "throttled"), at_most=0) for name in OURS),
        Mark("seconds ÷ c7n, cold", _times(systems, COLD, C7N, "seconds"), at_most=NO_SLOWER),
        *_safeguards(systems),
    ]


def regions(systems: Systems, bound_s: float) -> list[Mark]:
    """Ten regions take little longer than one, and little more than the changes alone. The peer is at its fastest."""
    return [
        Mark("times one region's bound, warm", _bounds(systems, WARM, bound_s), at_most=1.3),
        Mark(f"seconds ÷ {BARE}, cold", _times(systems, COLD, BARE, "seconds"), at_most=1.1),
        Mark(f"CPU ÷ {BARE}, cold", _times(systems, COLD, BARE, "cpu_s"), at_most=2),
        *(Mark(f"CPU ms a change: {name}", _cpu_ms(systems, name)) for name in (COLD, BARE)),
        Mark(f"seconds ÷ {C7N_ORG_WIDE}, cold", _times(systems, COLD, C7N_ORG_WIDE, "seconds"), at_most=NO_SLOWER),
        *_safeguards(systems),
    ]


def quiet(systems: Systems, _bound_s: float) -> list[Mark]:
    """Nothing to do in a large fleet."""
    describes = [Mark(f"DescribeInstances: {name}", _requests(systems, name, DESCRIBE), at_most=1) for name in OURS]
    return [
        *describes,
        Mark("times less time than c7n, cold", _times(systems, C7N, COLD, "seconds"), at_least=2.5),
        Mark("times less CPU than c7n, cold", _times(systems, C7N, COLD, "cpu_s"), at_least=2.5),
        Mark("times less time than c7n, warm", _times(systems, C7N, WARM, "seconds"), at_least=15),
        Mark("times less CPU than c7n, warm", _times(systems, C7N, WARM, "cpu_s"), at_least=20),
        # In seconds: of a tenth of a second, the lease's two writes are a third.
        *(
            Mark(f"seconds more than without safeguards, {name}", _more(systems, both, without), at_most=0.1)
            for name, both, without in (("cold", COLD, COLD_WITHOUT), ("warm", WARM, WARM_WITHOUT))
        ),
        # For information only: a hundredth of a second is mostly noise.
        Mark("CPU ÷ without safeguards, cold", _times(systems, COLD, COLD_WITHOUT, "cpu_s")),
        Mark("CPU ÷ without safeguards, warm", _times(systems, WARM, WARM_WITHOUT, "cpu_s")),
    ]


def storm(systems: Systems, bound_s: float) -> list[Mark]:
    """500 events of one instance each."""
    instances = _get(systems, DEPLOYED, "instances")
    return [
        Mark("times the bound", _bounds(systems, DEPLOYED, bound_s), at_most=1.3),
        Mark(
            "DescribeInstances before a batch's first change",
            _fact(systems, DEPLOYED, "first_looks"),
            at_most=(instances or 0) / EVENTS_A_REQUEST,
        ),
    ]


def mixed(systems: Systems, _bound_s: float) -> list[Mark]:
    """A launch while a sweep has used up the bucket."""
    return [
        Mark("seconds until the launch is applied", _fact(systems, DEPLOYED, "launch_s"), at_most=2.5),
        Mark("the same, the slowest", _fact(systems, DEPLOYED, "launch_s", "slowest")),
    ]


def long(systems: Systems, bound_s: float) -> list[Mark]:
    """More changes than one sweep can make."""
    wrong = _get(systems, WARM, "instances")
    done, changes = _get(systems, WARM, "required"), _fact(systems, WARM, "changed")
    return [
        Mark("sweeps", _fact(systems, WARM, "sweeps"), at_most=math.ceil(bound_s / SWEEP_SECONDS) + 2),
        Mark("changed twice", _difference(changes, done), at_most=0, at_least=0),
        Mark("lost", _difference(wrong, done), at_most=0, at_least=0),
    ]


def memory(systems: Systems, _bound_s: float) -> list[Mark]:
    """Memory does not grow with the number of candidates."""
    return [
        Mark(
            f"memory for 50,000 against 5,000: {mode}",
            _times(systems, f"{mode}, 50,000", f"{mode}, 5,000", "peak_mb"),
            at_most=1.1,
            at_least=0.9,
        )
        for mode in ("audit", "enforce")
    ]


def audit(systems: Systems, _bound_s: float) -> list[Mark]:
    """The operator waits for it."""
    return [Mark(f"seconds: {name}", _get(systems, name, "seconds"), at_most=3) for name in (AUDIT, AUDIT_JSON)]


SPECIFIC: Mapping[str, Callable[[Systems, float], list[Mark]]] = {
    "burst": burst,
    "sustained": sustained,
    "regions": regions,
    "quiet": quiet,
    "storm": storm,
    "mixed": mixed,
    "long": long,
    "memory": memory,
    "audit": audit,
}
PEERS = (C7N, METABADGER)


def marks_of(scenario: str, systems: Systems, bound_s: float) -> list[Mark]:
    """All marks of a scenario: its own, no instance left, and memory."""
    ours = [name for name in systems if not name.startswith((*PEERS, BARE))]
    return [
        *SPECIFIC[scenario](systems, bound_s),
        *(_all_done(systems, name) for name in ours),
        *(Mark(f"peak MB: {name}", _get(systems, name, "peak_mb"), at_most=PEAK_MB) for name in ours),
    ]


def _all_done(systems: Systems, name: str) -> Mark:
    left = _difference(_get(systems, name, "instances"), _get(systems, name, "required"))
    return Mark(f"instances left: {name}", left, at_most=0, at_least=0)


def _more(systems: Systems, name: str, less: str) -> float | None:
    return _difference(_get(systems, name, "seconds"), _get(systems, less, "seconds"))


def _get(systems: Systems, name: str, field: str) -> float | None:
    value = systems.get(name, {}).get(field)
    return None if value is None else float(value)


def _fact(systems: Systems, name: str, fact: str, which: str = "facts") -> float | None:
    value = systems.get(name, {}).get(which, {}).get(fact)
    return None if value is None else float(value)


def _requests(systems: Systems, name: str, action: str) -> float | None:
    requests = systems.get(name, {}).get("requests")
    return None if requests is None else float(requests.get(action, 0))


def _times(systems: Systems, more: str, less: str, field: str) -> float | None:
    above, below = _get(systems, more, field), _get(systems, less, field)
    return above / below if above is not None and below else None


def _bounds(systems: Systems, name: str, bound_s: float) -> float | None:
    seconds = _get(systems, name, "seconds")
    return None if seconds is None else seconds / bound_s


def _cpu_ms(systems: Systems, name: str) -> float | None:
    cpu_s, done = _get(systems, name, "cpu_s"), _get(systems, name, "required")
    return cpu_s / done * 1000 if cpu_s is not None and done else None


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
