"""What follows from the watch: a metric, one mail, and the way back where the policy says so."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from imds_enforcer import telemetry
from imds_enforcer.events import Trigger
from imds_enforcer.failures import AwsError
from imds_enforcer.mails import mail
from imds_enforcer.policy import Mode
from imds_enforcer.revert import Revert
from imds_enforcer.watch import Watched, watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imds_enforcer.clients import Clients
    from imds_enforcer.clock import Clock
    from imds_enforcer.safeguards import Watch
    from imds_enforcer.watch import Rejection

HELD_FOR = timedelta(days=7)
"""For so long an instance is held that the watch has set back."""

_BY = "the watch of imds-enforcer"


@dataclass(frozen=True, slots=True)
class Watcher:
    """The watch of one sweep, under the sweep's run id."""

    clients: Clients
    clock: Clock
    run_id: str

    def look(self, terms: Watch | None) -> Watched:
        """Which of the instances changed lately still get calls without a token; none if nothing is to be watched."""
        if terms is None:
            return Watched()
        try:
            return watch(self.clients, self.clock, terms)
        except AwsError as error:
            telemetry.ledger_unavailable("the changed instances could not be watched", error)
            return Watched()

    def follow_up(self, watched: Watched, terms: Watch, mode: Mode, seconds: float) -> None:
        """Tell the operators, once an instance, and set back what is to be, within so many seconds."""
        for region, error in watched.failures.items():
            telemetry.call_failed(f"the changed instances of {region} could not be watched", error)
        telemetry.rejected_calls(len(watched.over_limit))
        if not watched.news:
            return
        try:
            follows = "They were left as they are."
            if terms.revert and mode is Mode.ENFORCE:
                follows = self._set_back(watched.news, seconds)
            lines = [*map(str, watched.news), follows]
            if mail(self.clients, "Instances still call IMDSv1 after it was switched off", "\n".join(lines)):
                self.clients.records.note_told((each.change for each in watched.news), terms.time)
        except AwsError as error:
            telemetry.ledger_unavailable("what the watch found could not be followed up", error)

    def _set_back(self, rejections: Sequence[Rejection], seconds: float) -> str:
        """Set the instances back and hold them; what came of it, for the operators."""
        by_run: dict[str, list[str]] = defaultdict(list)
        for each in rejections:
            by_run[each.change.run_id].append(each.change.instance_id)
        revert = Revert(self.clients, self.clock, run_id=self.run_id, by=_BY, seconds=seconds)
        plans = [plan for run_id, instance_ids in by_run.items() for plan in revert.plan(instance_ids, run_id)]
        until = self.clock.now() + HELD_FOR
        lines = [f"{plan.instance_id} was not set back: {plan.problem}" for plan in plans if plan.problem]
        for result in revert.carry_out(plans, reason="calls without a token were rejected", until=until):
            telemetry.log_result(result, Trigger.REVERT)
            lines.append(f"{result.instance_id} was set back: {result.outcome}, {result.reason}")
        return "\n".join([*lines, f"Those that were set back are held until {until:%Y-%m-%d %H:%M} UTC."])
