"""What became of an instance in one run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from imds_enforcer.model.failures import Failure, Kind
from imds_enforcer.model.instance import Instance, MetadataOptions, OptionsState, Source, Switch

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from imds_enforcer.model.change import PlannedChange, Refusal


UNKNOWN_INSTANCE = Failure("InvalidInstanceID.NotFound", "EC2 does not list the instance", Kind.UNKNOWN_INSTANCE)


class Outcome(StrEnum):
    """What became of an instance in one run. The names are a contract: metrics carry them."""

    REMEDIATED = "REMEDIATED"
    PENDING = "PENDING"
    COMPLIANT = "COMPLIANT"
    EXEMPT = "EXEMPT"
    SKIPPED = "SKIPPED"
    WOULD_REMEDIATE = "WOULD_REMEDIATE"
    DEFERRED = "DEFERRED"
    GONE = "GONE"
    FAILED = "FAILED"
    HELD = "HELD"
    CONTESTED = "CONTESTED"


def counts(outcomes: Counter[Outcome]) -> dict[str, int]:
    """The outcomes that occurred, by name and always in the same order."""
    return {str(outcome): outcomes[outcome] for outcome in Outcome if outcomes[outcome]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of one instance, with everything a reader needs to understand it.

    `look_again_in` is the number of seconds until a deferred instance's turn comes; None if that is unknown.
    `left_to_sweep` is True if the next sweep takes over the instance: the event that named it need not come back.
    `source` is None if the instance was not read. `answer` is EC2's response to the change; None if no change was sent,
    or if the response was lost. `refused` has the options that still differ from the policy because EC2 refused them.
    """

    instance_id: str
    region: str
    outcome: Outcome
    reason: str
    before: MetadataOptions | None = None
    after: MetadataOptions | None = None
    failure: Failure | None = None
    look_again_in: float | None = None
    left_to_sweep: bool = False
    source: Source | None = None
    answer: Mapping[str, Any] | None = None
    refused: tuple[Refusal, ...] = ()

    @property
    def compliant(self) -> bool:
        """True if the instance is known to follow the policy now.

        An instance whose metadata service is off counts; one whose options are not yet applied does not.
        """
        if self.after is None:
            return False
        applied = self.after.state is OptionsState.APPLIED
        as_wanted = self.outcome in {Outcome.COMPLIANT, Outcome.REMEDIATED} and applied and not self.refused
        return as_wanted or self.after.http_endpoint is Switch.DISABLED


class Trigger(StrEnum):
    """What made the enforcer look at an instance."""

    LAUNCH = "launch"
    RUNNING = "running"
    DRIFT = "drift"
    SCHEDULE = "schedule"
    POLICY_CHANGE = "policy-change"
    SECOND_LOOK = "second-look"
    INVENTORY = "inventory"
    MANUAL = "manual"
    REVERT = "revert"
    COMMAND = "command"


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
    """The outcome of an instance of which only the id is known."""
    return Result(instance_id=instance_id, region=region, outcome=outcome, reason=reason, failure=failure)


def failed(instance: Instance, failure: Failure, after: MetadataOptions | None = None) -> Result:
    """The outcome of an instance whose change, or whose reading, failed."""
    return result_of(instance, Outcome.FAILED, str(failure), after=after, failure=failure)


def deferred(
    instance_id: str, region: str, plan: PlannedChange | None, why: str, failure: Failure | None = None
) -> Result:
    """The outcome of an instance that waits for another run; `plan` is None if it was not read."""
    if plan:
        return result_of(plan.instance, Outcome.DEFERRED, f"{why}; {plan.reason}", failure=failure)
    return unread(instance_id, region, Outcome.DEFERRED, why, failure)
