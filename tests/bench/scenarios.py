"""The scenarios in their order, with what each measures and how often."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tests.bench import audits, deployed, enforcer, peers, sweeps
from tests.bench.local_fleet import AGE_SECONDS, REGION, LocalFleet, local_fleet
from tests.bench.marks import (
    AUDIT,
    AUDIT_JSON,
    BARE,
    C7N,
    C7N_ORG,
    C7N_ORG_WIDE,
    COLD,
    COLD_WITHOUT,
    DEPLOYED,
    METABADGER,
    WARM,
    WARM_WITHOUT,
)
from tests.bench.measurement import REFILL, bound

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    from tests.bench.measurement import Run

    Systems = Mapping[str, Callable[[], Run]]
    Launch = Callable[[LocalFleet, int], object]

TEN_REGIONS = (
    *("eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1", "eu-north-1"),
    *("us-east-1", "us-east-2", "us-west-2", "ap-south-1", "ap-northeast-1"),
)
BURST, SUSTAINED, A_REGION, QUIET = 100, 400, 150, 5_000
WARMING = 5
"""Instances that a warm process has already changed; one in each region if there are several regions."""


@dataclass(frozen=True)
class Scenario:
    """A task for the systems.

    Attributes:
        title: its title in the table.
        bound_s: the least time that EC2's bucket allows.
        systems: opens the resources that the runs share, and returns a function for each system that runs it once.
        repetitions: how often each system is run.
        once: systems that run only once, since none of their marks is close.
    """

    title: str
    bound_s: float
    systems: Callable[[], AbstractContextManager[Systems]]
    repetitions: int = 1
    once: frozenset[str] = frozenset()

    def measure(
        self, tell: Callable[[str], None], names: Collection[str] = (), repetitions: int | None = None
    ) -> dict[str, list[Run]]:
        """Run every system in turn, and repeat: other load on the machine then affects all alike.

        Args:
            tell: called with a line for each run.
            names: the systems to measure; all if empty.
            repetitions: for all systems, replaces the scenario's own number.
        """
        runs: dict[str, list[Run]] = defaultdict(list)
        with self.systems() as systems:
            wanted = {name: measure for name, measure in systems.items() if not names or name in names}
            times = {name: repetitions or (1 if name in self.once else self.repetitions) for name in wanted}
            for repetition in range(max(times.values(), default=0)):
                for name in (each for each in wanted if repetition < times[each]):
                    run = wanted[name]()
                    runs[name].append(run)
                    tell(f"{name} {repetition + 1}/{times[name]}: {run.seconds:.2f} s")
        return runs


def _new(system: Callable[[LocalFleet], Run], launch: Launch, count: int, *regions: str) -> Callable[[], Run]:
    """A peer, or boto3 alone, on its own local AWS with a new fleet."""

    def measure() -> Run:
        with local_fleet(*regions) as fleet:
            launch(fleet, count)
            return system(fleet)

    return measure


def _started(fleet: LocalFleet, count: int) -> object:
    """Launch instances; returns the events of the launch."""
    return enforcer.running_events(fleet.launch(count))


def _unseen(fleet: LocalFleet, count: int) -> object:
    """Launch existing instances for a sweep, so that the gate asks about each; returns the sweep's event."""
    fleet.launch(count, age_seconds=AGE_SECONDS)
    return enforcer.SWEEP


def _cold(launch: Launch, count: int, *regions: str, safeguards: bool = True) -> Callable[[], Run]:
    """The enforcer on its own local AWS, in a new process."""

    def measure() -> Run:
        with local_fleet(*regions) as fleet:
            return enforcer.cold(fleet, launch(fleet, count), safeguards=safeguards)

    return measure


