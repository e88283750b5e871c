"""Describe → decide → modify → verify, for the instances of one region."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.aws import MAX_CONNECTIONS, batched
from imds_enforcer.decision import Change, Decision, Verdict, decide
from imds_enforcer.ec2 import FILTER_VALUES
from imds_enforcer.failures import AwsError, Failure, Kind
from imds_enforcer.model import Instance, OptionsState, Outcome, Result
from imds_enforcer.policy import Mode, Policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imds_enforcer.clock import Clock, Deadline
    from imds_enforcer.ec2 import Ec2Region
    from imds_enforcer.model import MetadataOptions

MAX_OBSERVATION_AGE = 10.0
"""Seconds after which an instance is read again before it is written to.

Every change has to send HttpEndpoint=enabled; on an old observation that could turn a
metadata service back on which somebody just switched off.
"""

_FIRST_POLL_SECONDS = 0.1
_MAX_POLL_SECONDS = 2.0

_WITHOUT_CHANGE = {
    Verdict.COMPLIANT: Outcome.COMPLIANT,
    Verdict.IMDS_OFF: Outcome.SKIPPED,
    Verdict.ENDED: Outcome.SKIPPED,
    Verdict.MANAGED: Outcome.SKIPPED,
    Verdict.EXEMPT: Outcome.EXEMPT,
}


@dataclass(frozen=True, slots=True)
class _Planned:
    """An instance, the change that it needs, what it comes to, and why."""

    instance: Instance
    change: Change
    wanted: MetadataOptions
    reason: str


@dataclass(frozen=True, slots=True)
class _Accepted:
    """A change that EC2 took, and when (monotonic seconds). Nothing is proven by it yet."""

    planned: _Planned
    at: float


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

    def enforce(self, instances: Sequence[Instance]) -> Iterator[Result]:
        """One result for each instance given, in the order in which they are settled.

        A failure stays with its instance; this never raises for one.
        """
        planned: list[_Planned] = []
        for instance in instances:
            settled = self._decide(instance)
            if isinstance(settled, Result):
                yield settled
            else:
                planned.append(settled)
        for batch in batched(planned, FILTER_VALUES):
            yield from self._remediate(batch)

    def _decide(self, instance: Instance) -> _Planned | Result:
        decision = decide(instance, self._policy, self._clock.now())
        if decision.change is None or instance.options is None:
            return _unchanged(instance, decision)
        wanted = decision.change.applied_to(instance.options)
        if self._policy.mode is Mode.AUDIT:
            return _result(instance, Outcome.WOULD_REMEDIATE, decision.reason, after=wanted)
        return _Planned(instance, decision.change, wanted, decision.reason)

    def _remediate(self, planned: list[_Planned]) -> Iterator[Result]:
        """Change what was planned in rounds: what grew too old in one is read again for the next."""
        accepted: list[_Accepted] = []
        with ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix=self._ec2.name) as pool:
            while planned:
                fresh, results = self._refresh(planned)
                yield from results
                planned = []
                for answer in pool.map(self._change, fresh):
                    match answer:
                        case _Accepted():
                            accepted.append(answer)
                        case _Planned():
                            planned.append(answer)
                        case Result():
                            yield answer
        yield from self._verify(accepted)

    def _refresh(self, planned: Sequence[_Planned]) -> tuple[list[_Planned], list[Result]]:
        """Read what is too old again, decide again; the results are those that need no change any more."""
        old = [plan for plan in planned if self._too_old(plan.instance)]
        if not old or self._write_deadline.passed:
            return list(planned), []
        fresh = [plan for plan in planned if plan not in old]
        try:
            now = self._ec2.read(plan.instance.instance_id for plan in old)
        except AwsError as error:
            return fresh, [_failed(plan.instance, error.failure) for plan in old]
        results: list[Result] = []
        for plan in old:
            instance = now.get(plan.instance.instance_id)
            settled = self._decide(instance) if instance else _failed(plan.instance, _VANISHED)
            if isinstance(settled, Result):
                results.append(settled)
            else:
                fresh.append(settled)
        return fresh, results

    def _change(self, plan: _Planned) -> _Accepted | _Planned | Result:
        """Send one change. The plan itself comes back where its observation has grown too old."""
        if self._write_deadline.passed:
            return _result(plan.instance, Outcome.DEFERRED, f"out of time; {plan.reason}")
        if self._too_old(plan.instance):
            return plan
        try:
            self._ec2.modify(plan.instance.instance_id, plan.change)
        except AwsError as error:
            return _failed(plan.instance, error.failure)
        return _Accepted(plan, self._clock.monotonic())

    def _too_old(self, instance: Instance) -> bool:
        return self._clock.monotonic() - instance.observed_at > MAX_OBSERVATION_AGE

    def _verify(self, accepted: Sequence[_Accepted]) -> Iterator[Result]:
        """Read back in batches until every change shows, or has had its time."""
        pause = _FIRST_POLL_SECONDS
        while accepted:
            failure: Failure | None = None
            seen: dict[str, Instance] = {}
            try:
                seen = self._ec2.read(item.planned.instance.instance_id for item in accepted)
            except AwsError as error:
                failure = error.failure
            waiting: list[_Accepted] = []
            for item in accepted:
                instance = seen.get(item.planned.instance.instance_id)
                result = _confirmed(item.planned, instance)
                if result is None and self._clock.monotonic() - item.at >= self._verify_timeout:
                    result = _unconfirmed(item.planned, instance, failure)
                if result is None:
                    waiting.append(item)
                else:
                    yield result
            accepted = waiting
            if accepted:
                self._clock.sleep(pause)
                pause = min(pause * 2, _MAX_POLL_SECONDS)


_VANISHED = Failure("InvalidInstanceID.NotFound", "the instance is no longer listed", Kind.UNKNOWN_INSTANCE)


def _confirmed(plan: _Planned, instance: Instance | None) -> Result | None:
    """What the read-back proves; None while it proves nothing."""
    if instance is None:
        return None
    if instance.state.ended:
        return _result(plan.instance, Outcome.GONE, f"{instance.state} before the change was applied")
    options = instance.options
    if options is None or not plan.change.visible_in(options):
        return None
    if options.state is OptionsState.APPLIED:
        return _result(plan.instance, Outcome.REMEDIATED, plan.reason, after=options)
    if instance.state.at_rest:
        reason = f"{instance.state}, applies at the next start; {plan.reason}"
        return _result(plan.instance, Outcome.PENDING, reason, after=options)
    return None


def _unconfirmed(plan: _Planned, instance: Instance | None, failure: Failure | None) -> Result:
    """What to say of a change that EC2 accepted and that the read-back did not show in time.

    An older description may be served for seconds to minutes (EC2 Developer Guide,
    "Eventual consistency"), so a difference is called a failure only here, at the end.
    """
    if failure:
        reason = f"accepted, but it could not be read back ({failure}); {plan.reason}"
        return _result(plan.instance, Outcome.PENDING, reason, failure=failure)
    if instance is None or instance.options is None:
        reason = f"accepted, but EC2 does not show the instance's options; {plan.reason}"
        return _result(plan.instance, Outcome.PENDING, reason)
    if plan.change.visible_in(instance.options):
        reason = f"accepted and not yet applied; {plan.reason}"
        return _result(plan.instance, Outcome.PENDING, reason, after=instance.options)
    message = f"EC2 accepted {plan.wanted.as_log()} and shows {instance.options.as_log()}"
    return _failed(plan.instance, Failure("ReadBackDiffers", message, Kind.FINAL), after=instance.options)


def _unchanged(instance: Instance, decision: Decision) -> Result:
    if decision.verdict is Verdict.UNREADABLE:
        return _failed(instance, Failure("UnreadableOptions", decision.reason, Kind.FINAL))
    return _result(instance, _WITHOUT_CHANGE[decision.verdict], decision.reason, after=instance.options)


def _failed(instance: Instance, failure: Failure, after: MetadataOptions | None = None) -> Result:
    return _result(instance, Outcome.FAILED, str(failure), after=after, failure=failure)


def _result(
    instance: Instance,
    outcome: Outcome,
    reason: str,
    *,
    after: MetadataOptions | None = None,
    failure: Failure | None = None,
) -> Result:
    return Result(
        instance_id=instance.instance_id,
        region=instance.region,
        outcome=outcome,
        reason=reason,
        before=instance.options,
        after=after,
        failure=failure,
    )
