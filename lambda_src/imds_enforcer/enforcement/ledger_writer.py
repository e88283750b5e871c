"""The ledger of one region's changes: the intent before a change, its outcome after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imds_enforcer.ledger.entry import Entry
from imds_enforcer.model import AcceptedChange, AwsError, Failure, Kind, PlannedChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from imds_enforcer.aws.ledger_table import Entries
    from imds_enforcer.limits.cancellation import RegionCancellation
    from imds_enforcer.model import Clock, Result
    from imds_enforcer.policy import PolicyVersions


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the changes of a run come from, as every entry records it; see `Entry`."""

    run_id: str
    versions: PolicyVersions
    ends_at: datetime
    trigger_of: Callable[[str], str]
    by: str | None = None


class LedgerWriter:
    """Writes an intent before each change, and its outcome afterwards.

    An intent is written again only if a later look found other options. An entry whose outcome is unknown
    stays open: a later sweep completes it from what the instance shows. `failure` is why a write failed.
    """

    def __init__(self, entries: Entries, clock: Clock, cancellation: RegionCancellation, origin: Origin) -> None:
        self._entries = entries
        self._clock = clock
        self._cancellation = cancellation
        self._origin = origin
        self._open: dict[str, Entry] = {}
        self._accepted: set[str] = set()
        self._unanswered: set[str] = set()
        self._unwritten: list[Entry] = []
        self._hangs = False
        self.failure: Failure | None = None

    def intend(self, plans: Sequence[PlannedChange]) -> bool:
        """True once the intents of all these plans are written; if that fails, the region is stopped."""
        intents = {plan.instance_id: self._intent(plan) for plan in plans if not self._is_open(plan)}
        try:
            self._entries.write(intents.values())
        except AwsError as error:
            self.failure = error.failure
            self._cancellation.stop(
                f"the ledger is out of reach ({error}), and no change is made without an entry in it", error.failure
            )
            return False
        self._open |= intents
        self._hangs = self._hangs and not intents
        return True

    def answered(self, plan: PlannedChange, answer: AcceptedChange | PlannedChange | Result) -> None:
        """Note EC2's answer to a change. If the answer is a plan, the change waits for another attempt."""
        if isinstance(answer, AcceptedChange):
            self._accepted.add(plan.instance_id)
        elif answer.failure and answer.failure.kind is Kind.UNAVAILABLE:
            self._unanswered.add(plan.instance_id)

    def complete(self, results: Iterable[Result]) -> None:
        """Write the outcomes of those results that have an open intent.

        Outcomes that could not be written are written with the next ones. If the table did not answer, it gets no more
        outcomes until it has accepted another intent. A later sweep completes the entries that stay open.
        """
        self._unwritten += [entry for result in results if (entry := self._completed(result))]
        if not self._unwritten or self._hangs:
            return
        if (refused := self._cancellation.refused) and refused.kind is Kind.CREDENTIALS:
            self.failure = refused
            return
        try:
            self._entries.write(self._unwritten)
        except AwsError as error:
            self._cancellation.heed(error.failure)
            self._hangs = error.failure.kind is Kind.UNAVAILABLE
            self.failure = error.failure
        else:
            self._unwritten = []

    def _completed(self, result: Result) -> Entry | None:
        entry = self._open.pop(result.instance_id, None)
        accepted = result.instance_id in self._accepted
        if entry is None or (not accepted and result.instance_id in self._unanswered):
            return None
        return replace(
            entry,
            outcome=result.outcome,
            reason=result.reason,
            # If the change was not made, someone else set what the instance shows.
            after=result.after if accepted else None,
            code=result.failure.code if result.failure else None,
        )

    def _is_open(self, plan: PlannedChange) -> bool:
        entry = self._open.get(plan.instance_id)
        return entry is not None and entry.before == plan.instance.options and entry.wanted == plan.wanted

    def _intent(self, plan: PlannedChange) -> Entry:
        instance, origin = plan.instance, self._origin
        assert instance.options is not None, "planned without knowing what is there"
        earlier = self._open.get(instance.instance_id)
        return Entry(
            instance_id=instance.instance_id,
            region=instance.region,
            at=earlier.at if earlier else self._clock.now(),
            run_id=origin.run_id,
            trigger=origin.trigger_of(instance.instance_id),
            versions=origin.versions,
            before=instance.options,
            wanted=plan.wanted,
            ends_at=origin.ends_at,
            by=origin.by,
            reason=plan.reason,
        )