def _warm(launch: Launch, count: int, *regions: str, safeguards: bool = True) -> Callable[[], Run]:
    """The same, in a process that has handled a small launch before."""

    def measure() -> Run:
        with local_fleet(*regions) as fleet:
            few = max(1, WARMING // len(regions))
            first, then = partial(launch, fleet, few), partial(launch, fleet, count)
            return enforcer.warm(fleet, first, then, safeguards=safeguards)

    return measure


def _ours(launch: Launch, count: int, *regions: str) -> Systems:
    """The enforcer with and without its safeguards."""
    return {
        COLD: _cold(launch, count, *regions),
        COLD_WITHOUT: _cold(launch, count, *regions, safeguards=False),
        WARM: _warm(launch, count, *regions),
        WARM_WITHOUT: _warm(launch, count, *regions, safeguards=False),
    }


@contextmanager
def _quiet() -> Iterator[Systems]:
    """The systems of `quiet`; nothing changes, so one fleet serves all runs."""
    with local_fleet(REGION) as fleet:
        fleet.launch(QUIET, tokens="required", age_seconds=AGE_SECONDS)
        cold = partial(enforcer.cold, fleet, enforcer.SWEEP, swept=True)
        warm = partial(enforcer.warm, fleet, lambda: enforcer.SWEEP, lambda: enforcer.SWEEP)
        yield {
            COLD: cold,
            COLD_WITHOUT: partial(cold, safeguards=False),
            WARM: warm,
            WARM_WITHOUT: partial(warm, safeguards=False),
            C7N: partial(peers.c7n, fleet),
        }


def _own(systems: Systems) -> Callable[[], AbstractContextManager[Systems]]:
    return lambda: nullcontext(systems)


def _in_one_region(launch: Launch, count: int) -> Systems:
    return {
        **_ours(launch, count, REGION),
        C7N: _new(peers.c7n, launch, count, REGION),
        METABADGER: _new(peers.metabadger, launch, count, REGION),
    }


SCENARIOS: Mapping[str, Scenario] = {
    "burst": Scenario(
        "one launch of 100",
        bound(BURST),
        _own(_in_one_region(_started, BURST)),
        repetitions=7,
        once=frozenset({METABADGER}),
    ),
    "sustained": Scenario(
        "400 in one region",
        bound(SUSTAINED),
        _own(
            {
                **_in_one_region(_unseen, SUSTAINED),
                BARE: _new(peers.bare_boto3, _unseen, SUSTAINED, REGION),
            }
        ),
        repetitions=3,
        once=frozenset({COLD_WITHOUT, WARM_WITHOUT, METABADGER, BARE}),
    ),
    "regions": Scenario(
        "150 in each of 10 regions",
        bound(A_REGION),
        _own(
            {
                **_ours(_unseen, A_REGION, *TEN_REGIONS),
                BARE: _new(peers.bare_boto3, _unseen, A_REGION, *TEN_REGIONS),
                C7N_ORG: _new(peers.c7n_org, _unseen, A_REGION, *TEN_REGIONS),
                C7N_ORG_WIDE: _new(partial(peers.c7n_org, processes=len(TEN_REGIONS)), _unseen, A_REGION, *TEN_REGIONS),
            }
        ),
        repetitions=3,
        once=frozenset({C7N_ORG}),
    ),
    "quiet": Scenario("5,000 that need nothing", 0, _quiet, repetitions=3),
    "storm": Scenario(
        "500 launch events of one instance each", bound(deployed.STORM), _own({DEPLOYED: deployed.storm})
    ),
    "mixed": Scenario(
        "a launch of 10 during a sweep of 600",
        bound(deployed.SWEPT + deployed.LAUNCHED),
        _own({DEPLOYED: deployed.mixed}),
        repetitions=5,
    ),
    "long": Scenario(
        "3,000 in one region, 15 s a sweep, refill 10 times as fast",
        bound(sweeps.LONG, REFILL * sweeps.REFILL_TIMES),
        _own({WARM: sweeps.long}),
    ),
    "memory": Scenario(
        "5,000 and 50,000 candidates from within the process",
        0,
        _own(
            {
                f"{mode}, {candidates:,}": partial(sweeps.memory, mode, candidates)
                for mode in ("audit", "enforce")
                for candidates in sweeps.CANDIDATES
            }
        ),
    ),
    "audit": Scenario(
        "1,000 to report on in each of 5 regions",
        0,
        _own({AUDIT: audits.audit, AUDIT_JSON: partial(audits.audit, audits.JSON)}),
        repetitions=3,
    ),
}
