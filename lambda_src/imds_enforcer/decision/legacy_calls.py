"""Calls to the metadata service without a token, as CloudWatch counts them, and what they mean for an instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.model import HttpTokens
from imds_enforcer.model.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

    from imds_enforcer.model import PlannedChange
    from imds_enforcer.policy import Gate, Policy

SERVED = "MetadataNoToken"
"""EC2's metric of IMDSv1 calls that were answered: there only while tokens are optional."""

REJECTED = "MetadataNoTokenRejected"
"""EC2's metric of calls without a token that were refused: there only while tokens are required."""


@dataclass(frozen=True, slots=True)
class Calls:
    """How many there were, and the last day with one. `total` is None where CloudWatch has no data."""

    total: int | None = None
    last: date | None = None

    @classmethod
    def summed(cls, points: Iterable[tuple[datetime, float]], since: datetime) -> Calls:
        """The sum of the points from a moment on; each point counts what came in the period after it."""
        counted = [(moment, int(value)) for moment, value in points if moment >= since]
        last = max((moment.date() for moment, value in counted if value), default=None)
        return cls(sum(value for _, value in counted), last) if counted else cls()


def is_gated(plan: PlannedChange, policy: Policy, now: datetime) -> bool:
    """True if the change would take IMDSv1 from an instance that may have come to depend on it."""
    gate, options = policy.gate, plan.instance.options
    return (
        gate is not None
        and gate.in_force(now)
        and plan.change.http_tokens is HttpTokens.REQUIRED
        and options is not None
        and options.http_tokens is HttpTokens.OPTIONAL
        and not plan.instance.first_launched(now)
    )


def held_back(calls: Calls, gate: Gate) -> str | None:
    """Why an instance with so many calls keeps IMDSv1; None if it does not."""
    if calls.total is None or calls.total <= gate.tolerate:
        return None
    until = f"until the end of {gate.enforce_after}" if gate.enforce_after else "until they end"
    return f"{_calls(calls.total)} in {gate.lookback_days} days, the last on {calls.last}; held {until}"


def let_through(calls: Calls, gate: Gate) -> str:
    """What the report says of an instance that the gate let through."""
    if calls.total is None:
        return f"CloudWatch has no data of IMDSv1 calls in {gate.lookback_days} days"
    return f"{_calls(calls.total)} in {gate.lookback_days} days"


def _calls(number: int) -> str:
    return count(number, "IMDSv1 call") if number else "no IMDSv1 calls"
