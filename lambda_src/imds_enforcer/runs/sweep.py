"""A sweep: all regions in parallel, each on its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from imds_enforcer.aws.ec2 import PAGE_SIZE
from imds_enforcer.decision.drift_filters import drift_filters
from imds_enforcer.ledger.entry import Entry
from imds_enforcer.ledger.recovery import completed, left_behind
from imds_enforcer.model import AwsError, Failure, Instance, Kind, Outcome, PlannedChange, Result, Trigger
from imds_enforcer.model.wording import regions_unlisted
from imds_enforcer.reporting import telemetry
from imds_enforcer.reporting.report import RegionReport, RegionStatus, RunReport
from imds_enforcer.runs.account_defaults import findings, visit_with_defaults
from imds_enforcer.runs.refused_launches import recall
from imds_enforcer.runs.retry import finalize_sweep

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from imds_enforcer.aws.services import Clients
    from imds_enforcer.decision.drift_filters import Filters
    from imds_enforcer.enforcement.context import RegionContext
    from imds_enforcer.enforcement.enforcer import Enforcer
    from imds_enforcer.ledger.recovery import AnyEntry
    from imds_enforcer.limits.region_limits import RegionLimits
    from imds_enforcer.model import Clock
    from imds_enforcer.runs.events import SweepRequest
    from imds_enforcer.runs.run import PolicyRun

_AS_BEFORE = frozenset({Outcome.COMPLIANT, Outcome.EXEMPT, Outcome.SKIPPED, Outcome.HELD})
"""Outcomes that a sweep counts but does not log: the same unchanged instances every time.

The daily inventory logs the instances that are held or lack an option that EC2 refused; every report names the first
of them.
"""

_MAX_PLANS = PAGE_SIZE
"""Plans kept from the listing. Beyond these only ids are kept: a plan would be too old when its turn comes."""

_NOT_LISTED_IN_TIME = Failure(
    "OutOfTime", "the region has more instances than a sweep has time to list", Kind.UNAVAILABLE
)

_EVERY_INSTANCE: Sequence[Filters] = ({},)


def intents_left_behind(clients: Clients, clock: Clock) -> Sequence[AnyEntry]:
    """Intents of processes that ended; empty if the ledger is out of reach, as the next sweep asks again."""
    try:
        return left_behind(clients.ledger_table.open_intents(), clock.now())
    except AwsError as error:
        telemetry.ledger_unavailable("open entries of the ledger could not be read", error)
        return ()


def sweep(
    run: PolicyRun, request: SweepRequest, limits: Mapping[str, RegionLimits], left_behind: Sequence[AnyEntry] = ()
) -> RunReport:
    """Visit every region in `limits` that the policy covers; a region that fails stops no other.

    `left_behind` are intents of processes that ended; the sweep completes them first.
    """
    started = run.clock.monotonic()
    visited = [region for region in limits if run.policy.regions.covers(region)]
    for region in limits.keys() - set(visited):
        limits[region].declare(0)
    filters = _EVERY_INSTANCE if request.inventory else drift_filters(run.policy)
    visits = [
        RegionSweep(
            run,
            region,
            filters,
            request.trigger,
            limits[region],
            left_behind=[entry for entry in left_behind if entry.region == region],
        )
        for region in visited
    ]
    with ThreadPoolExecutor(max(1, len(visits)), thread_name_prefix="region") as pool:
        reports = list(pool.map(visit_with_defaults, visits))
    return RunReport(
        run_id=run.run_id,
        trigger=request.trigger,
        policy=run.policy,
        regions={
            name: report for name, report in zip(visited, reports, strict=True) if _is_reported(report, request.trigger)
        },
        expired_exemptions=run.policy.expired_exemptions(run.clock.now()),
        warnings=(*_warnings(run, limits), *findings(run)),
        refused_launchers=recall(run.clients) if request.inventory else (),
        seconds=run.clock.monotonic() - started,
        stopped=run.cancellation.cancelled,
        credentials_refused=run.cancellation.refused,
    )


def _is_reported(report: RegionReport, trigger: str) -> bool:
    """False for a region that the organization denies: only an inventory or a person's sweep names it each time."""
    every_region = trigger in {Trigger.INVENTORY, Trigger.COMMAND}
    denied = report.status is RegionStatus.REGION_DENIED
    return every_region or not denied or bool(report.outcomes or report.ledger_failure)


def _warnings(run: PolicyRun, regions: Collection[str]) -> tuple[str, ...]:
    if run.clients.unlisted:
        return (regions_unlisted(run.clients.unlisted, [*regions]),)
    return tuple(
        f"The policy names the region {region}, which is not enabled in this account."
        for region in run.policy.regions.unknown(regions)
    )


