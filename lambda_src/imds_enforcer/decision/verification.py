"""Accepted is not applied: what a read-back says of a change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imds_enforcer.model import Failure, Instance, Kind, OptionsState, Outcome, Result, Switch
from imds_enforcer.model.failures import READ_BACK_DIFFERS
from imds_enforcer.model.result import failed, result_of

if TYPE_CHECKING:
    from imds_enforcer.model import PlannedChange


def confirmed(plan: PlannedChange, instance: Instance | None) -> Result | None:
    """What the read-back proves; None while it proves nothing."""
    if instance is None:
        return None
    if instance.state.ended:
        return result_of(
            plan.instance, Outcome.GONE, f"the instance was {instance.state} before the change was applied"
        )
    options = instance.options
    if options is None or not options.agree_with(plan.wanted):
        return None
    if options.state is OptionsState.APPLIED:
        return result_of(plan.instance, Outcome.REMEDIATED, plan.reason, after=options)
    if instance.state.at_rest:
        reason = f"the instance is {instance.state}: the change applies at its next start; {plan.reason}"
        return result_of(plan.instance, Outcome.PENDING, reason, after=options)
    return None


def unconfirmed(plan: PlannedChange, instance: Instance | None, failure: Failure | None) -> Result:
    """The outcome of a change that EC2 accepted and that the read-back did not show in time.

    EC2 may serve an older description for seconds to minutes (EC2 Developer Guide, "Eventual consistency"), so a
    difference counts as a failure only here, at the end. That includes a difference in an option that the change did
    not name, which had to stay as it was.
    """
    if failure:
        reason = f"EC2 accepted the change, but the read-back failed ({failure}); {plan.reason}"
        return result_of(plan.instance, Outcome.PENDING, reason, failure=failure)
    if instance is None or instance.options is None:
        reason = f"EC2 accepted the change but does not show the instance's options; {plan.reason}"
        return result_of(plan.instance, Outcome.PENDING, reason)
    options = instance.options
    if options.http_endpoint is Switch.DISABLED:
        reason = "the metadata service was switched off meanwhile, which satisfies every policy"
        return result_of(plan.instance, Outcome.SKIPPED, reason, after=options)
    if options.agree_with(plan.wanted):
        reason = f"EC2 accepted the change but has not applied it yet; {plan.reason}"
        return result_of(plan.instance, Outcome.PENDING, reason, after=options)
    message = f"EC2 accepted {plan.wanted.as_log()} but shows {options.as_log()}"
    return failed(plan.instance, Failure(READ_BACK_DIFFERS, message, Kind.FINAL), after=options)


def superseded(difference: Result) -> Result:
    """The outcome of a difference once another policy is in force: that policy's own sweep corrects the instance."""
    reason = f"EC2 accepted the change, then the policy changed; {difference.reason}"
    return replace(difference, outcome=Outcome.DEFERRED, reason=reason, failure=None)
