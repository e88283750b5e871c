"""One region's limits: its share of the sweep's quota, and a circuit breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.limits.circuit_breaker import CircuitBreaker
from imds_enforcer.limits.sweep_limit import SweepLimit
from imds_enforcer.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imds_enforcer.model import Failure, PlannedChange, Result
    from imds_enforcer.policy import Policy

_PATIENCE_SECONDS = 0.2
"""How long a region waits, each time, for the others to declare what they need of the sweep's limit."""


class RegionLimits:
    """One region's share of the sweep's limit, and its circuit breaker.

    If `breaker` is None, failures never stop the region.
    """

    def __init__(self, region: str, sweep_limit: SweepLimit, breaker: CircuitBreaker | None) -> None:
        self.region = region
        self._sweep_limit = sweep_limit
        self._breaker = breaker

    @classmethod
    def none(cls, region: str) -> RegionLimits:
        """No limits: for events and commands, which name their instances."""
        return cls(region, SweepLimit(None, [region]), None)

    @property
    def tripped(self) -> str | None:
        """Why no further change may begin in the region; None while changes may begin."""
        return self._breaker.tripped if self._breaker else None

    def allow(self, plan: PlannedChange) -> bool:
        """True if the change may be sent. While the circuit breaker is in doubt, only changes already begun may."""
        return plan.begun or self._breaker is None or not self._breaker.in_doubt

    def declare(self, need: int) -> None:
        """Declare how many more instances of the region need a change."""
        self._sweep_limit.declare(self.region, need)

    def admit(self, plans: Sequence[PlannedChange]) -> list[PlannedChange]:
        """The plans that the limit has room for."""
        admitted = self._sweep_limit.admit(self.region, (plan.instance_id for plan in plans))
        return [plan for plan in plans if plan.instance_id in admitted]

    def withdraw(self, plans: Iterable[PlannedChange]) -> None:
        """Give back the share of the plans, except those already begun."""
        for plan in plans:
            if not plan.begun:
                self._sweep_limit.withdraw(self.region, plan.instance_id)

    def used_up(self) -> str | None:
        """Why no further instance may be changed; None while instances may be changed."""
        if not self._sweep_limit.used_up(self.region, _PATIENCE_SECONDS):
            return None
        return f"this region has used its share of the {self._sweep_limit.limit} instances that the sweep may change"

    def attempted(self, plan: PlannedChange, failure: Failure | None) -> None:
        """Record EC2's answer to one attempt; `failure` is None if it accepted the change."""
        if self._breaker:
            faulty = failure is not None and failure.kind is Kind.UNAVAILABLE
            self._breaker.attempted(plan.instance_id, faulty=faulty)

    def changed(self, result: Result) -> None:
        """Record the outcome of a change that was sent."""
        if self._breaker:
            self._breaker.count(result)

    def finished(self, result: Result) -> None:
        """Record that an instance is not retried, whatever its outcome."""
        if self._breaker:
            self._breaker.forget(result.instance_id)


def limits_of(policy: Policy, regions: Iterable[str]) -> dict[str, RegionLimits]:
    """The limits of one sweep, by region. The sweep's second look uses the same limits."""
    names = tuple(regions)
    sweep_limit = SweepLimit(policy.max_changes_per_sweep, names)
    return {region: RegionLimits(region, sweep_limit, CircuitBreaker()) for region in names}
