"""Describe → decide → ask → modify → verify, for the instances of one region."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imds_enforcer.decision import Decision, Verdict, decide
from imds_enforcer.failures import AwsError, Failure, Kind
from imds_enforcer.model import HttpTokens, Instance, Outcome, Result
from imds_enforcer.plan import Planned, failed, result_of
from imds_enforcer.policy import Mode, Policy
from imds_enforcer.remediation import Remediation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from imds_enforcer.clock import Clock
    from imds_enforcer.ec2 import Ec2Region
    from imds_enforcer.gate import LegacyCallGate
    from imds_enforcer.guard import Guard
    from imds_enforcer.limits import RegionLimits
    from imds_enforcer.mandate import Mandate

_WITHOUT_CHANGE = {
    Verdict.COMPLIANT: Outcome.COMPLIANT,
    Verdict.IMDS_OFF: Outcome.SKIPPED,
    Verdict.ENDED: Outcome.SKIPPED,
    Verdict.MANAGED: Outcome.SKIPPED,
    Verdict.EXEMPT: Outcome.EXEMPT,
    Verdict.NOT_REACHED: Outcome.SKIPPED,
    Verdict.IN_GRACE: Outcome.DEFERRED,
}


class Enforcer:
    """Makes instances of one region follow one policy, and says of each what became of it.

    A failure stays with its instance; nothing here raises for one. `settle` is what an outcome comes
    to for whoever asked for it; it is applied before the outcome is written down.
    """

    def __init__(  # noqa: PLR0913  # what a visit to a region works with
        self,
        ec2: Ec2Region,
        policy: Policy,
        clock: Clock,
        *,
        gate: LegacyCallGate,
        guard: Guard,
        limits: RegionLimits,
        mandate: Mandate,
        verify_timeout: float,
        settle: Callable[[Result], Result] = lambda result: result,
    ) -> None:
        self._ec2 = ec2
        self._policy = policy
        self._clock = clock
        self._gate = gate
        self._guard = guard
        self._limits = limits
        self._mandate = mandate
        self._verify_timeout = verify_timeout
        self._settle = settle
        self._enforced_defaults: str | None = None
        self._asked_for_defaults = False

    def enforce(self, instances: Iterable[Instance]) -> Iterator[Result]:
        """One result for each instance given, in the order in which they are settled."""
        plans: dict[str, Planned] = {}
        for examined in self.examine(instances):
            if isinstance(examined, Result):
                yield self._settle(examined)
            else:
                plans[examined.instance_id] = examined
        yield from self.remediate(plans.items())

    def examine(self, instances: Iterable[Instance]) -> Iterator[Planned | Result]:
        """For each instance what is to be done about it, or the result if that is nothing, as always in an audit."""
        plans: list[Planned] = []
        for instance in instances:
            decided = self._decide(instance)
            if isinstance(decided, Result):
                yield decided
            else:
                plans.append(decided)
        passed: list[Planned] = []
        for gated in self._gate.hold_back(plans):
            possible = self._possible(gated) if isinstance(gated, Planned) else gated
            if isinstance(possible, Result):
                yield possible
            else:
                passed.append(possible)
        yield from self._audited(passed) if self._policy.mode is Mode.AUDIT else passed

    def remediate(self, backlog: Iterable[tuple[str, Planned | None]], share: float = 1.0) -> Iterator[Result]:
        """Change the instances with these ids, with so much of EC2's limit.

        Those without a plan are read and examined first.
        """
        remediation = Remediation(
            self._ec2,
            self._clock,
            self.examine,
            guard=self._guard,
            limits=self._limits,
            mandate=self._mandate,
            verify_timeout=self._verify_timeout,
            share=share,
            settle=self._settle,
        )
        return remediation.results(backlog)

    def _audited(self, plans: Sequence[Planned]) -> Iterator[Result]:
        """What would become of these: holds count, what a sweep's limits leave of it does not."""
        reviewed = self._guard.review(plans)
        if why := self._guard.stopped:
            yield from (result_of(plan.instance, Outcome.DEFERRED, f"{why}; {plan.reason}") for plan in plans)
            return
        for each in reviewed:
            if isinstance(each, Planned):
                yield result_of(each.instance, Outcome.WOULD_REMEDIATE, each.reason, after=each.wanted)
            else:
                yield each

    def _decide(self, instance: Instance) -> Planned | Result:
        decision = decide(instance, self._policy, self._clock.now())
        if decision.change is None or instance.options is None:
            return _unchanged(instance, decision)
        return Planned(instance, decision.change, decision.change.applied_to(instance.options), decision.reason)

    def _possible(self, plan: Planned) -> Planned | Result:
        """The plan, or the result where it is known beforehand that EC2 refuses the change."""
        options = plan.instance.options
        loosens = plan.change.http_tokens is HttpTokens.OPTIONAL
        if loosens and options and options.http_tokens is HttpTokens.REQUIRED and (why := self._tokens_enforced()):
            return result_of(plan.instance, Outcome.SKIPPED, f"{why}; {plan.reason}", after=options)
        return plan

    def _tokens_enforced(self) -> str | None:
        """Why EC2 lets nobody loosen tokens in this region; asked once. If that fails, EC2 will say so itself."""
        if not self._asked_for_defaults:
            self._asked_for_defaults = True
            try:
                self._enforced_defaults = self._ec2.tokens_enforced()
            except AwsError:
                self._enforced_defaults = None
        return self._enforced_defaults


def _unchanged(instance: Instance, decision: Decision) -> Result:
    if decision.verdict is Verdict.UNREADABLE:
        return failed(instance, Failure("UnreadableOptions", decision.reason, Kind.FINAL))
    result = result_of(instance, _WITHOUT_CHANGE[decision.verdict], decision.reason, after=instance.options)
    return replace(result, look_again_in=decision.look_again_in)
