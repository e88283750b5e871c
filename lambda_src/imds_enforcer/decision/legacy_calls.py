"""Calls to the metadata service without a token, as CloudWatch counts them, and what they mean for an instance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from imds_enforcer.model import HttpTokens
from imds_enforcer.model.wording import count
from imds_enforcer.policy import CountedBy

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

    from imds_enforcer.model import Instance, PlannedChange
    from imds_enforcer.policy import Gate, Policy

SERVED = "MetadataNoToken"
"""EC2's metric of IMDSv1 calls that were answered; it exists only while tokens are optional."""

REJECTED = "MetadataNoTokenRejected"
"""EC2's metric of calls without a token that were rejected; it exists only while tokens are required."""

TAGGED_WITHIN = timedelta(seconds=60)
"""How long after its launch an instance has the tag of its Auto Scaling group at the latest."""

FIND_CALLER = "IMDS Packet Analyzer finds the caller"
HOW_TO_FIND_CALLERS = (
    "To find what calls IMDSv1 on a Linux instance, use IMDS Packet Analyzer, which names the process. On the "
    "instance, clone https://github.com/aws/aws-imds-packet-analyzer, install what its README requires, and run: "
    "sudo python3 src/imds_snoop.py"
)
"""Shown once for all instances. The reason of each instance has only `FIND_CALLER`."""


class Counted(NamedTuple):
    """A query to CloudWatch: the sum of some of EC2's metrics, by one of their dimensions."""

    metrics: tuple[str, ...]
    dimension: str = "InstanceId"


CALLS_SERVED = Counted((SERVED,))

CALLS_OF_GROUP = Counted((SERVED, REJECTED), "AutoScalingGroupName")
"""Both metrics, since some members of a group may already require tokens."""


@dataclass(frozen=True, slots=True)
class Calls:
    """How many calls there were, and the last day with a call. `total` is None if CloudWatch has no data.

    `group` is the Auto Scaling group whose calls these are; None if they are one instance's.
    """

    total: int | None = None
    last: date | None = None
    group: str | None = None

    @classmethod
    def summed(cls, points: Iterable[tuple[datetime, float]], since: datetime) -> Calls:
        """The sum of the points from `since` on; each point counts the calls in the period after it."""
        counted = [(moment, int(value)) for moment, value in points if moment >= since]
        last = max((moment.date() for moment, value in counted if value), default=None)
        return cls(sum(value for _, value in counted), last) if counted else cls()


def is_gated(plan: PlannedChange, policy: Policy, now: datetime) -> bool:
    """True if the change would take IMDSv1 from an instance that may depend on it.

    An existing instance may depend on it by itself. A new instance may depend on it only through its group.
    """
    gate, instance = policy.gate, plan.instance
    return (
        gate is not None
        and _takes_imdsv1(plan, gate, now)
        and (not instance.first_launched(now) or group_of(instance, gate) is not None)
    )


def _takes_imdsv1(plan: PlannedChange, gate: Gate, now: datetime) -> bool:
    options = plan.instance.options
    return (
        gate.in_force(now)
        and plan.change.http_tokens is HttpTokens.REQUIRED
        and options is not None
        and options.http_tokens is HttpTokens.OPTIONAL
    )


def group_of(instance: Instance, gate: Gate) -> str | None:
    """The Auto Scaling group whose calls decide about the instance; None if the instance's own calls decide.

    The names of new groups consist of ASCII characters 33 to 126 (Auto Scaling API Reference,
    "CreateAutoScalingGroup"). For other names CloudWatch has no metric, and a request with one fails (CloudWatch API
    Reference, "Dimension").
    """
    name = instance.auto_scaling_group
    if gate.by is not CountedBy.GROUP or name is None:
        return None
    return name if name.isascii() and name.isprintable() and name.strip() else None


def seconds_until_tagged(plan: PlannedChange, policy: Policy, now: datetime) -> float | None:
    """How long a new instance waits for the tag of an Auto Scaling group; None if it need not wait.

    A group tags its instances as it launches them, except Spot Instances of a launch configuration, which it tags
    shortly after (EC2 Auto Scaling User Guide, "Tag Auto Scaling groups and instances"). So an instance launched from
    a launch template does not wait.
    """
    gate, instance = policy.gate, plan.instance
    if gate is None or gate.by is not CountedBy.GROUP or not _takes_imdsv1(plan, gate, now):
        return None
    if instance.attached_at is None or instance.auto_scaling_group is not None or instance.launch_template is not None:
        return None
    # By a clock that is slow, a launch may lie in the future: the instance waits no longer than any other.
    left = min(TAGGED_WITHIN, instance.attached_at + TAGGED_WITHIN - now).total_seconds()
    return left if left > 0 else None


def own_calls_decide(instance: Instance, of_group: Calls | None, now: datetime) -> bool:
    """True if an instance's own calls decide: it is in no group, or CloudWatch has no data on its group.

    The own calls of a new instance in a group never decide, because it has none yet.
    """
    return of_group is None or (of_group.total is None and not instance.first_launched(now))


def held_back(calls: Calls, gate: Gate) -> str | None:
    """Why an instance with these calls keeps IMDSv1; None if it may lose it."""
    if calls.total is None or calls.total <= gate.tolerate:
        return None
    until = f"until the end of {gate.enforce_after}" if gate.enforce_after else "until the calls stop"
    counted = f"{_whose(calls)}{_calls(calls.total)} in {gate.lookback_days} days, the last on {calls.last}"
    return f"{counted}; gated {until}; {FIND_CALLER}"


def let_through(calls: Calls, gate: Gate) -> str:
    """What the report says of an instance that the gate let through."""
    if calls.total is None:
        return f"{_whose(calls)}CloudWatch has no data on IMDSv1 calls in {gate.lookback_days} days"
    return f"{_whose(calls)}{_calls(calls.total)} in {gate.lookback_days} days"


def _whose(calls: Calls) -> str:
    return f"Auto Scaling group {calls.group}: " if calls.group else ""


def _calls(number: int) -> str:
    return count(number, "IMDSv1 call") if number else "no IMDSv1 calls"
