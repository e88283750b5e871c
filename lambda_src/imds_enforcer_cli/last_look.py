"""One last look at changes that were sent, by a process that waits for no answer any longer."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial

from imds_enforcer.clients import Clients
from imds_enforcer.clock import Clock, Deadline
from imds_enforcer.failures import AwsError, Failure, Kind
from imds_enforcer.model import Instance, OptionsState, Outcome, Result
from imds_enforcer.plan import Planned, result_of
from imds_enforcer_cli.interruption import Beside

_SECONDS = 1.0
"""For the look, in all regions at once."""

_UNANSWERED = Failure("Interrupted", "the change was sent; nobody waited for EC2's answer", Kind.UNAVAILABLE)


def last_look(clients: Clients, clock: Clock, sent: Iterable[Planned]) -> Iterator[Result]:
    """What became of these changes, as far as their instances can be read at once; a call that hangs is left alone."""
    plans = {plan.instance_id: plan for plan in sent}
    by_region: dict[str, list[str]] = defaultdict(list)
    for instance_id, plan in plans.items():
        by_region[plan.instance.region].append(instance_id)
    seen = _seen(clients, Deadline.after(clock, _SECONDS), by_region)
    for instance_id, plan in plans.items():
        yield _as_seen(plan, seen.get(instance_id))


def _seen(clients: Clients, deadline: Deadline, by_region: dict[str, list[str]]) -> dict[str, Instance]:
    looks = [Beside(partial(clients.ec2(region).read, ids)) for region, ids in by_region.items()]
    while not all(look.done() for look in looks) and not deadline.passed:
        pass  # `done` waits a moment
    seen: dict[str, Instance] = {}
    for look in looks:
        # A region that cannot be read shows nothing: its changes are told as unanswered.
        with suppress(AwsError):
            seen |= look.result() if look.done() else {}
    return seen


def _as_seen(plan: Planned, instance: Instance | None) -> Result:
    options = instance.options if instance else None
    if options is None or not options.agree_with(plan.wanted):
        reason = f"{_UNANSWERED}; {plan.reason}"
        return result_of(plan.instance, Outcome.FAILED, reason, after=options, failure=_UNANSWERED)
    outcome = Outcome.REMEDIATED if options.state is OptionsState.APPLIED else Outcome.PENDING
    return result_of(plan.instance, outcome, plan.reason, after=options)