@dataclass(frozen=True, slots=True)
class RegionSweep:
    """One region's part of a sweep: the instances that match any of the `filters`.

    The instances in `done` already have their result; `left_behind` are ledger entries to complete first.
    """

    run: PolicyRun
    region: str
    filters: Sequence[Filters]
    trigger: str
    limits: RegionLimits
    done: Collection[str] = ()
    left_behind: Sequence[AnyEntry] = ()

    def visit(self) -> RegionReport:
        """Sweep the region and report on it, even if it could not be read."""
        report = RegionReport()
        enforcer = self.run.for_sweep(self.trigger, self.limits, finalize_sweep)
        try:
            self._complete_entries(enforcer.context)
        except AwsError as error:
            enforcer.context.cancellation.heed(error.failure)
            report.ledger_failure = error.failure
        try:
            for result in self._results(enforcer):
                report.add(result)
                if self._logged(result):
                    self.run.log(result, self.trigger)
        except AwsError as error:
            report.failure = error.failure
        report.stopped, report.tripped = enforcer.context.cancellation.stopped, self.limits.tripped is not None
        report.ledger_failure = enforcer.context.ledger_failure or report.ledger_failure
        return report

    def _logged(self, result: Result) -> bool:
        """True for news; in an inventory also for instances that stay different from the policy."""
        if self.trigger == Trigger.INVENTORY and (result.outcome is Outcome.HELD or result.refused):
            return True
        return result.outcome not in _AS_BEFORE or any(not each.noted for each in result.refused)

    def _complete_entries(self, context: RegionContext) -> None:
        left_behind = [entry for entry in self.left_behind if isinstance(entry, Entry)]
        if not left_behind:
            return
        try:
            seen = context.read({entry.instance_id for entry in left_behind})
        except AwsError:
            # They stay open for the next sweep. If EC2 cannot be read at all, the listing below reports it.
            return
        ledger_table = self.run.clients.ledger_table
        ledger_table.entries.write(
            completed(entry, seen, since)
            for entry in left_behind
            # The index may lag behind: skip an entry that its process has written again since.
            if entry in (since := ledger_table.entries.of(entry.instance_id, entry.at))
        )

    def _results(self, enforcer: Enforcer) -> Iterator[Result]:
        """One result for each instance.

        List the region first, and keep little more than the ids of the instances to change. Then change
        these in random order, so that instances whose change always fails are not ahead of the others
        in every sweep.

        Raises:
            AwsError: after all results, if the listing was cut short.
        """
        listing = _Listing(self.run, enforcer, self.region, self.done)
        try:
            yield from listing.results(self.filters)
        finally:
            self.limits.declare(len(listing.plans))
        plans = listing.plans
        order = list(plans)
        self.run.shuffle(order)
        backlog = ((instance_id, plans.pop(instance_id)) for instance_id in order)
        yield from enforcer.remediate(backlog, sweep_size=len(order))
        if listing.error:
            raise listing.error


class _Listing:
    """A region's listing: the results of instances that need no change, and the plans for the others."""

    def __init__(self, run: PolicyRun, enforcer: Enforcer, region: str, done: Collection[str]) -> None:
        self._run = run
        self._enforcer = enforcer
        self._region = region
        self._done = set(done)
        self.plans: dict[str, PlannedChange | None] = {}
        self.error: AwsError | None = None

    def results(self, filters: Sequence[Filters]) -> Iterator[Result]:
        """The results of instances that need no change."""
        several = len(filters) > 1
        try:
            for page in self._pages(filters):
                for result in self._results(page):
                    yield result
                    if several:
                        self._done.add(result.instance_id)
        except AwsError as error:
            self._enforcer.context.cancellation.heed(error.failure)
            self.error = error

    def _pages(self, filters: Sequence[Filters]) -> Iterator[list[Instance]]:
        """The pages, until the listing ends or has to stop.

        Raises:
            AwsError: if it has to stop: it is out of time, or AWS does not accept the credentials.
        """
        cancellation = self._enforcer.context.cancellation
        ec2, late = self._run.clients.ec2(self._region), False
        pages = chain.from_iterable(ec2.find(each, self._run.list_deadline) for each in filters)
        while not (refused := cancellation.refused):
            page = next(pages, None)
            if page is None:
                return
            if late and page:
                raise AwsError(_NOT_LISTED_IN_TIME)
            yield page
            late = self._run.list_deadline.passed
        raise AwsError(refused)

    def _results(self, page: Iterable[Instance]) -> Iterator[Result]:
        # An instance that matches several sets of filters is listed several times.
        fresh = [each for each in page if each.instance_id not in self._done and each.instance_id not in self.plans]
        for examined in self._enforcer.examine(fresh):
            if isinstance(examined, PlannedChange):
                self.plans[examined.instance_id] = examined if len(self.plans) < _MAX_PLANS else None
            else:
                yield finalize_sweep(examined)
