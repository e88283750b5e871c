"""What follows from the watch: a metric, and one mail with the commands that revert."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.model import AwsError
from imds_enforcer.reporting import telemetry
from imds_enforcer.reporting.mails import mail
from imds_enforcer.runs.watch import Rejection, Watched, watch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imds_enforcer.aws.services import Clients
    from imds_enforcer.model import Clock
    from imds_enforcer.policy import Watch


@dataclass(frozen=True, slots=True)
class Watcher:
    """The watch of one sweep: it reports, and changes nothing."""

    clients: Clients
    clock: Clock

    def look(self, terms: Watch | None) -> Watched:
        """Which of the instances changed lately still get calls without a token; none if nothing is to be watched."""
        if terms is None:
            return Watched()
        try:
            return watch(self.clients, self.clock, terms)
        except AwsError as error:
            telemetry.ledger_unavailable("the changed instances could not be watched", error)
            return Watched()

    def follow_up(self, watched: Watched, terms: Watch) -> None:
        """Count the instances over the limit, and name each to the operators once."""
        for region, error in watched.failures.items():
            telemetry.call_failed(f"the changed instances of {region} could not be watched", error)
        telemetry.rejected_calls(len(watched.over_limit))
        news = watched.news
        if not news:
            return
        text = "\n".join([*map(str, news), "They were left as they are.", *_ways_back(news)])
        try:
            if mail(self.clients, "Instances still call IMDSv1 after it was switched off", text):
                self.clients.records.note_told([each.change for each in news], terms.time)
        except AwsError as error:
            telemetry.ledger_unavailable("which instances the watch has named could not be written down", error)


def _ways_back(rejections: Iterable[Rejection]) -> list[str]:
    """For each run the command that reverts its instances, as far as there is still something to revert."""
    by_run: dict[str, list[str]] = defaultdict(list)
    for each in rejections:
        if each.instance and not each.instance.state.ended:
            by_run[each.change.run_id].append(each.change.instance_id)
    commands = [f"imds-enforcer revert {' '.join(sorted(ids))} --run {run_id}" for run_id, ids in by_run.items()]
    return ["", "To revert and hold them, run:", *commands] if commands else []
