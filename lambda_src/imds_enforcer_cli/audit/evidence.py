"""Reads everything that is known about the instances that an operator names by id; writes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from imds_enforcer.aws.call_history import CallHistory, CallQuery
from imds_enforcer.aws.dynamodb import NoTable
from imds_enforcer.aws.ledger_table import LedgerTable
from imds_enforcer.aws.services import Clients
from imds_enforcer.decision.legacy_calls import REJECTED, SERVED, Calls, Counted
from imds_enforcer.enforcement.gate import deciding_calls, gate_query, group_query
from imds_enforcer.ledger.entry import Entry
from imds_enforcer.ledger.holds import Standing
from imds_enforcer.ledger.refusals import RefusalNote
from imds_enforcer.model import AwsError, Clock, Instance, Kind
from imds_enforcer.policy import Gate
from imds_enforcer_cli.audit.document import Subject
from imds_enforcer_cli.audit.fleet import Lookback
from imds_enforcer_cli.audit.judge import noted_refusals

CALLS, HOLDS, LEDGER = "calls", "holds", "ledger"
"""The kinds of evidence that may be unreadable although EC2 can be read."""


@dataclass(slots=True, kw_only=True)
class Evidence:
    """One instance, and what else was read about it.

    `calls` are the calls without a token, by metric; empty if CloudWatch was not asked. `gate_calls` are those on which
    the policy's gate decides; None if CloudWatch was not asked. `refusals` are the options that EC2 refused, by
    instance. `failures` say why a kind of evidence could not be read.
    """

    instance: Instance
    calls: dict[str, Calls] = field(default_factory=dict)
    gate_calls: Calls | None = None
    standing: Standing = field(default_factory=Standing)
    refusals: dict[str, RefusalNote] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Search:
    """The instances found, by id; the regions that answered; and the errors of those that did not."""

    found: Mapping[str, Instance]
    asked: tuple[str, ...]
    refused: Mapping[str, str]


def search(clients: Clients, instance_ids: Sequence[str], regions: Sequence[str]) -> Search:
    """Look up the instances by id in all these regions at once: listings omit instances that a service manages.

    Raises:
        AwsError: if AWS does not accept the credentials.
    """
    # Make the clients first: a boto3 session must not create clients in several threads.
    adapters = {region: clients.ec2(region) for region in regions}
    found: dict[str, Instance] = {}
    refused: dict[str, str] = {}

    def read(region: str) -> None:
        try:
            found.update(adapters[region].read(instance_ids))
        except AwsError as error:
            if error.failure.kind is Kind.CREDENTIALS:
                raise
            refused[region] = str(error)

    with ThreadPoolExecutor(len(regions), thread_name_prefix="region") as pool:
        list(pool.map(read, regions))
    asked = tuple(region for region in regions if region not in refused)
    return Search({each: found[each] for each in instance_ids if each in found}, asked, dict(sorted(refused.items())))


def gathered(
    clients: Clients, clock: Clock, instances: Iterable[Instance], subject: Subject, lookback: Lookback | None
) -> list[Evidence]:
    """Collect the evidence about each instance; without `lookback`, CloudWatch is not asked.

    Raises:
        AwsError: if AWS does not accept the credentials.
    """
    evidence = [Evidence(instance=instance) for instance in instances]
    with _noted(evidence, HOLDS):
        standing = clients.ledger_table.holds.standing()
        for each in evidence:
            each.standing = standing
    for each in evidence:
        with _noted([each], LEDGER):
            each.entries = clients.ledger_table.entries.of(each.instance.instance_id)
    by_region: dict[str, list[Evidence]] = defaultdict(list)
    for each in evidence:
        by_region[each.instance.region].append(each)
    for region, some in by_region.items():
        with _noted(some, LEDGER):
            refusals = noted_refusals(clients.ledger_table.notes, subject.policy, [region])
            for each in some:
                each.refusals = refusals
        with _noted(some, CALLS):
            if lookback:
                _read_calls(_Counts(clients, clock, region, subject.at), some, lookback)
    return evidence


def _read_calls(counts: "_Counts", evidence: Sequence[Evidence], lookback: Lookback) -> None:
    instances = {each.instance.instance_id: each.instance for each in evidence}
    gate = lookback.gate or Gate(lookback_days=lookback.days)
    shown = gate_query(Gate(lookback_days=lookback.days), counts.region)
    since = dict.fromkeys(instances, lookback.since(counts.now, lookback.days))
    of_instances = counts.history(shown)
    served = of_instances.of(since)
    rejected = counts.history(replace(shown, counted=Counted((REJECTED,)))).of(since)
    if gate.lookback_days != lookback.days:
        of_instances = counts.history(gate_query(gate, counts.region))
    deciding = deciding_calls(
        instances, gate, of_instances, counts.history(group_query(gate, counts.region)), counts.now
    )
    for each in evidence:
        instance_id = each.instance.instance_id
        each.calls = {SERVED: served[instance_id], REJECTED: rejected[instance_id]}
        each.gate_calls = deciding[instance_id]


@dataclass(frozen=True, slots=True)
class _Counts:
    """Counts the calls without a token of one region's instances and groups, as the gate does."""

    clients: Clients
    clock: Clock
    region: str
    now: datetime

    def history(self, query: CallQuery) -> CallHistory:
        """The history for a query.

        Unlike the gate's history, it keeps no notes for later runs, because an audit writes nothing.
        """
        notes = LedgerTable(NoTable(), self.clock).notes
        return CallHistory(notes, lambda: self.clients.call_metrics(self.region), self.clock, query)


@contextmanager
def _noted(evidence: Sequence[Evidence], kind: str) -> Iterator[None]:
    """Record why one kind of evidence could not be read, and go on with the others."""
    try:
        yield
    except AwsError as error:
        if error.failure.kind is Kind.CREDENTIALS:
            raise
        for each in evidence:
            each.failures[kind] = str(error)
