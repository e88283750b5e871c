"""The watch: find instances that still get calls without a token after the enforcer required tokens."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from imds_enforcer.aws.call_history import CallHistory, CallQuery
from imds_enforcer.decision.legacy_calls import REJECTED, Counted
from imds_enforcer.model import AwsError, HttpTokens, Trigger
from imds_enforcer.reporting import mails, telemetry
from imds_enforcer.reporting.mails import Rejection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from imds_enforcer.aws.services import Clients
    from imds_enforcer.ledger.entry import Entry
    from imds_enforcer.model import Clock
    from imds_enforcer.policy import Watch

_PERIOD = timedelta(minutes=5)
_GOOD_FOR = timedelta(hours=1)

_FIRST_LOOK = timedelta(minutes=10)
"""How long the watch waits after a change.

EC2 publishes a point every five minutes: an earlier answer would be empty, and kept for an hour.
"""


@dataclass(slots=True)
class Watched:
    """What the watch found: every instance over the limit, and those that no mail has named yet."""

    over_limit: list[Rejection] = field(default_factory=list)
    news: list[Rejection] = field(default_factory=list)
    failures: dict[str, AwsError] = field(default_factory=dict)


def watch(clients: Clients, clock: Clock, terms: Watch) -> Watched:
    """Look at every instance that the ledger shows as changed to `required` within the watch's time.

    CloudWatch is asked about an instance once an hour at most. If CloudWatch or EC2 fails in a region, the region is
    among the failures and stops no other.

    Raises:
        AwsError: if the ledger could not be read.
    """
    found = Watched()
    by_region: dict[str, dict[str, Entry]] = defaultdict(dict)
    now = clock.now()
    # One more round after the watch's time, for the calls of its last hour.
    for entry in _changes_to_watch(clients.ledger_table.entries.since(now - terms.time - _GOOD_FOR - _FIRST_LOOK)):
        if now - entry.at >= _FIRST_LOOK:
            by_region[entry.region][entry.instance_id] = entry
    with ThreadPoolExecutor(max(1, len(by_region)), thread_name_prefix="watch") as pool:
        asked = {
            region: pool.submit(_rejections, clients, clock, terms, region, changes)
            for region, changes in by_region.items()
        }
    for region, rejections in asked.items():
        try:
            found.over_limit += rejections.result()
        except AwsError as error:
            found.failures[region] = error
    if found.over_limit:
        mailed = clients.ledger_table.notes.mailed()
        found.news = [each for each in found.over_limit if (each.change.instance_id, each.change.run_id) not in mailed]
    return found


def _changes_to_watch(entries: Iterable[Entry]) -> list[Entry]:
    """The last change of each instance, if it switched IMDSv1 off and was not undone."""
    last: dict[str, Entry] = {}
    for entry in entries:
        result = entry.result
        if result is None:
            continue
        if entry.trigger == Trigger.REVERT:
            last.pop(entry.instance_id, None)
        elif result.http_tokens is not entry.before.http_tokens:
            last.pop(entry.instance_id, None)
            if result.http_tokens is HttpTokens.REQUIRED:
                last[entry.instance_id] = entry
    return list(last.values())


def _rejections(
    clients: Clients, clock: Clock, terms: Watch, region: str, changes: Mapping[str, Entry]
) -> list[Rejection]:
    query = CallQuery(
        topic=f"{REJECTED}/{region}",
        counted=Counted((REJECTED,)),
        period=_PERIOD,
        good_for=_GOOD_FOR,
        noted_by=lambda instance_id, moment: f"{instance_id} {moment:%d %H:%M}",
    )
    history = CallHistory(clients.ledger_table.notes, lambda: clients.call_metrics(region), clock, query)
    calls = history.of({instance_id: _begin_of(entry.at) for instance_id, entry in changes.items()})
    rejected = {i: each for i, each in calls.items() if (each.total or 0) >= terms.rejected_calls}
    if not rejected:
        return []
    seen = clients.ec2(region).read(rejected)
    return [Rejection(changes[i], each, seen.get(i)) for i, each in rejected.items()]


def _begin_of(moment: datetime) -> datetime:
    """The start of the metric's period that contains the change. EC2 rejected no call before the change."""
    return moment - (moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)) % _PERIOD


@dataclass(frozen=True, slots=True)
class Watcher:
    """The watch during one sweep: it reports and changes nothing."""

    clients: Clients
    clock: Clock

    def look(self, terms: Watch | None) -> Watched:
        """Find the lately changed instances that still get calls without a token; none if the policy has no watch."""
        if terms is None:
            return Watched()
        try:
            return watch(self.clients, self.clock, terms)
        except AwsError as error:
            telemetry.ledger_unavailable("the watch was skipped: the ledger could not be read", error)
            return Watched()

    def follow_up(self, watched: Watched, terms: Watch) -> None:
        """Count the instances over the limit, and mail each to the operators once."""
        for region, error in watched.failures.items():
            telemetry.call_failed(f"the watch could not check the changed instances in {region}", error)
        telemetry.rejected_calls(len(watched.over_limit))
        news = watched.news
        if not news:
            return
        try:
            if mails.send(self.clients, mails.still_called(news)):
                self.clients.ledger_table.notes.write_mailed([each.change for each in news], terms.time)
        except AwsError as error:
            telemetry.ledger_unavailable("the watch could not record which instances its mail named", error)
