"""One run of the enforcer: the only place that assembles the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from imds_enforcer.aws.call_history import CallHistory
from imds_enforcer.enforcement.account_defaults import DefaultsContext, DefaultsEnforcer
from imds_enforcer.enforcement.context import RegionContext
from imds_enforcer.enforcement.enforcer import Enforcer
from imds_enforcer.enforcement.gate import LegacyCallGate, gate_query, group_query
from imds_enforcer.enforcement.hold_check import HoldCheck
from imds_enforcer.enforcement.ledger_writer import LedgerWriter, Origin
from imds_enforcer.enforcement.refusals import Refusals
from imds_enforcer.limits.cancellation import Cancellation, RegionCancellation
from imds_enforcer.limits.region_limits import RegionLimits
from imds_enforcer.model import Deadline, HttpTokens
from imds_enforcer.policy import Mode, PolicyVersions
from imds_enforcer.policy.account_defaults import contradictions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from imds_enforcer.aws.ledger_table import Entries
    from imds_enforcer.aws.services import Clients
    from imds_enforcer.limits.cancellation import Versions
    from imds_enforcer.model import Clock, PlannedChange, Result
    from imds_enforcer.model.region_defaults import DefaultsResult
    from imds_enforcer.policy import Policy

ANSWER_RESERVE_SECONDS = 30.0
"""Kept free at the end of a run, after the last read-back, for the report."""


@dataclass(eq=False, kw_only=True)
class Run:
    """A run that changes instances, by a person's order or under a policy (`PolicyRun`).

    No change begins after `seconds`, or once `cancellation` has another reason; each change has
    `verify_timeout` seconds to take effect. By `ends_at` every change that was begun has its outcome, unless
    the process died. `by` names the person who ordered the run, if one did. `versions` are those of the policy
    that the run follows, and `source` says whether they are still in force; None if it follows no policy.
    """

    run_id: str
    clients: Clients
    clock: Clock
    ledger: Entries
    seconds: float
    verify_timeout: float
    by: str | None = None
    versions: PolicyVersions = field(default_factory=PolicyVersions)
    source: Versions | None = None
    cancellation: Cancellation = field(init=False)
    ends_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        """The run begins now."""
        self.cancellation = Cancellation(Deadline.after(self.clock, self.seconds), self.versions, self.source)
        ending = self.seconds + self.verify_timeout + ANSWER_RESERVE_SECONDS
        self.ends_at = self.clock.now() + timedelta(seconds=ending)

    def order(self, region: str, trigger: str, *, heeds_holds: bool) -> RegionContext:
        """The context of a person's order in one region; a revert sets holds itself and does not heed them."""
        limits = RegionLimits.none(region)
        cancellation = RegionCancellation(self.cancellation, limits)
        return self._context(
            limits,
            cancellation,
            hold_check=HoldCheck(self.clients.ledger_table, self.clock, cancellation) if heeds_holds else None,
            trigger_of=lambda _: trigger,
        )

    def defaults(self, region: str, trigger: str) -> DefaultsContext:
        """The context of a region's account defaults. It stops on its own: instances go on, and vice versa."""
        origin = self._origin(lambda _: trigger)
        return DefaultsContext(
            region=region,
            api=self.clients.account_defaults(region),
            ledger_table=self.clients.ledger_table,
            clock=self.clock,
            cancellation=RegionCancellation(self.cancellation, RegionLimits.none(region)),
            origin=origin,
            verify_timeout=self.verify_timeout,
        )

    def _origin(self, trigger_of: Callable[[str], str]) -> Origin:
        return Origin(
            run_id=self.run_id, versions=self.versions, ends_at=self.ends_at, trigger_of=trigger_of, by=self.by
        )

    def _context(
        self,
        limits: RegionLimits,
        cancellation: RegionCancellation,
        *,
        hold_check: HoldCheck | None,
        trigger_of: Callable[[str], str],
        finalize: Callable[[Result], Result] = lambda result: result,
    ) -> RegionContext:
        return RegionContext(
            ec2=self.clients.ec2(limits.region),
            clock=self.clock,
            limits=limits,
            cancellation=cancellation,
            hold_check=hold_check,
            ledger=LedgerWriter(self.ledger, self.clock, cancellation, self._origin(trigger_of)),
            verify_timeout=self.verify_timeout,
            finalize=finalize,
            refusals=Refusals(self.clients.ledger_table.notes, self.clock, cancellation, limits.region),
        )


