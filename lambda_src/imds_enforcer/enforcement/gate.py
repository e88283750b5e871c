"""The gate: instances that still call IMDSv1 are held back, and so are those whose calls cannot be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from imds_enforcer.aws.call_history import CallQuery
from imds_enforcer.decision.legacy_calls import SERVED, held_back, is_gated, let_through
from imds_enforcer.model import AwsError, Outcome, PlannedChange, Result
from imds_enforcer.model.result import result_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from imds_enforcer.aws.call_history import CallHistory
    from imds_enforcer.decision.legacy_calls import Calls
    from imds_enforcer.model import Clock
    from imds_enforcer.policy import Gate, Policy


def gate_query(gate: Gate, region: str) -> CallQuery:
    """What the gate asks of the metadata service's calls: a day's answer serves for a day."""
    return CallQuery(
        topic=f"{SERVED}/{gate.lookback_days}/{region}",
        metric=SERVED,
        period=timedelta(days=1),
        good_for=timedelta(days=1),
    )


class LegacyCallGate:
    """The policy's gate for the instances of one region; `history` answers its `gate_query`."""

    def __init__(self, policy: Policy, gate: Gate, history: CallHistory, clock: Clock) -> None:
        self._policy = policy
        self._gate = gate
        self._history = history
        self._clock = clock
        self._failure: AwsError | None = None

    def hold_back(self, plans: Sequence[PlannedChange]) -> Iterator[PlannedChange | Result]:
        """Each plan, with what is known of its instance's calls; or the result, if the instance is held back."""
        gate, now = self._gate, self._clock.now()
        gated = {plan.instance_id for plan in plans if is_gated(plan, self._policy, now)}
        if not gated:
            yield from plans
            return
        since = datetime.combine(now.astimezone(UTC).date() - timedelta(days=gate.lookback_days), time(), UTC)
        calls = self._asked(dict.fromkeys(sorted(gated), since))
        if calls is None:
            why = f"it cannot be told whether IMDSv1 is still called ({self._failure})"
            yield from (_held(plan, why) if plan.instance_id in gated else plan for plan in plans)
            return
        for plan in plans:
            if plan.instance_id not in gated:
                yield plan
            elif why_held := held_back(calls[plan.instance_id], gate):
                yield _held(plan, why_held)
            else:
                yield replace(plan, reason=f"{plan.reason}; {let_through(calls[plan.instance_id], gate)}")

    def _asked(self, since: Mapping[str, datetime]) -> dict[str, Calls] | None:
        """The calls of the instances; None if they could not be had, which is not tried again for this region."""
        try:
            return None if self._failure else self._history.of(since)
        except AwsError as error:
            self._failure = error
            return None


def _held(plan: PlannedChange, why: str) -> Result:
    return result_of(plan.instance, Outcome.HELD, f"{why}; {plan.reason}", after=plan.instance.options)
