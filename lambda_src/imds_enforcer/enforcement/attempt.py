"""One change sent to EC2, and what its answer means."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, assert_never

from imds_enforcer.decision.refused_options import refusals, without_refused
from imds_enforcer.model import AcceptedChange, AwsError, Failure, Kind, PlannedChange, Result
from imds_enforcer.model.result import failed

if TYPE_CHECKING:
    from imds_enforcer.enforcement.context import RegionContext
    from imds_enforcer.model import Clock

MAX_OBSERVATION_AGE = 10.0
"""Seconds after which an instance is read again before it is changed.

Every change has to send HttpEndpoint=enabled: on an old observation, that could switch on a metadata
service that has been switched off in the meantime.
"""

_ATTEMPTS = 3
"""How often to send a change that EC2 does not answer, or answers with a fault of its own."""


def needs_look(plan: PlannedChange, clock: Clock) -> bool:
    """True if the observation behind the plan is too old to act on, or an attempt was made since."""
    refused = any(plan.change.extras.get(each.option) is each.value for each in plan.refused)
    return plan.doubtful or refused or clock.monotonic() - plan.instance.observed_at > MAX_OBSERVATION_AGE


def seen_again(plan: PlannedChange | None, examined: PlannedChange | Result) -> PlannedChange | Result:
    """The plan or result after another look; the new plan keeps what is known about earlier attempts."""
    if plan is None or isinstance(examined, Result):
        return examined
    carried = replace(examined, unanswered=plan.unanswered, failure=plan.failure)
    return without_refused(carried, [each for each in plan.refused if not each.noted])


@dataclass(frozen=True, slots=True)
class Attempts:
    """The changes of one round. Once EC2 throttles one of them, the others wait for the next round.

    `in_flight` are the changes that were sent and may have been made.
    """

    context: RegionContext
    in_flight: dict[str, PlannedChange] = field(default_factory=dict)
    _throttled: threading.Event = field(default_factory=threading.Event)

    def send(self, plan: PlannedChange) -> AcceptedChange | PlannedChange | Result:
        """Send one change, from any thread. The answer is a plan if the change must wait for another round."""
        context, pace = self.context, self.context.ec2.changes
        if (
            self._throttled.is_set()
            or not context.limits.allow(plan)
            or context.cancellation.reason()
            or needs_look(plan, context.clock)
        ):
            pace.give_back(1)
            return plan
        self.in_flight[plan.instance_id] = plan
        try:
            answer = context.ec2.modify(plan.instance_id, plan.change)
        except AwsError as error:
            context.cancellation.heed(error.failure)
            context.limits.attempted(plan, error.failure)
            return self._after(error.failure, plan)
        context.limits.attempted(plan, None)
        pace.answered()
        return AcceptedChange(plan, context.clock.monotonic(), answer)

    def _after(self, failure: Failure, plan: PlannedChange) -> PlannedChange | Result:
        """The plan or result after a failed change."""
        match failure.kind:
            case Kind.THROTTLED:
                # EC2's bucket is empty, so the rest of the round waits too.
                self._throttled.set()
                self.context.ec2.changes.refused()
                return replace(plan, failure=failure)
            case Kind.UNAVAILABLE:
                self.context.ec2.changes.answered()
                if plan.unanswered + 1 < _ATTEMPTS:
                    return replace(plan, unanswered=plan.unanswered + 1, doubtful=True, failure=failure)
                return failed(plan.instance, failure)
            case Kind.UNKNOWN_INSTANCE | Kind.WRONG_STATE | Kind.CREDENTIALS | Kind.REGION | Kind.FINAL:
                self.context.ec2.changes.answered()
                if refused := refusals(plan.change, failure):
                    # Without these options it is a new change: it needs another look, hold check and intent.
                    return replace(plan, refused=refused, failure=None)
                return failed(plan.instance, failure)
            case _:
                assert_never(failure.kind)