@dataclass(eq=False, kw_only=True)
class PolicyRun(Run):
    """One invocation under one policy.

    The run reads no page of a region once `list_deadline` has passed. It calls `log` once for each instance worth
    a line, with what triggered the look at it. `shuffle` brings ids into random order. `floor` is the weakest
    `HttpTokens` that may be set. `keeps_defaults` says whether the run may set the regions' account defaults; None for
    a run that never does. It calls `log_defaults` if there is something to say about them.
    """

    policy: Policy
    source: Versions | None = field()  # no default: the caller must say whether the policy may change during the run
    log: Callable[[Result, str], None]
    shuffle: Callable[[list[str]], None]
    floor: HttpTokens = HttpTokens.OPTIONAL
    keeps_defaults: bool | None = None
    log_defaults: Callable[[DefaultsResult, str], None] = field(default=lambda _result, _trigger: None)
    list_deadline: Deadline = field(init=False)
    _enforcers: list[Enforcer] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """The run begins now, and follows this policy only."""
        self.versions = self.policy.versions
        super().__post_init__()
        self.list_deadline = Deadline.after(self.clock, self.seconds / 2)

    def for_sweep(self, trigger: str, limits: RegionLimits, finalize: Callable[[Result], Result]) -> Enforcer:
        """The enforcer for a sweep of the region that has these limits."""
        return self._enforcer(limits, None, trigger_of=lambda _: trigger, finalize=finalize)

    def for_events(
        self,
        region: str,
        trigger_of: Callable[[str], str],
        drifted_by: Mapping[str, str],
        finalize: Callable[[Result], Result],
    ) -> Enforcer:
        """The enforcer for instances that events named; `drifted_by` says who changed the options of some of them."""
        # Audit mode corrects no drift, so no contest begins.
        drift = {} if self.policy.mode is Mode.AUDIT else drifted_by
        return self._enforcer(RegionLimits.none(region), drift, trigger_of=trigger_of, finalize=finalize)

    def for_defaults(self, region: str, trigger: str, drifted_by: str | None = None) -> DefaultsEnforcer | None:
        """The enforcer of a region's account defaults; None if the run leaves those of all regions alone."""
        wanted = self.policy.account_defaults
        if wanted is None or not self.keeps_defaults or self.contradictions():
            return None
        return DefaultsEnforcer(self.defaults(region, trigger), self.policy, wanted, self.floor, drifted_by)

    def contradictions(self) -> list[str]:
        """Why the policy's account defaults cannot be followed; empty while tokens are optional and not enforced."""
        required = self.policy.http_tokens is HttpTokens.REQUIRED
        return contradictions(self.policy, self.clock.now()) if required else []

    def under_way(self) -> list[PlannedChange]:
        """The changes sent in any region that have no result yet. Any thread may call it."""
        return [plan for enforcer in list(self._enforcers) for plan in enforcer.under_way()]

    def latest(self) -> list[Result]:
        """The latest results of each region, which may not be reported yet. Any thread may call it."""
        return [result for enforcer in list(self._enforcers) for result in enforcer.latest()]

    def _enforcer(
        self,
        limits: RegionLimits,
        drifted_by: Mapping[str, str] | None,
        *,
        trigger_of: Callable[[str], str],
        finalize: Callable[[Result], Result],
    ) -> Enforcer:
        cancellation = RegionCancellation(self.cancellation, limits)
        context = self._context(
            limits,
            cancellation,
            hold_check=HoldCheck(self.clients.ledger_table, self.clock, cancellation, drifted_by),
            trigger_of=trigger_of,
            finalize=finalize,
        )
        gate = gate_of(self.policy, self.clients, self.clock, limits.region)
        enforcer = Enforcer(context, self.policy, gate, self.floor)
        self._enforcers.append(enforcer)
        return enforcer


def gate_of(policy: Policy, clients: Clients, clock: Clock, region: str) -> LegacyCallGate | None:
    """The policy's gate for one region; None if the policy has no gate."""
    if policy.gate is None:
        return None
    of_instances, of_groups = (
        CallHistory(clients.ledger_table.notes, lambda: clients.call_metrics(region), clock, query)
        for query in (gate_query(policy.gate, region), group_query(policy.gate, region))
    )
    return LegacyCallGate(policy, policy.gate, of_instances, of_groups, clock)
