"""The calls without a token of instances or Auto Scaling groups: asked seldom, and remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.aws.boto import batched
from imds_enforcer.aws.cloudwatch import most_at_once
from imds_enforcer.decision.legacy_calls import Calls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from imds_enforcer.aws.cloudwatch import CallMetrics
    from imds_enforcer.aws.ledger_table import Notes
    from imds_enforcer.decision.legacy_calls import Counted
    from imds_enforcer.model import Clock


def _by_name(name: str, _: datetime) -> str:
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class CallQuery:
    """A question about one region's instances or Auto Scaling groups.

    Each answer is noted under `topic`, and the note is good for the time `good_for`. `noted_by` returns the name under
    which an answer is noted: an instance or a group, or an instance with the moment from which its calls count.
    """

    topic: str
    counted: Counted
    period: timedelta
    good_for: timedelta
    noted_by: Callable[[str, datetime], str] = _by_name


class CallHistory:
    """Answers a query from notes that are fresh enough, else from CloudWatch.

    CloudWatch charges for each instance asked about, so other processes reuse an answer for a while too. A note covers
    as many instances as a request to CloudWatch, so a few requests read the notes of thousands. `metrics` is called
    only if the notes do not answer a query.
    """

    def __init__(self, notes: Notes, metrics: Callable[[], CallMetrics], clock: Clock, query: CallQuery) -> None:
        self._notes = notes
        self._metrics = metrics
        self._clock = clock
        self._query = query
        self._known: dict[str, Calls] | None = None

    def of(self, since: Mapping[str, datetime]) -> dict[str, Calls]:
        """The calls of these instances or groups; `since` has the moment from which the calls of each count.

        Raises:
            AwsError: if the notes could not be read or written, or CloudWatch did not answer for all.
        """
        if not since:
            return {}
        if self._known is None:
            self._known = self._notes.calls(self._query.topic, self._clock.now() - self._query.good_for)
        names = {instance_id: self._query.noted_by(instance_id, moment) for instance_id, moment in since.items()}
        unknown = {each: since[each] for each, name in names.items() if name not in self._known}
        if unknown:
            self._known |= self._ask(unknown)
        return {instance_id: self._known[name] for instance_id, name in names.items()}

    def _ask(self, since: Mapping[str, datetime]) -> dict[str, Calls]:
        end = self._clock.now()
        start = min(since.values())
        answered: dict[str, Calls] = {}
        for names in batched(since, most_at_once(self._query.counted, start, end, self._query.period)):
            points = self._metrics().points(
                self._query.counted, names, start=start, end=end, period=int(self._query.period.total_seconds())
            )
            calls = {
                self._query.noted_by(each, since[each]): Calls.summed(points.get(each, ()), since[each])
                for each in names
            }
            self._notes.write_calls(self._query.topic, calls, self._query.good_for)
            answered |= calls
        return answered
