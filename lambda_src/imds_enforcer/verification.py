"""Accepted is not applied: read back what was changed until it shows, or has had its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.failures import AwsError, Failure, Kind
from imds_enforcer.model import Instance, OptionsState, Outcome, Result, Switch
from imds_enforcer.plan import Accepted, Planned, failed, result_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imds_enforcer.clock import Clock
    from imds_enforcer.ec2 import Ec2Region

_FIRST_POLL_SECONDS = 0.1
_MAX_POLL_SECONDS = 2.0


def verify(ec2: Ec2Region, clock: Clock, accepted: Sequence[Accepted], timeout: float) -> Iterator[Result]:
    """One result for each accepted change, `timeout` seconds after it at the latest; read back in batches."""
    pause = _FIRST_POLL_SECONDS
    while accepted:
        failure: Failure | None = None
        seen: dict[str, Instance] = {}
        try:
            seen = ec2.read(change.plan.instance.instance_id for change in accepted)
        except AwsError as error:
            failure = error.failure
        waiting: list[Accepted] = []
        for change in accepted:
            instance = seen.get(change.plan.instance.instance_id)
            settled = _confirmed(change.plan, instance)
            if settled is None and clock.monotonic() - change.at >= timeout:
                settled = _unconfirmed(change.plan, instance, failure)
            if settled is None:
                waiting.append(change)
            else:
                yield settled
        accepted = waiting
        if accepted:
            clock.sleep(pause)
            pause = min(pause * 2, _MAX_POLL_SECONDS)


def _confirmed(plan: Planned, instance: Instance | None) -> Result | None:
    """What the read-back proves; None while it proves nothing."""
    if instance is None:
        return None
    if instance.state.ended:
        return result_of(plan.instance, Outcome.GONE, f"{instance.state} before the change was applied")
    options = instance.options
    if options is None or not options.agree_with(plan.wanted):
        return None
    if options.state is OptionsState.APPLIED:
        return result_of(plan.instance, Outcome.REMEDIATED, plan.reason, after=options)
    if instance.state.at_rest:
        reason = f"{instance.state}, applies at the next start; {plan.reason}"
        return result_of(plan.instance, Outcome.PENDING, reason, after=options)
    return None


def _unconfirmed(plan: Planned, instance: Instance | None, failure: Failure | None) -> Result:
    """What to say of a change that EC2 accepted and that the read-back did not show in time.

    An older description may be served for seconds to minutes (EC2 Developer Guide,
    "Eventual consistency"), so a difference is called a failure only here, at the end. One in
    an option that the change did not name counts too: it was to stay as it was.
    """
    if failure:
        reason = f"accepted, but it could not be read back ({failure}); {plan.reason}"
        return result_of(plan.instance, Outcome.PENDING, reason, failure=failure)
    if instance is None or instance.options is None:
        reason = f"accepted, but EC2 does not show the instance's options; {plan.reason}"
        return result_of(plan.instance, Outcome.PENDING, reason)
    options = instance.options
    if options.http_endpoint is Switch.DISABLED:
        reason = "the metadata service was switched off meanwhile, which satisfies every policy"
        return result_of(plan.instance, Outcome.SKIPPED, reason, after=options)
    if options.agree_with(plan.wanted):
        return result_of(plan.instance, Outcome.PENDING, f"accepted and not yet applied; {plan.reason}", after=options)
    message = f"EC2 accepted {plan.wanted.as_log()} and shows {options.as_log()}"
    return failed(plan.instance, Failure("ReadBackDiffers", message, Kind.FINAL), after=options)
