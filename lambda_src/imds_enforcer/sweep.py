"""A sweep: every region at once, each for itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING

from imds_enforcer.decision import drift_filters
from imds_enforcer.ec2 import PAGE_SIZE
from imds_enforcer.failures import AwsError, Failure, Kind
from imds_enforcer.model import Instance, Outcome, Result
from imds_enforcer.pacing import sweep_share
from imds_enforcer.plan import Planned, result_of
from imds_enforcer.report import RegionReport, RunReport
from imds_enforcer.retry import settle_sweep

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from imds_enforcer.decision import Filters
    from imds_enforcer.events import SweepRequest
    from imds_enforcer.run import Run

_AS_BEFORE = frozenset({Outcome.COMPLIANT, Outcome.EXEMPT, Outcome.SKIPPED})
"""Outcomes that a sweep counts and does not log: the same instances, unchanged, every time."""

REGION_LEFT_OUT = "the policy leaves this region out"

_MAX_PLANS = PAGE_SIZE
"""Plans that are kept from the listing. Of a larger fleet only ids are: a plan is too old before its turn comes."""

_NOT_LISTED_IN_TIME = Failure(
    "OutOfTime", "the region has more instances than a sweep has time to list", Kind.UNAVAILABLE
)

_EVERY_INSTANCE: Sequence[Filters] = ({},)


def sweep(run: Run, request: SweepRequest, enabled: Sequence[str]) -> RunReport:
    """Visit every enabled region that the policy covers; a region that fails stops no other.

    An inventory visits the others too, where it counts and changes nothing.
    """
    started = run.clock.monotonic()
    visited = [region for region in enabled if request.inventory or run.policy.regions.covers(region)]
    filters = _EVERY_INSTANCE if request.inventory else drift_filters(run.policy)
    regions = {region: RegionReport() for region in visited}
    with ThreadPoolExecutor(max(1, len(visited)), thread_name_prefix="region") as pool:
        visits = [
            pool.submit(sweep_region, run, region, filters, request.trigger, report=report)
            for region, report in regions.items()
        ]
    for visit in visits:
        visit.result()
    return RunReport(
        run_id=run.run_id,
        trigger=request.trigger,
        policy=run.policy,
        regions=regions,
        expired_exemptions=run.policy.expired_exemptions(run.clock.now()),
        warnings=tuple(
            f"The policy names the region {region}, which is not enabled in this account."
            for region in run.policy.regions.unknown(enabled)
        ),
        seconds=run.clock.monotonic() - started,
        stopped=run.mandate.why_ended,
    )


def sweep_region(  # noqa: PLR0913  # what a visit is; a class around it would only carry it here
    run: Run,
    region: str,
    filters: Sequence[Filters],
    trigger: str,
    *,
    report: RegionReport,
    settled: Collection[str] = (),
) -> None:
    """Visit one region and add what came of it to the report, that it could not be read included.

    The instances in `settled` have their result already.
    """
    try:
        for result in _results(run, region, filters, settled):
            report.add(result)
            if result.outcome not in _AS_BEFORE:
                run.log(result, trigger)
    except AwsError as error:
        report.failure = error.failure


def _results(run: Run, region: str, filters: Sequence[Filters], settled: Collection[str]) -> Iterator[Result]:
    """Each instance once.

    First the region is listed, and of what has to be changed no more than the ids are kept; then
    these are worked off in an order of chance, so that those which always fail cannot keep
    the others from their turn.

    Raises:
        AwsError: at the end, if the region could not be listed to its end.
    """
    listing = _Listing(run, region, settled)
    yield from listing.results(filters)
    plans = listing.plans
    order = list(plans)
    run.shuffle(order)
    backlog = ((instance_id, plans.pop(instance_id)) for instance_id in order)
    yield from map(settle_sweep, run.enforcer(region).remediate(backlog, sweep_share(len(order))))
    if listing.error:
        raise listing.error


class _Listing:
    """What a region's pages say: what is settled by a look, and what has to be changed."""

    def __init__(self, run: Run, region: str, settled: Collection[str]) -> None:
        self._run = run
        self._region = region
        self._settled = set(settled)
        self.plans: dict[str, Planned | None] = {}
        self.error: AwsError | None = None

    def results(self, filters: Sequence[Filters]) -> Iterator[Result]:
        """The results of those that need no change."""
        several = len(filters) > 1
        try:
            for page in self._pages(filters):
                for result in self._settle(page):
                    yield result
                    if several:
                        self._settled.add(result.instance_id)
        except AwsError as error:
            self.error = error

    def _pages(self, filters: Sequence[Filters]) -> Iterator[list[Instance]]:
        ec2, late = self._run.clients.ec2(self._region), False
        for page in chain.from_iterable(map(ec2.find, filters)):
            if late and page:
                raise AwsError(_NOT_LISTED_IN_TIME)
            yield page
            late = self._run.list_deadline.passed

    def _settle(self, page: Iterable[Instance]) -> Iterator[Result]:
        covered, decide = self._run.policy.regions.covers(self._region), self._run.enforcer(self._region).decide
        for instance in page:
            # One that fits several sets of filters is listed several times.
            if instance.instance_id in self._settled or instance.instance_id in self.plans:
                continue
            if not covered:
                yield result_of(instance, Outcome.SKIPPED, REGION_LEFT_OUT, after=instance.options)
                continue
            settled = decide(instance)
            if isinstance(settled, Planned):
                self.plans[instance.instance_id] = settled if len(self.plans) < _MAX_PLANS else None
            else:
                yield settle_sweep(settled)
