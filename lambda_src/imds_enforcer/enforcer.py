"""Describe → decide → modify → verify, for the instances of one region."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from imds_enforcer.aws import MAX_CONNECTIONS, batched
from imds_enforcer.decision import Decision, Verdict, decide
from imds_enforcer.ec2 import FILTER_VALUES
from imds_enforcer.failures import AwsError, Failure, Kind
from imds_enforcer.model import Instance, Outcome, Result
from imds_enforcer.plan import UNKNOWN_INSTANCE, Accepted, Planned, failed, result_of
from imds_enforcer.policy import Mode, Policy
from imds_enforcer.verification import verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imds_enforcer.clock import Clock, Deadline
    from imds_enforcer.ec2 import Ec2Region

MAX_OBSERVATION_AGE = 10.0
"""Seconds after which an instance is read again before it is written to.

Every change has to send HttpEndpoint=enabled; on an old observation that could turn a
metadata service back on which somebody just switched off.
"""

_ATTEMPTS = 3
"""How often a change is sent that EC2 leaves unanswered, or answers with a fault of its own."""

_RETRY_PAUSE_SECONDS = 2.0

_WITHOUT_CHANGE = {
    Verdict.COMPLIANT: Outcome.COMPLIANT,
    Verdict.IMDS_OFF: Outcome.SKIPPED,
    Verdict.ENDED: Outcome.SKIPPED,
    Verdict.MANAGED: Outcome.SKIPPED,
    Verdict.EXEMPT: Outcome.EXEMPT,
}


_Answer = Accepted | Planned | Result


class Enforcer:
    """Makes instances of one region follow one policy, and says of each what became of it."""

    def __init__(
        self, ec2: Ec2Region, policy: Policy, clock: Clock, *, write_deadline: Deadline, verify_timeout: float
    ) -> None:
        self._ec2 = ec2
        self._policy = policy
        self._clock = clock
        self._write_deadline = write_deadline
        self._verify_timeout = verify_timeout
        self._throttled = threading.Event()

    def enforce(self, instances: Sequence[Instance]) -> Iterator[Result]:
        """One result for each instance given, in the order in which they are settled.

        A failure stays with its instance; this never raises for one.
        """
        planned: list[Planned] = []
        for instance in instances:
            settled = self._decide(instance)
            if isinstance(settled, Result):
                yield settled
            else:
                planned.append(settled)
        for batch in batched(planned, FILTER_VALUES):
            yield from self._remediate(batch)

    def _decide(self, instance: Instance) -> Planned | Result:
        decision = decide(instance, self._policy, self._clock.now())
        if decision.change is None or instance.options is None:
            return _unchanged(instance, decision)
        wanted = decision.change.applied_to(instance.options)
        if self._policy.mode is Mode.AUDIT:
            return result_of(instance, Outcome.WOULD_REMEDIATE, decision.reason, after=wanted)
        return Planned(instance, decision.change, wanted, decision.reason)

    def _remediate(self, planned: list[Planned]) -> Iterator[Result]:
        """Change what was planned, in rounds: what one leaves over is read again where it grew too old.

        The retries are here and not in the client, so that no attempt rests on an old observation.
        """
        accepted: list[Accepted] = []
        self._ec2.prepare_to_modify()
        with ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix=self._ec2.name) as pool:
            while planned:
                self._throttled.clear()
                plans, answers = self._refresh(planned)
                answers += pool.map(self._change, plans)
                yield from (answer for answer in answers if isinstance(answer, Result))
                accepted += [answer for answer in answers if isinstance(answer, Accepted)]
                planned = [answer for answer in answers if isinstance(answer, Planned)]
                if self._throttled.is_set() or any(plan.unanswered for plan in planned):
                    self._clock.sleep(_RETRY_PAUSE_SECONDS)
        yield from verify(self._ec2, self._clock, accepted, self._verify_timeout)

    def _refresh(self, planned: Sequence[Planned]) -> tuple[list[Planned], list[_Answer]]:
        """Read again what is too old, or may have been changed, and decide again: what is still to be done, and not."""
        doubtful = {plan.instance.instance_id: plan for plan in planned if self._is_doubtful(plan)}
        plans = [plan for plan in planned if plan.instance.instance_id not in doubtful]
        if not doubtful:
            return plans, []
        if self._write_deadline.passed:
            return list(planned), []
        try:
            seen = self._ec2.read(doubtful)
        except AwsError as error:
            return plans, [failed(plan.instance, error.failure) for plan in doubtful.values()]
        answers: list[_Answer] = []
        for instance_id, plan in doubtful.items():
            instance = seen.get(instance_id)
            settled = self._decide(instance) if instance else failed(plan.instance, UNKNOWN_INSTANCE)
            if isinstance(settled, Planned):
                plans.append(replace(settled, unanswered=plan.unanswered, failure=plan.failure))
            elif plan.unanswered and settled.outcome is Outcome.COMPLIANT:
                # An attempt that nobody answered was taken after all.
                answers.append(Accepted(plan, self._clock.monotonic()))
            else:
                answers.append(settled)
        return plans, answers

    def _change(self, plan: Planned) -> _Answer:
        """Send one change. A plan comes back where it has to wait for another round."""
        if self._write_deadline.passed:
            if plan.failure:
                return failed(plan.instance, plan.failure)
            return result_of(plan.instance, Outcome.DEFERRED, f"out of time; {plan.reason}")
        if self._throttled.is_set() or self._too_old(plan.instance):
            return plan
        try:
            self._ec2.modify(plan.instance.instance_id, plan.change)
        except AwsError as error:
            return self._after(error.failure, plan)
        return Accepted(plan, self._clock.monotonic())

    def _after(self, failure: Failure, plan: Planned) -> Planned | Result:
        """What follows from a change that failed."""
        if failure.kind is Kind.THROTTLED:
            # EC2's bucket is empty for all: the rest of the round waits with this one.
            self._throttled.set()
            return replace(plan, failure=failure)
        if failure.kind is Kind.UNAVAILABLE and plan.unanswered + 1 < _ATTEMPTS:
            return replace(plan, unanswered=plan.unanswered + 1, failure=failure)
        return failed(plan.instance, failure)

    def _is_doubtful(self, plan: Planned) -> bool:
        return plan.unanswered > 0 or self._too_old(plan.instance)

    def _too_old(self, instance: Instance) -> bool:
        return self._clock.monotonic() - instance.observed_at > MAX_OBSERVATION_AGE


def _unchanged(instance: Instance, decision: Decision) -> Result:
    if decision.verdict is Verdict.UNREADABLE:
        return failed(instance, Failure("UnreadableOptions", decision.reason, Kind.FINAL))
    return result_of(instance, _WITHOUT_CHANGE[decision.verdict], decision.reason, after=instance.options)
