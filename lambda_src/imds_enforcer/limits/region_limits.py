"""How far a visit to a region may go: so many changes in all, and no further where too many of them fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.limits.circuit_breaker import Breaker
from imds_enforcer.limits.sweep_limit import Allowance
from imds_enforcer.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imds_enforcer.model import Failure, PlannedChange, Result
    from imds_enforcer.policy import Policy

_PATIENCE_SECONDS = 0.2
"""How long a region waits at once for others to say what they need of the sweep's limit."""


class RegionLimits:
    """The part of one region. Without a breaker too many failures stop nothing: an event's instances are few."""

    def __init__(self, region: str, allowance: Allowance, breaker: Breaker | None) -> None:
        self.region = region
        self._allowance = allowance
        self._breaker = breaker

    @classmethod
    def none(cls, region: str) -> RegionLimits:
        """Of what no sweep does: events and reverts name their instances."""
        return cls(region, Allowance(None, [region]), None)

    @property
    def tripped(self) -> str | None:
        """Why the region is left alone for now; None as long as it is not."""
        return self._breaker.tripped if self._breaker else None

    def allow(self, plan: PlannedChange) -> bool:
        """False for a change that was not tried before, while the circuit breaker is in doubt."""
        return bool(plan.unanswered) or self._breaker is None or not self._breaker.in_doubt

    def declare(self, need: int) -> None:
        """Say how many instances of the region have to be changed."""
        self._allowance.declare(self.region, need)

    def admit(self, plans: Sequence[PlannedChange]) -> list[PlannedChange]:
        """Those that the limit leaves room for."""
        admitted = self._allowance.admit(self.region, (plan.instance_id for plan in plans))
        return [plan for plan in plans if plan.instance_id in admitted]

    def withdraw(self, plan: PlannedChange) -> None:
        """Take back that a change is made: it was not sent, or EC2 would not take it yet."""
        if not plan.unanswered:
            self._allowance.withdraw(self.region, plan.instance_id)

    def used_up(self) -> str | None:
        """Why no further instance may be changed; None as long as one may."""
        if not self._allowance.used_up(self.region, _PATIENCE_SECONDS):
            return None
        return f"this region has had its share of the {self._allowance.limit} instances that the sweep may change"

    def attempted(self, plan: PlannedChange, failure: Failure | None) -> None:
        """Take notice of EC2's answer to one attempt; `failure` is None if it took the change."""
        if self._breaker:
            faulty = failure is not None and failure.kind is Kind.UNAVAILABLE
            self._breaker.attempted(plan.instance_id, faulty=faulty)

    def changed(self, result: Result) -> None:
        """Take notice of how a change that was sent has ended."""
        if self._breaker:
            self._breaker.count(result)

    def finished(self, result: Result) -> None:
        """Note that an instance is not tried again, whatever its outcome."""
        if self._breaker:
            self._breaker.dropped(result.instance_id)


def limits_of(policy: Policy, regions: Iterable[str]) -> dict[str, RegionLimits]:
    """How far one sweep of these regions may go, region by region; its second look is given the same."""
    names = tuple(regions)
    allowance = Allowance(policy.max_changes_per_sweep, names)
    return {region: RegionLimits(region, allowance, Breaker()) for region in names}
