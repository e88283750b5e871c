"""A batch from the event queue: merge the instances it names, enforce them, return the messages to come back."""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imds_enforcer.decision.drift_filters import drift_filters
from imds_enforcer.ledger.refused_launches import RefusedLaunch
from imds_enforcer.limits.region_limits import limits_of
from imds_enforcer.model import AwsError, Failure, Kind, Outcome, Result, Trigger
from imds_enforcer.model.result import UNKNOWN_INSTANCE, unread
from imds_enforcer.policy import REGION_LEFT_OUT
from imds_enforcer.reporting.report import RegionReport, RunReport
from imds_enforcer.runs.account_defaults import enforce_changed
from imds_enforcer.runs.event_fields import MalformedEventError
from imds_enforcer.runs.events import ForeignEventError, parse_event
from imds_enforcer.runs.retry import finalize_event, retry_delay, wants_retry
from imds_enforcer.runs.sweep import RegionSweep

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from imds_enforcer.aws.services import Clients
    from imds_enforcer.enforcement.enforcer import Enforcer
    from imds_enforcer.policy import RegionSelection
    from imds_enforcer.runs.events import InstanceEvent, QueuedMessage
    from imds_enforcer.runs.run import PolicyRun


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event, and the message that brought it."""

    message: QueuedMessage
    event: InstanceEvent


@dataclass(slots=True)
class ParsedBatch:
    """The messages of a batch, sorted by what the function can do with them.

    `deliveries` are about instances or account defaults. `refused_launches` name no instance, because the launches
    failed. The function can never handle `malformed` messages, and could not check `unchecked` ones this time; the text
    of each says why. `foreign` counts the events of other accounts, by account. `out_of_reach` counts events by region,
    for regions that EC2 does not list and the policy does not include.
    """

    deliveries: list[Delivery] = field(default_factory=list)
    refused_launches: dict[QueuedMessage, RefusedLaunch] = field(default_factory=dict)
    malformed: dict[QueuedMessage, str] = field(default_factory=dict)
    unchecked: dict[QueuedMessage, str] = field(default_factory=dict)
    foreign: Counter[str] = field(default_factory=Counter)
    out_of_reach: Counter[str] = field(default_factory=Counter)


def parse_batch(messages: Iterable[QueuedMessage], account: str) -> ParsedBatch:
    """Parse the messages and sort them; drop launches that failed for a reason other than tokens."""
    batch = ParsedBatch()
    for message in messages:
        try:
            event = parse_event(message.body, account)
            if isinstance(event, RefusedLaunch):
                batch.refused_launches[message] = event
            elif event is not None:
                batch.deliveries.append(Delivery(message, event))
        except ForeignEventError as error:
            batch.foreign[error.account] += 1
        except MalformedEventError as error:
            batch.malformed[message] = str(error)
    return batch


def check_regions(batch: ParsedBatch, clients: Clients, selection: RegionSelection) -> None:
    """Set aside the messages from regions that are not enabled, or that cannot be checked.

    EC2 is asked for its regions once, and only if a message names a region that EC2 has not listed before. If the
    function has no permission to ask, the regions that the policy includes count as enabled. Messages from other
    regions are then only counted: coming back would not help them.

    Raises:
        AwsError: if AWS does not accept the credentials.
    """
    problem = ""
    if not clients.known_regions.issuperset(delivery.event.region for delivery in batch.deliveries):
        try:
            clients.learn_regions()
        except AwsError as error:
            if error.failure.kind is Kind.CREDENTIALS:
                raise
            problem = str(error)
    known, enabled = clients.known_regions.union(clients.regions(selection)), []
    for delivery in batch.deliveries:
        region = delivery.event.region
        if region in known:
            enabled.append(delivery)
        elif problem:
            batch.unchecked[delivery.message] = problem
        elif clients.unlisted:
            batch.out_of_reach[region] += 1
        else:
            batch.malformed[delivery.message] = f"region is {region}; allowed: the regions enabled in the account"
    batch.deliveries = enabled


def enforce_batch(
    run: PolicyRun, deliveries: Sequence[Delivery], gone_after: float
) -> tuple[RunReport, dict[QueuedMessage, int]]:
    """Enforce each instance that the events name once; also return the messages that must come back, with delays.

    Regions run in parallel. Times are in seconds; for `gone_after`, see `finalize_event`.
    """
    started = run.clock.monotonic()
    by_region: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        by_region[delivery.event.region].append(delivery)
    with ThreadPoolExecutor(max(1, len(by_region)), thread_name_prefix="region") as pool:
        batches = [_RegionBatch(run, region, named, gone_after) for region, named in by_region.items()]
        parts = list(pool.map(_RegionBatch.enforce, batches))
    report = RunReport(
        run_id=run.run_id,
        trigger="events",
        policy=run.policy,
        regions={batch.region: part for batch, (part, _) in zip(batches, parts, strict=True)},
        seconds=run.clock.monotonic() - started,
        stopped=run.cancellation.cancelled,
        credentials_refused=run.cancellation.refused,
    )
    return report, {message: delay for _, again in parts for message, delay in again.items()}


@dataclass(frozen=True, slots=True)
class _RegionBatch:
    """The deliveries of one region."""

    run: PolicyRun
    region: str
    deliveries: Sequence[Delivery]
    gone_after: float

    def enforce(self) -> tuple[RegionReport, dict[QueuedMessage, int]]:
        """Return the region's report, and the messages that must come back with their delays in seconds."""
        report = RegionReport()
        results = {result.instance_id: result for result in self._finalized(report)}
        named = {instance_id: result for instance_id, result in results.items() if wants_retry(result)}
        region_again = self._sweep_where_ids_were_omitted(report, set(results))
        events = ((delivery.message, delivery.event) for delivery in self.deliveries)
        defaults_again = enforce_changed(self.run, self.region, report, events)
        again: dict[QueuedMessage, int] = {}
        for delivery in self.deliveries:
            waiting = [named[each] for each in delivery.event.instance_ids if each in named]
            region_waits = (delivery.event.whole_region and region_again) or (
                delivery.event.of_defaults and defaults_again
            )
            if waiting or region_waits:
                again[delivery.message] = retry_delay(delivery.message.receives, waiting)
        return report, again

    def _finalized(self, report: RegionReport) -> Iterator[Result]:
        """Report, log and yield one result for each named instance, however many messages name it."""
        by_instance: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in self.deliveries:
            for instance_id in delivery.event.instance_ids:
                by_instance[instance_id].append(delivery)
        now = self.run.clock.now()
        drifted_by = _drifted_by(self.deliveries)

        def trigger_of(instance_id: str) -> str:
            # Corrections of drift are counted: an earlier event about the instance must not hide one.
            return Trigger.DRIFT if instance_id in drifted_by else by_instance[instance_id][0].event.trigger

        def finalize(result: Result) -> Result:
            deliveries = by_instance[result.instance_id]
            return finalize_event(
                result,
                age=min((now - delivery.event.time).total_seconds() for delivery in deliveries),
                receives=min(delivery.message.receives for delivery in deliveries),
                gone_after=self.gone_after,
            )

        enforcer = self.run.for_events(self.region, trigger_of, drifted_by, finalize)
        for result in self._results(enforcer, by_instance):
            final = finalize(result)
            report.add(final)
            self.run.log(final, trigger_of(result.instance_id))
            yield final
        report.stopped, report.ledger_failure = enforcer.context.cancellation.stopped, enforcer.context.ledger_failure

    def _results(self, enforcer: Enforcer, instance_ids: Collection[str]) -> Iterator[Result]:
        if not self.run.policy.regions.covers(self.region):
            yield from (unread(i, self.region, Outcome.SKIPPED, REGION_LEFT_OUT) for i in instance_ids)
            return
        try:
            found = enforcer.context.read(instance_ids)
        except AwsError as error:
            yield from (self._failed(i, error.failure) for i in instance_ids)
            return
        yield from enforcer.enforce(found.values())
        yield from (self._failed(i, UNKNOWN_INSTANCE) for i in instance_ids if i not in found)

    def _failed(self, instance_id: str, failure: Failure) -> Result:
        return unread(instance_id, self.region, Outcome.FAILED, str(failure), failure)

    def _sweep_where_ids_were_omitted(self, report: RegionReport, done: set[str]) -> bool:
        """Sweep the rest of the region if an event omits the ids; True if this sweep must be repeated.

        Changes over the sweep's limit are left to the next sweep.
        """
        if not any(delivery.event.whole_region for delivery in self.deliveries):
            return False
        if not self.run.policy.regions.covers(self.region):
            return False
        filters, limits = drift_filters(self.run.policy), limits_of(self.run.policy, [self.region])[self.region]
        rest = RegionSweep(self.run, self.region, filters, Trigger.LAUNCH, limits, done).visit()
        report.include(rest)
        unfinished = rest.outcomes[Outcome.DEFERRED] > rest.left_to_sweep
        return unfinished or (rest.failure is not None and rest.failure.may_work_later)


def _drifted_by(deliveries: Iterable[Delivery]) -> dict[str, str]:
    """Who changed each instance's options."""
    return {
        instance_id: delivery.event.principal
        for delivery in deliveries
        if delivery.event.trigger is Trigger.DRIFT
        for instance_id in delivery.event.instance_ids
    }
