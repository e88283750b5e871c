"""What follows for instances whose calls are rejected, where the policy says so: they are set back, and held."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from imds_enforcer import telemetry
from imds_enforcer.events import Trigger
from imds_enforcer.failures import AwsError
from imds_enforcer.model import Outcome
from imds_enforcer.retry import wants_retry
from imds_enforcer.revert import Revert
from imds_enforcer.watch import WATCHER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imds_enforcer.clients import Clients
    from imds_enforcer.clock import Clock
    from imds_enforcer.ledger import Entry
    from imds_enforcer.mandate import Mandate
    from imds_enforcer.watch import Rejection

HELD_FOR = timedelta(days=7)
"""For so long an instance is held that the watch has set back."""


@dataclass(slots=True)
class SetBack:
    """What came of it, in `lines` for the operators; `entries` tell in the ledger's terms of which instances.

    `failed` are instances that are to be tried again, and so are those that are `unsettled`: of these there is
    nothing to tell yet, as it is not known how an earlier change went.
    """

    lines: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    unsettled: set[str] = field(default_factory=set)

    @property
    def to_be_tried_again(self) -> set[str]:
        """The instances that the next sweep is to find again."""
        return self.failed | self.unsettled


def set_back(  # noqa: PLR0913  # what is set back, by whom and on what terms
    clients: Clients,
    clock: Clock,
    rejections: Sequence[Rejection],
    *,
    run_id: str,
    mandate: Mandate,
    seconds: float,
) -> SetBack:
    """Set the instances back to what they were before the watched runs, and hold them.

    Those that somebody holds are left to that person. No change is begun once the mandate has ended, which
    it has after so many seconds at the latest.

    Raises:
        AwsError: if the ledger or EC2 could not be read, or a hold not be written; then nothing is changed.
    """
    came = SetBack()
    # A hold of the watch's own is from an attempt that did not succeed.
    holds = {each: hold for each, hold in clients.records.standing().holds.items() if hold.by != WATCHER}
    by_run: dict[str, list[str]] = defaultdict(list)
    for each in rejections:
        if hold := holds.get(each.change.instance_id):
            came.lines.append(f"{each.change.instance_id} was left as it is: {hold}")
        else:
            by_run[each.change.run_id].append(each.change.instance_id)
    revert = Revert(clients, clock, run_id=run_id, by=WATCHER, seconds=seconds, mandate=mandate)
    plans = [plan for watched, named in by_run.items() for plan in revert.plan(named, watched)]
    problems = [plan for plan in plans if plan.problem]
    came.unsettled.update(each.instance_id for each in problems if _has_open_entry(clients, each.instance_id))
    came.lines += [
        f"{each.instance_id} was not set back: {each.problem}"
        for each in problems
        if each.instance_id not in came.unsettled
    ]
    until = clock.now() + HELD_FOR
    for result in revert.carry_out(plans, reason="calls without a token were rejected", until=until):
        telemetry.log_result(result, Trigger.REVERT)
        done = result.outcome in {Outcome.REMEDIATED, Outcome.PENDING}
        what = (
            f"{'was' if done else 'was not'} set back ({result.outcome}), and is held until {until:%Y-%m-%d %H:%M} UTC"
        )
        came.lines.append(f"{result.instance_id} {what}: {result.reason}")
        if wants_retry(result):
            came.failed.add(result.instance_id)
    for failure in revert.ledger_failures.values():
        telemetry.ledger_unavailable("not everything that was set back could be written down", AwsError(failure))
    came.entries = [replace(each.change, run_id=run_id) for each in rejections]
    return came


def _has_open_entry(clients: Clients, instance_id: str) -> bool:
    return any(entry.outcome is None for entry in clients.records.entries_of(instance_id))
