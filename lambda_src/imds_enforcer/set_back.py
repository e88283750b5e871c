"""What follows for instances whose calls are rejected, where the policy says so: they are set back, and held."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imds_enforcer.model import Outcome
from imds_enforcer.retry import wants_retry
from imds_enforcer.revert import Revert
from imds_enforcer.watch import WATCHER, WATCHERS_HOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from imds_enforcer.clients import Clients
    from imds_enforcer.clock import Clock
    from imds_enforcer.mandate import Mandate
    from imds_enforcer.model import Result
    from imds_enforcer.watch import Rejection


@dataclass(slots=True)
class SetBack:
    """What came of it, for the operators.

    `waiting` are the instances that are to be tried again; of those that are `unsettled` there is nothing to
    say yet, as an earlier change of theirs has no outcome.
    """

    lines: list[str] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)
    unsettled: set[str] = field(default_factory=set)


def set_back(  # noqa: PLR0913  # who does it, on what terms, and who is told
    clients: Clients,
    clock: Clock,
    rejections: Sequence[Rejection],
    *,
    run_id: str,
    mandate: Mandate,
    log: Callable[[Result], None],
) -> SetBack:
    """Set the instances back and hold them, but for those that somebody holds: they are that person's.

    Raises:
        AwsError: if the ledger or EC2 could not be read, or a hold not be written; then nothing is changed.
    """
    came = SetBack()
    # A hold of the watch's own is from an attempt that did not succeed.
    holds = {each: hold for each, hold in clients.records.standing().holds.items() if hold.by != WATCHER}
    ids = [each.change.instance_id for each in rejections]
    came.lines += [f"{each} was left as it is: {holds[each]}" for each in ids if each in holds]
    revert = Revert(clients, clock, run_id=run_id, by=WATCHER, mandate=mandate)
    plans = revert.plan(each for each in ids if each not in holds)
    came.unsettled.update(plan.instance_id for plan in plans if not plan.undone)
    came.lines += [
        f"{plan.instance_id} was not set back: {plan.problem}" for plan in plans if plan.problem and plan.undone
    ]
    until = clock.now() + WATCHERS_HOLD
    for result in revert.carry_out(plans, reason="calls without a token were rejected", until=until):
        log(result)
        done = result.outcome in {Outcome.REMEDIATED, Outcome.PENDING}
        what = (
            f"{'was' if done else 'was not'} set back ({result.outcome}), and is held until {until:%Y-%m-%d %H:%M} UTC"
        )
        came.lines.append(f"{result.instance_id} {what}: {result.reason}")
        if wants_retry(result):
            came.waiting.add(result.instance_id)
    return came
