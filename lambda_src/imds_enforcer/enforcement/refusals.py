"""What EC2 refused to instances of one region: the enforcer tries it again only once something has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.decision.refused_options import without_refused
from imds_enforcer.ledger.refusals import NOTED_FOR, RefusalNote, digest
from imds_enforcer.model import AwsError, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imds_enforcer.aws.ledger_table import Notes
    from imds_enforcer.limits.cancellation import RegionCancellation
    from imds_enforcer.model import Clock, Failure, PlannedChange, Refusal, Result

_WORKED_WITHOUT = frozenset({Outcome.REMEDIATED, Outcome.PENDING, Outcome.SKIPPED})


class Refusals:
    """Notes about one region's instances: what EC2 refused to them.

    They are read once, when a plan first names an option that EC2 can refuse. They only save calls: if notes cannot be
    read or written, EC2 is asked again. `failure` is why they could not be written.
    """

    def __init__(self, notes: Notes, clock: Clock, cancellation: RegionCancellation, region: str) -> None:
        self._notes = notes
        self._clock = clock
        self._cancellation = cancellation
        self._region = region
        self._known: Mapping[str, RefusalNote] | None = None
        self._tag_keys: dict[str, str] = {}
        self.failure: Failure | None = None

    def review(self, plans: Iterable[PlannedChange]) -> list[PlannedChange | Result]:
        """Each plan without the options noted as refused, or the result if nothing is left to change."""
        return [without_refused(plan, self._of(plan)) if plan.change.extras else plan for plan in plans]

    def note(self, results: Iterable[Result]) -> None:
        """Note what EC2 refused in this run, for instances that are otherwise as wanted."""
        found = [note for result in results if (note := self._note(result))]
        if found:
            try:
                self._notes.write_refusals(self._region, found)
            except AwsError as error:
                self._cancellation.heed(error.failure)
                self.failure = error.failure

    def _of(self, plan: PlannedChange) -> tuple[Refusal, ...]:
        # The tags as first seen: if they change during the run, the next run asks EC2 again.
        self._tag_keys.setdefault(plan.instance_id, digest(plan.instance.tags))
        if self._known is None:
            try:
                self._known = self._notes.refusals(self._region)
            except AwsError as error:
                # Holds are in the same table: if it is out of reach, nothing is changed.
                self._cancellation.heed(error.failure)
                self._known = {}
        note = self._known.get(plan.instance_id)
        return note.refused if note and note.applies(plan.instance.tags, self._clock.now()) else ()

    def _note(self, result: Result) -> RefusalNote | None:
        """The note to write. None if the change failed without these options too: they may not be the cause."""
        tag_keys = self._tag_keys.get(result.instance_id)
        if result.outcome not in _WORKED_WITHOUT or tag_keys is None or all(each.noted for each in result.refused):
            return None
        until = self._clock.now() + NOTED_FOR
        return RefusalNote(instance_id=result.instance_id, refused=result.refused, tag_keys=tag_keys, until=until)
