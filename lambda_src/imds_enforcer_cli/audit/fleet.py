"""Reads and judges an account's instances, all regions in parallel and independent of each other."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import Protocol

from imds_enforcer.aws.boto import batched
from imds_enforcer.aws.cloudwatch import CallMetrics, most_at_once
from imds_enforcer.aws.services import Clients
from imds_enforcer.decision.legacy_calls import CALLS_OF_GROUP, CALLS_SERVED, Calls, Counted, group_of, own_calls_decide
from imds_enforcer.model import AwsError, Instance, Kind
from imds_enforcer.policy import Gate
from imds_enforcer_cli.audit.findings import Audited, serves_imdsv1
from imds_enforcer_cli.audit.judge import Judge
from imds_enforcer_cli.audit.notes import Seen
from imds_enforcer_cli.audit.sources import SourceAudit, sources
from imds_enforcer_cli.launches.launcher import Launcher
from imds_enforcer_cli.launches.launchers import launchers
from imds_enforcer_cli.launches.listing import Unread, unread_in
from imds_enforcer_cli.launches.reader import LaunchReader

_AT_ONCE = 8
"""Regions read at the same time: more would save little time and hold one more page each in memory."""

_PERIOD = timedelta(days=1)


@dataclass(slots=True)
class RegionAudit:
    """What was found in a region. `errors` say what could not be read.

    `listed` means that at least one page of instances was read, `complete` that all were, and `denied` that an
    organization's policy denies reading them. `unread` lists the kinds of launchers that could not be read.
    """

    region: str
    instances: list[Audited] = field(default_factory=list)
    sources: list[SourceAudit] = field(default_factory=list)
    launchers: list[Launcher] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    listed: bool = False
    complete: bool = False
    denied: bool = False
    seen: Seen = field(default_factory=Seen)

    @property
    def failed(self) -> bool:
        """True if something could not be read. An organization's denial does not count: it is intended."""
        return bool(self.errors) and not self.denied


class Progress(Protocol):
    """Receives the progress of each region, from several threads."""

    def __call__(self, region: str, *, pages: int, instances: int, done: bool = False) -> None:
        """Report the pages and instances read so far; `done` after the last page."""


