"""Describe → decide → modify → verify, for the instances of one region."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.decision import Decision, Verdict, decide
from imds_enforcer.failures import Failure, Kind
from imds_enforcer.model import Instance, Outcome, Result
from imds_enforcer.plan import Planned, failed, result_of
from imds_enforcer.policy import Mode, Policy
from imds_enforcer.remediation import Remediation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imds_enforcer.clock import Clock
    from imds_enforcer.ec2 import Ec2Region
    from imds_enforcer.mandate import Mandate

_WITHOUT_CHANGE = {
    Verdict.COMPLIANT: Outcome.COMPLIANT,
    Verdict.IMDS_OFF: Outcome.SKIPPED,
    Verdict.ENDED: Outcome.SKIPPED,
    Verdict.MANAGED: Outcome.SKIPPED,
    Verdict.EXEMPT: Outcome.EXEMPT,
    Verdict.NOT_REACHED: Outcome.SKIPPED,
}


class Enforcer:
    """Makes instances of one region follow one policy, and says of each what became of it.

    A failure stays with its instance; nothing here raises for one.
    """

    def __init__(
        self, ec2: Ec2Region, policy: Policy, clock: Clock, *, mandate: Mandate, verify_timeout: float
    ) -> None:
        self._ec2 = ec2
        self._policy = policy
        self._clock = clock
        self._mandate = mandate
        self._verify_timeout = verify_timeout

    def enforce(self, instances: Iterable[Instance]) -> Iterator[Result]:
        """One result for each instance given, in the order in which they are settled."""
        plans: dict[str, Planned] = {}
        for instance in instances:
            settled = self.decide(instance)
            if isinstance(settled, Result):
                yield settled
            else:
                plans[instance.instance_id] = settled
        yield from self.remediate(plans.items())

    def decide(self, instance: Instance) -> Planned | Result:
        """What is to be done about an instance, or the result if that is nothing."""
        decision = decide(instance, self._policy, self._clock.now())
        if decision.change is None or instance.options is None:
            return _unchanged(instance, decision)
        wanted = decision.change.applied_to(instance.options)
        if self._policy.mode is Mode.AUDIT:
            return result_of(instance, Outcome.WOULD_REMEDIATE, decision.reason, after=wanted)
        return Planned(instance, decision.change, wanted, decision.reason)

    def remediate(self, backlog: Iterable[tuple[str, Planned | None]], share: float = 1.0) -> Iterator[Result]:
        """Change the instances with these ids, with so much of EC2's limit.

        Those without a plan are read and decided about first.
        """
        remediation = Remediation(
            self._ec2,
            self._clock,
            self.decide,
            mandate=self._mandate,
            verify_timeout=self._verify_timeout,
            share=share,
        )
        return remediation.results(backlog)


def _unchanged(instance: Instance, decision: Decision) -> Result:
    if decision.verdict is Verdict.UNREADABLE:
        return failed(instance, Failure("UnreadableOptions", decision.reason, Kind.FINAL))
    return result_of(instance, _WITHOUT_CHANGE[decision.verdict], decision.reason, after=instance.options)
