"""A sweep: every region at once, each for itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from imds_enforcer.decision import drift_filters
from imds_enforcer.failures import AwsError
from imds_enforcer.model import Outcome, Result
from imds_enforcer.plan import result_of
from imds_enforcer.report import RegionReport, RunReport
from imds_enforcer.retry import settle_sweep

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from imds_enforcer.decision import Filters
    from imds_enforcer.events import SweepRequest
    from imds_enforcer.run import Run

_AS_BEFORE = frozenset({Outcome.COMPLIANT, Outcome.EXEMPT, Outcome.SKIPPED})
"""Outcomes that a sweep counts and does not log: the same instances, unchanged, every time."""

REGION_LEFT_OUT = "the policy leaves this region out"

_EVERY_INSTANCE: Sequence[Filters] = ({},)


def sweep(run: Run, request: SweepRequest) -> RunReport:
    """Visit every region that the policy covers; a region that fails stops no other.

    An inventory visits the others too, where it counts and changes nothing.

    Raises:
        AwsError: if the account's regions could not be listed.
    """
    started = run.clock.monotonic()
    enabled = run.clients.ec2(run.clients.home_region).enabled_regions()
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
    """Each instance once: one that was just changed may still be listed with its old options."""
    ec2, enforcer = run.clients.ec2(region), run.enforcer(region)
    covered = run.policy.regions.covers(region)
    seen = set(settled)
    for one_set in filters:
        for page in ec2.find(one_set):
            unseen = [instance for instance in page if instance.instance_id not in seen]
            seen.update(instance.instance_id for instance in unseen)
            if covered:
                yield from map(settle_sweep, enforcer.enforce(unseen))
            else:
                yield from (result_of(i, Outcome.SKIPPED, REGION_LEFT_OUT, after=i.options) for i in unseen)