@dataclass(frozen=True, slots=True)
class Lookback:
    """How many days of calls without a token to show; and the policy's gate, if any, which has its own lookback."""

    days: int
    gate: Gate | None = None

    def since(self, now: datetime, days: int) -> datetime:
        """Midnight UTC at the start of the day that is `days` before today."""
        return datetime.combine(now.astimezone(UTC).date() - timedelta(days=days), time(), UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The fleet, judged as of `now`.

    Without `lookback`, CloudWatch is not asked. `readers` read, by region, what launches instances; empty if the
    operator does not want that.
    """

    clients: Clients
    judge: Judge
    now: datetime
    lookback: Lookback | None
    readers: Mapping[str, LaunchReader]
    progress: Progress
    stopped: threading.Event = field(default_factory=threading.Event)

    def audit(self, regions: Sequence[str]) -> list[RegionAudit]:
        """Audit every region, in the order given; a region that cannot be read does not stop the others.

        Raises:
            AwsError: if AWS does not accept the credentials.
        """
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="region") as pool:
            try:
                return list(pool.map(self._region, regions))
            finally:
                # After an interruption, do not wait for the remaining regions.
                self.stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def _region(self, region: str) -> RegionAudit:
        audit = RegionAudit(region)
        if self.stopped.is_set():
            return audit
        calls = _RegionCalls(self.clients.call_metrics(region), self.now, self.lookback) if self.lookback else None
        pages, asks_further = 0, region in self.readers
        try:
            for page in self.clients.ec2(region).find({}):
                audit.listed = True
                audit.instances += self._audited(page, calls)
                audit.seen.add(page, self.judge.policy)
                pages += 1
                self.progress(region, pages=pages, instances=len(audit.instances))
                if self.stopped.is_set():
                    return audit
            audit.complete = True
        except AwsError as error:
            if error.failure.kind is Kind.CREDENTIALS:
                self.stopped.set()
                raise
            audit.denied = error.failure.denied_by_organization and not audit.listed
            audit.errors.append(f"denied by the organization: {error}" if audit.denied else str(error))
            # A region that rejects the credentials rejects them in every service.
            asks_further = asks_further and not error.failure.of_credentials
        if calls and calls.failure:
            audit.errors.append(f"the IMDSv1 calls are not known: {calls.failure}")
        audit.instances.sort(key=lambda each: each.instance_id)
        if asks_further:
            self._ask_further(audit)
        self.progress(region, pages=pages, instances=len(audit.instances), done=True)
        return audit

    def _ask_further(self, audit: RegionAudit) -> None:
        """Read what launched the instances, and what will launch the next ones."""
        launched = [(each.instance_id, each.source) for each in audit.instances]
        templates = {source.launch_template for _, source in launched if source.launch_template}
        inventory = self.readers[audit.region].read(templates, {source.image_id for _, source in launched})
        audit.sources = sources(audit.instances, inventory)
        audit.launchers = launchers(audit.region, inventory, launched)
        audit.unread = unread_in(audit.region, inventory)

    def _audited(self, page: Sequence[Instance], calls: "_RegionCalls | None") -> Iterable[Audited]:
        shown, gated = calls.of([each for each in page if serves_imdsv1(each)]) if calls else ({}, {})
        for each in page:
            judgement = self.judge.judge(each, gated.get(each.instance_id))
            yield Audited.of(each, judgement, shown.get(each.instance_id))


class _RegionCalls:
    """Counts a region's calls without a token. After the first failure, CloudWatch is not asked again."""

    def __init__(self, metrics: CallMetrics, now: datetime, lookback: Lookback) -> None:
        self._metrics = metrics
        self._now = now
        self._lookback = lookback
        self._groups: dict[str, Calls] = {}
        self.failure: AwsError | None = None

    def of(self, instances: Sequence[Instance]) -> tuple[dict[str, Calls], dict[str, Calls]]:
        """The calls to show, and the calls on which the gate decides; instances with unknown counts are left out."""
        lookback, now, gate = self._lookback, self._now, self._lookback.gate
        shown_since = lookback.since(now, lookback.days)
        gate_since = lookback.since(now, gate.lookback_days) if gate else shown_since
        points = self._points(CALLS_SERVED, [each.instance_id for each in instances], min(shown_since, gate_since))
        shown = {each: Calls.summed(counted, shown_since) for each, counted in points.items()}
        gated = {each: Calls.summed(counted, gate_since) for each, counted in points.items()}
        groups = {each.instance_id: group for each in instances if gate and (group := group_of(each, gate))}
        unknown = sorted({*groups.values()} - self._groups.keys())
        for name, counted in self._points(CALLS_OF_GROUP, unknown, gate_since).items():
            self._groups[name] = replace(Calls.summed(counted, gate_since), group=name)
        for each in instances:
            if group := groups.get(each.instance_id):
                of_group = self._groups.get(group)
                if of_group is None:
                    gated.pop(each.instance_id, None)
                elif not own_calls_decide(each, of_group, now):
                    gated[each.instance_id] = of_group
        return shown, gated

    def _points(
        self, counted: Counted, names: Sequence[str], start: datetime
    ) -> dict[str, Sequence[tuple[datetime, float]]]:
        """The data points by name. After a request to CloudWatch has failed, no more points are read."""
        found: dict[str, Sequence[tuple[datetime, float]]] = {}
        for some in batched(names, most_at_once(counted, start, self._now, _PERIOD)):
            if self.failure:
                break
            try:
                points = self._metrics.points(
                    counted, some, start=start, end=self._now, period=int(_PERIOD.total_seconds())
                )
            except AwsError as error:
                if error.failure.kind is Kind.CREDENTIALS:
                    raise
                self.failure = error
                break
            found |= {each: points.get(each, ()) for each in some}
        return found
