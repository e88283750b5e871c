"""Describe → decide → ask → modify → verify, for the instances of one region."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from imds_enforcer.decision.decision import Decision, Verdict, decide
from imds_enforcer.enforcement.remediation import Remediation
from imds_enforcer.model import AwsError, Failure, HttpTokens, Instance, Kind, Outcome, PlannedChange, Result
from imds_enforcer.model.result import failed, result_of
from imds_enforcer.policy import Mode, Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imds_enforcer.enforcement.context import RegionContext
    from imds_enforcer.enforcement.gate import LegacyCallGate


BELOW_FLOOR = "this deployment's floor is HttpTokens required, so it never sets optional"
"""Why a policy of `optional` changes nothing if the stack was deployed with the floor `required`."""


class Enforcer:
    """Makes instances of one region follow one policy, and gives each its outcome.

    The failure of one instance raises no error and does not stop the others.
    """

    def __init__(self, context: RegionContext, policy: Policy, gate: LegacyCallGate | None, floor: HttpTokens) -> None:
        self.context = context
        self._policy = policy
        self._gate = gate
        self._floor = floor
        self._remediation: Remediation | None = None
        self._enforced_defaults: str | None = None
        self._asked_for_defaults = False

    def enforce(self, instances: Iterable[Instance]) -> Iterator[Result]:
        """One result for each instance given, as soon as it is known."""
        plans: dict[str, PlannedChange] = {}
        for examined in self.examine(instances):
            if isinstance(examined, Result):
                yield self.context.finalize(examined)
            else:
                plans[examined.instance_id] = examined
        yield from self.remediate(plans.items())

    def examine(self, instances: Iterable[Instance]) -> Iterator[PlannedChange | Result]:
        """A plan for each instance to change, and a result for each of the others; in audit mode only results."""
        plans: list[PlannedChange] = []
        for instance in instances:
            decided = self._decide(instance)
            if isinstance(decided, Result):
                yield decided
            else:
                plans.append(decided)
        passed: list[PlannedChange] = []
        for gated in self._gate.hold_back(plans) if self._gate else plans:
            possible = self._possible(gated) if isinstance(gated, PlannedChange) else gated
            if isinstance(possible, Result):
                yield self._heeded(possible)
            else:
                passed.append(possible)
        reviewed = self.context.refusals.review(passed)
        yield from (each for each in reviewed if isinstance(each, Result))
        passed = [each for each in reviewed if isinstance(each, PlannedChange)]
        yield from self._audited(passed) if self._policy.mode is Mode.AUDIT else passed

    def remediate(self, backlog: Iterable[tuple[str, PlannedChange | None]], sweep_size: int = 0) -> Iterator[Result]:
        """Change the instances with these ids; those without a plan are read and examined first.

        A sweep gives their number as `sweep_size`, and leaves some of EC2's request tokens to launches.
        """
        self._remediation = Remediation(self.context, self.examine, sweep_size)
        return self._remediation.results(backlog)

    def under_way(self) -> list[PlannedChange]:
        """The changes that were sent and have no result yet. Any thread may call it."""
        return self._remediation.under_way() if self._remediation else []

    def latest(self) -> list[Result]:
        """The latest results, which may not be reported yet. Any thread may call it."""
        return list(self._remediation.latest) if self._remediation else []

    def _heeded(self, result: Result) -> Result:
        """The result. It becomes DEFERRED if the instance is held only because AWS refused the credentials."""
        if result.failure is None:
            return result
        self.context.cancellation.heed(result.failure)
        if result.failure.kind is not Kind.CREDENTIALS:
            return result
        why = self.context.cancellation.cancelled or result.reason
        return replace(result, outcome=Outcome.DEFERRED, reason=why, after=None)

    def _audited(self, plans: Sequence[PlannedChange]) -> Iterator[Result]:
        """The outcomes that these instances would have. Holds count; a sweep's limits do not."""
        assert self.context.hold_check is not None, "an enforcer that follows a policy needs a hold check"
        checked = self.context.hold_check.review(plans)
        if why := self.context.cancellation.cancelled:
            yield from (result_of(plan.instance, Outcome.DEFERRED, f"{why}; {plan.reason}") for plan in plans)
            return
        for each in checked:
            if isinstance(each, PlannedChange):
                yield result_of(each.instance, Outcome.WOULD_REMEDIATE, each.reason, after=each.wanted)
            else:
                yield each

    def _decide(self, instance: Instance) -> PlannedChange | Result:
        decision = decide(instance, self._policy, self.context.clock.now())
        if decision.change is None or instance.options is None:
            return _unchanged(instance, decision)
        return PlannedChange(instance, decision.change, decision.change.applied_to(instance.options), decision.reason)

    def _possible(self, plan: PlannedChange) -> PlannedChange | Result:
        """The plan, or the result if IAM or EC2 is known to refuse the change."""
        options = plan.instance.options
        loosens = plan.change.http_tokens is HttpTokens.OPTIONAL
        if loosens and self._floor is HttpTokens.REQUIRED:
            return result_of(plan.instance, Outcome.SKIPPED, f"{BELOW_FLOOR}; {plan.reason}", after=options)
        if loosens and options and options.http_tokens is HttpTokens.REQUIRED and (why := self._tokens_enforced()):
            return result_of(plan.instance, Outcome.SKIPPED, f"{why}; {plan.reason}", after=options)
        return plan

    def _tokens_enforced(self) -> str | None:
        """Why EC2 refuses optional tokens in this region; None if it accepts them, or if that could not be read.

        EC2 is asked once. If that call fails, EC2's answer to the change itself shows it.
        """
        if not self._asked_for_defaults and self.context.cancellation.refused is None:
            self._asked_for_defaults = True
            try:
                self._enforced_defaults = self.context.ec2.tokens_enforced()
            except AwsError as error:
                self.context.cancellation.heed(error.failure)
                self._enforced_defaults = None
        return self._enforced_defaults


def _unchanged(instance: Instance, decision: Decision) -> Result:
    match decision.verdict:
        case Verdict.COMPLIANT:
            outcome = Outcome.COMPLIANT
        case Verdict.EXEMPT:
            outcome = Outcome.EXEMPT
        case Verdict.IMDS_OFF | Verdict.ENDED | Verdict.MANAGED | Verdict.NOT_REACHED:
            outcome = Outcome.SKIPPED
        case Verdict.IN_GRACE:
            outcome = Outcome.DEFERRED
        case Verdict.UNREADABLE:
            return failed(instance, Failure("UnreadableOptions", decision.reason, Kind.FINAL))
        case Verdict.REMEDIATE:
            raise AssertionError("a decision to remediate without a change")
        case _:
            assert_never(decision.verdict)
    result = result_of(instance, outcome, decision.reason, after=instance.options)
    return replace(result, look_again_in=decision.look_again_in)
