"""How often instances were called without a token: asked once in a while, and remembered in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.aws import batched
from imds_enforcer.call_metrics import MAX_METRICS, MAX_POINTS
from imds_enforcer.legacy_calls import Calls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from imds_enforcer.call_metrics import CallMetrics
    from imds_enforcer.clock import Clock
    from imds_enforcer.records import Records


class CallHistory:
    """One metric of one region's instances.

    CloudWatch is paid by the instance asked about, so an answer serves for the time `good_for`,
    in other processes too: notes of the last answers are kept under `topic`. A note is about as
    many instances as a request, which makes it a few requests to read the notes of thousands. `noted_by` is
    what an answer is about: an instance, or an instance from a moment on.
    """

    def __init__(  # noqa: PLR0913  # what is asked for, by whom, and how long it serves
        self,
        records: Records,
        metrics: CallMetrics,
        clock: Clock,
        *,
        topic: str,
        metric: str,
        period: timedelta,
        good_for: timedelta,
        noted_by: Callable[[str, datetime], str] = lambda instance_id, _: instance_id,
    ) -> None:
        self._records = records
        self._metrics = metrics
        self._clock = clock
        self._topic = topic
        self._metric = metric
        self._period = period
        self._good_for = good_for
        self._noted_by = noted_by
        self._known: dict[str, Calls] | None = None

    def of(self, since: Mapping[str, datetime]) -> dict[str, Calls]:
        """The calls of each of these instances, from a moment of its own on.

        Raises:
            AwsError: if the notes could not be read or kept, or CloudWatch did not answer for all.
        """
        if self._known is None:
            self._known = self._records.noted_calls(self._topic, self._clock.now() - self._good_for)
        names = {instance_id: self._noted_by(instance_id, moment) for instance_id, moment in since.items()}
        unknown = {each: since[each] for each, name in names.items() if name not in self._known}
        if unknown:
            self._known |= self._ask(unknown)
        return {instance_id: self._known[name] for instance_id, name in names.items()}

    def _ask(self, since: Mapping[str, datetime]) -> dict[str, Calls]:
        end = self._clock.now()
        start = min(since.values())
        periods = (end - start) // self._period + 2
        answered: dict[str, Calls] = {}
        for instance_ids in batched(since, min(MAX_METRICS, MAX_POINTS // periods)):
            points = self._metrics.points(
                self._metric, instance_ids, start=start, end=end, period=int(self._period.total_seconds())
            )
            calls = {
                self._noted_by(each, since[each]): Calls.summed(points.get(each, ()), since[each])
                for each in instance_ids
            }
            self._records.note_calls(self._topic, calls, self._good_for)
            answered |= calls
        return answered
