"""An instance on its way from a decision to an outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imds_enforcer.failures import Failure, Kind
from imds_enforcer.model import Instance, MetadataOptions, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imds_enforcer.decision import Change

UNKNOWN_INSTANCE = Failure("InvalidInstanceID.NotFound", "EC2 does not list the instance", Kind.UNKNOWN_INSTANCE)


@dataclass(frozen=True, slots=True)
class Planned:
    """An instance, the change that it needs, what it comes to, and why.

    `cleared` says that it was asked, after the observation, whether the instance is held or contested.
    `unanswered` counts the attempts of which it is unknown whether EC2 took them, and
    `doubtful` says that the last one was such. `failure` is how the last attempt ended.
    """

    instance: Instance
    change: Change
    wanted: MetadataOptions
    reason: str
    cleared: bool = False
    unanswered: int = 0
    doubtful: bool = False
    failure: Failure | None = None

    @property
    def instance_id(self) -> str:
        """The instance's id."""
        return self.instance.instance_id


@dataclass(frozen=True, slots=True)
class Accepted:
    """A change that EC2 took, and when (monotonic seconds). Nothing is proven by it yet.

    `answer` is what EC2 answered; None if that was lost on its way.
    """

    plan: Planned
    at: float
    answer: Mapping[str, Any] | None = None


def result_of(
    instance: Instance,
    outcome: Outcome,
    reason: str,
    *,
    after: MetadataOptions | None = None,
    failure: Failure | None = None,
) -> Result:
    """The outcome of an instance that was read."""
    return Result(
        instance_id=instance.instance_id,
        region=instance.region,
        outcome=outcome,
        reason=reason,
        before=instance.options,
        after=after,
        failure=failure,
        source=instance.source,
    )


def unread(instance_id: str, region: str, outcome: Outcome, reason: str, failure: Failure | None = None) -> Result:
    """The outcome of an instance of which no more than the id is known."""
    return Result(instance_id=instance_id, region=region, outcome=outcome, reason=reason, failure=failure)


def failed(instance: Instance, failure: Failure, after: MetadataOptions | None = None) -> Result:
    """The outcome of an instance whose change, or whose reading, failed."""
    return result_of(instance, Outcome.FAILED, str(failure), after=after, failure=failure)
