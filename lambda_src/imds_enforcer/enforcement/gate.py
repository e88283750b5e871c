"""The gate holds back instances that still call IMDSv1, and those whose calls cannot be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from imds_enforcer.aws.call_history import CallQuery
from imds_enforcer.decision.legacy_calls import (
    CALLS_OF_GROUP,
    CALLS_SERVED,
    SERVED,
    TAGGED_WITHIN,
    group_of,
    held_back,
    is_gated,
    let_through,
    own_calls_decide,
    seconds_until_tagged,
)
from imds_enforcer.model import AwsError, Outcome, PlannedChange, Result
from imds_enforcer.model.result import result_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from imds_enforcer.aws.call_history import CallHistory
    from imds_enforcer.decision.legacy_calls import Calls
    from imds_enforcer.model import Clock, Failure, Instance
    from imds_enforcer.policy import Gate, Policy


def gate_query(gate: Gate, region: str) -> CallQuery:
    """The gate's query about an instance's IMDSv1 calls; an answer is good for a day."""
    return CallQuery(
        topic=f"{SERVED}/{gate.lookback_days}/{region}",
        counted=CALLS_SERVED,
        period=timedelta(days=1),
        good_for=timedelta(days=1),
    )


def group_query(gate: Gate, region: str) -> CallQuery:
    """The gate's query about an Auto Scaling group's IMDSv1 calls.

    An answer is good for an hour: a group launches all day long, and yesterday's answer must not judge a new instance.
    """
    return CallQuery(
        topic=f"{CALLS_OF_GROUP.dimension}/{gate.lookback_days}/{region}",
        counted=CALLS_OF_GROUP,
        period=timedelta(days=1),
        good_for=timedelta(hours=1),
    )


class LegacyCallGate:
    """The policy's gate for the instances of one region.

    `of_instances` answers its `gate_query`, `of_groups` its `group_query`.
    """

    def __init__(
        self, policy: Policy, gate: Gate, of_instances: CallHistory, of_groups: CallHistory, clock: Clock
    ) -> None:
        self._policy = policy
        self._gate = gate
        self._of_instances = of_instances
        self._of_groups = of_groups
        self._clock = clock
        self._failure: AwsError | None = None

    def hold_back(self, plans: Sequence[PlannedChange]) -> Iterator[PlannedChange | Result]:
        """Each plan, with what is known about its instance's calls; or the result, if the instance is held back."""
        now = self._clock.now()
        gated = {plan.instance_id: plan.instance for plan in plans if is_gated(plan, self._policy, now)}
        calls = self._asked(gated, now)
        for plan in plans:
            if left := seconds_until_tagged(plan, self._policy, now):
                yield _waiting_for_its_tag(plan, left)
            elif plan.instance_id not in gated:
                yield plan
            elif calls is None:
                why = f"its IMDSv1 calls could not be read ({self._failure})"
                yield _held(plan, why, self._failure.failure if self._failure else None)
            elif why_held := held_back(calls[plan.instance_id], self._gate):
                yield _held(plan, why_held)
            else:
                yield replace(plan, reason=f"{plan.reason}; {let_through(calls[plan.instance_id], self._gate)}")

    def _asked(self, instances: Mapping[str, Instance], now: datetime) -> dict[str, Calls] | None:
        """The calls that decide about each instance.

        None if they could not be read; the gate does not try again for this region.
        """
        if self._failure:
            return None
        try:
            return deciding_calls(instances, self._gate, self._of_instances, self._of_groups, now)
        except AwsError as error:
            self._failure = error
            return None


def deciding_calls(
    instances: Mapping[str, Instance], gate: Gate, of_instances: CallHistory, of_groups: CallHistory, now: datetime
) -> dict[str, Calls]:
    """The calls that decide about each instance, its own or its group's, by the instance's id.

    Raises:
        AwsError: if they could not be read.
    """
    since = datetime.combine(now.astimezone(UTC).date() - timedelta(days=gate.lookback_days), time(), UTC)
    groups = {i: group for i, each in instances.items() if (group := group_of(each, gate))}
    calls = of_groups.of(dict.fromkeys(sorted({*groups.values()}), since))
    known = {i: replace(calls[group], group=group) for i, group in groups.items()}
    alone = [i for i, each in instances.items() if own_calls_decide(each, known.get(i), now)]
    return known | of_instances.of(dict.fromkeys(sorted(alone), since))


def _held(plan: PlannedChange, why: str, failure: Failure | None = None) -> Result:
    reason = f"{why}; {plan.reason}"
    return result_of(plan.instance, Outcome.HELD, reason, after=plan.instance.options, failure=failure)


def _waiting_for_its_tag(plan: PlannedChange, seconds: float) -> Result:
    why = f"launched less than {TAGGED_WITHIN.seconds} s ago, so an Auto Scaling group may not have tagged it yet"
    result = result_of(plan.instance, Outcome.DEFERRED, f"{why}; {plan.reason}", after=plan.instance.options)
    return replace(result, look_again_in=seconds)
