"""What EC2 refused to the instances of one region: it is asked for again only once something has changed."""

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
    """Notes of one region's instances: read when a plan first names an option that can be refused, and kept.

    They only save calls. Those that cannot be read are as if there were none, and what cannot be noted is asked for
    again by the next run; `failure` is why, then.
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
        """Each plan without the options that are noted as refused, or the result of one that has nothing left."""
        return [without_refused(plan, self._of(plan)) if plan.change.extras else plan for plan in plans]

    def note(self, results: Iterable[Result]) -> None:
        """Note what EC2 refused to this run, of instances that came to be as they are wanted but for that."""
        found = [note for result in results if (note := self._note(result))]
        if found:
            try:
                self._notes.write_refusals(self._region, found)
            except AwsError as error:
                self._cancellation.heed(error.failure)
                self.failure = error.failure

    def _of(self, plan: PlannedChange) -> tuple[Refusal, ...]:
        # As first seen: if the tags change while the run goes on, the next run asks for it again.
        self._tag_keys.setdefault(plan.instance_id, digest(plan.instance.tags))
        if self._known is None:
            try:
                self._known = self._notes.refusals(self._region)
            except AwsError as error:
                # Holds are in the same table: nothing is changed where it is out of reach.
                self._cancellation.heed(error.failure)
                self._known = {}
        note = self._known.get(plan.instance_id)
        return note.refused if note and note.applies(plan.instance.tags, self._clock.now()) else ()

    def _note(self, result: Result) -> RefusalNote | None:
        """What is to be noted; None where the change failed all the same, so that it may not be about these options."""
        tag_keys = self._tag_keys.get(result.instance_id)
        if result.outcome not in _WORKED_WITHOUT or tag_keys is None or all(each.noted for each in result.refused):
            return None
        until = self._clock.now() + NOTED_FOR
        return RefusalNote(instance_id=result.instance_id, refused=result.refused, tag_keys=tag_keys, until=until)
