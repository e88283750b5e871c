"""What follows from the watch: a metric, one mail, and the way back where the policy says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer import telemetry
from imds_enforcer.clock import Deadline
from imds_enforcer.failures import AwsError
from imds_enforcer.mails import mail
from imds_enforcer.mandate import Mandate
from imds_enforcer.policy import Mode
from imds_enforcer.set_back import set_back
from imds_enforcer.watch import Watched, watch

if TYPE_CHECKING:
    from imds_enforcer.clients import Clients
    from imds_enforcer.clock import Clock
    from imds_enforcer.policy import Policy
    from imds_enforcer.safeguards import Watch


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

    def follow_up(self, watched: Watched, policy: Policy, terms: Watch, seconds: float) -> None:
        """Tell the operators, once an instance, and set back what is to be, within so many seconds."""
        for region, error in watched.failures.items():
            telemetry.call_failed(f"the changed instances of {region} could not be watched", error)
        telemetry.rejected_calls(len(watched.over_limit))
        news, mandate = (
            watched.news,
            Mandate(Deadline.after(self.clock, seconds), policy.versions, self.clients.policies),
        )
        lines = [f"{each.instance_id} in {each.region} was set back already, and is held." for each in watched.untold]
        told = list(watched.untold)
        try:
            if news and terms.revert and policy.mode is Mode.ENFORCE:
                if mandate.ended():
                    # The next sweep finds them again, and goes by the policy that is in force then.
                    return
                came = set_back(self.clients, self.clock, news, run_id=self.run_id, mandate=mandate, seconds=seconds)
                lines += [*(str(each) for each in news if each.change.instance_id not in came.unsettled), *came.lines]
                told += [each.change for each in news if each.change.instance_id not in came.to_be_tried_again]
                told += came.entries
            elif news:
                lines += [*map(str, news), "They were left as they are."]
                told += [each.change for each in news]
            if lines and mail(self.clients, "Instances still call IMDSv1 after it was switched off", "\n".join(lines)):
                self.clients.records.note_told(told, terms.time)
        except AwsError as error:
            telemetry.ledger_unavailable("what the watch found could not be followed up", error)
