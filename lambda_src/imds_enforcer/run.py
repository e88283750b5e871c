"""What one run of the enforcer works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.enforcer import Enforcer
from imds_enforcer.gate import LegacyCallGate
from imds_enforcer.guard import Guard
from imds_enforcer.journal import Journal
from imds_enforcer.limits import RegionLimits
from imds_enforcer.policy import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from imds_enforcer.clients import Clients
    from imds_enforcer.clock import Clock, Deadline
    from imds_enforcer.mandate import Mandate
    from imds_enforcer.model import Result
    from imds_enforcer.policy import Policy


@dataclass(frozen=True, slots=True)
class Visit:
    """One region's turn: the enforcer for it, and the guard that knows what stood in its way."""

    enforcer: Enforcer
    guard: Guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One invocation under one policy.

    No change is begun once the `mandate` has ended, and no page of a region is read once
    `list_deadline` has passed; each change is given `verify_timeout` seconds to take effect. By
    `ends_at` all that was begun has its outcome, if the process is still there.
    `log` is called once for each instance worth a line, with what triggered the look at it.
    `shuffle` brings ids into an order that differs each time. `by` is who ordered the run, where that was a person.
    """

    run_id: str
    policy: Policy
    clients: Clients
    clock: Clock
    mandate: Mandate
    list_deadline: Deadline
    verify_timeout: float
    ends_at: datetime
    log: Callable[[Result, str], None]
    shuffle: Callable[[list[str]], None]
    by: str | None = None

    def visit_for_sweep(
        self, region: str, trigger: str, limits: RegionLimits, settle: Callable[[Result], Result]
    ) -> Visit:
        """A sweep's visit to a region."""
        journal = self._journal(lambda _: trigger)
        guard = Guard(self.clients.records, self.clock, journal, sweeps=True)
        return Visit(self._enforcer(region, guard, limits, settle), guard)

    def visit_for_events(
        self,
        region: str,
        trigger_of: Callable[[str], str],
        drifted_by: Mapping[str, str],
        settle: Callable[[Result], Result],
    ) -> Visit:
        """A visit to the instances that events named; `drifted_by` has those set back by somebody, and by whom."""
        # In audit mode nothing is set right, so that there is no contest to begin.
        drift = {} if self.policy.mode is Mode.AUDIT else drifted_by
        journal = self._journal(trigger_of)
        guard = Guard(self.clients.records, self.clock, journal, drifted_by=drift.get)
        return Visit(self._enforcer(region, guard, RegionLimits.none(region), settle), guard)

    def _journal(self, trigger_of: Callable[[str], str]) -> Journal:
        return Journal(
            self.clients.records,
            self.clock,
            run_id=self.run_id,
            versions=self.policy.versions,
            ends_at=self.ends_at,
            trigger_of=trigger_of,
            by=self.by,
        )

    def _enforcer(
        self, region: str, guard: Guard, limits: RegionLimits, settle: Callable[[Result], Result]
    ) -> Enforcer:
        return Enforcer(
            self.clients.ec2(region),
            self.policy,
            self.clock,
            gate=LegacyCallGate(self.clients, self.policy, self.clock, region),
            guard=guard,
            limits=limits,
            mandate=self.mandate,
            verify_timeout=self.verify_timeout,
            settle=settle,
        )
