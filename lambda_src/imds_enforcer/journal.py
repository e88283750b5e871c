"""What the ledger is told of the changes of one visit to a region."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from imds_enforcer.dynamodb import BATCH_SIZE
from imds_enforcer.ledger import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from datetime import datetime

    from imds_enforcer.clock import Clock
    from imds_enforcer.model import Result
    from imds_enforcer.plan import Planned
    from imds_enforcer.policy import PolicyVersions
    from imds_enforcer.records import Records

_WRITERS = 4
"""Requests with what was completed that are under way at once."""

_FLUSH_SECONDS = 5.0


class Journal:
    """Writes an intent before each change, and what became of it afterwards; both in batches.

    The intent of a change is written again only where a later look found other options.
    What nobody can tell of a change stays open: a later sweep settles it by what the instance shows.
    """

    def __init__(  # noqa: PLR0913  # what an entry says beside the change itself
        self,
        records: Records,
        clock: Clock,
        *,
        run_id: str,
        versions: PolicyVersions,
        ends_at: datetime,
        trigger_of: Callable[[str], str],
        by: str | None = None,
    ) -> None:
        self._records = records
        self._clock = clock
        self._run_id = run_id
        self._versions = versions
        self._ends_at = ends_at
        self._trigger_of = trigger_of
        self._by = by
        self._open: dict[str, Entry] = {}
        self._taken: set[str] = set()
        self._unanswered: set[str] = set()
        self._completed: list[Entry] = []
        self._writer: ThreadPoolExecutor | None = None
        self._written: list[Future[None]] = []
        self._flushed_at = clock.monotonic()

    def missing(self, plans: Iterable[Planned]) -> list[Planned]:
        """The plans whose intent is not written yet."""
        return [plan for plan in plans if not self._has(plan)]

    def intend(self, plans: Iterable[Planned]) -> None:
        """Write the intents of these plans.

        Raises:
            AwsError: if the table did not take all of them.
        """
        entries = [self._intent(plan) for plan in plans]
        self._records.write(entries)
        self._open |= {entry.instance_id: entry for entry in entries}

    def taken(self, instance_id: str) -> None:
        """Take down that EC2 took the change."""
        self._taken.add(instance_id)

    def unanswered(self, instance_id: str) -> None:
        """Take down that nobody knows whether EC2 took the change."""
        self._unanswered.add(instance_id)

    def complete(self, result: Result) -> None:
        """Take down what became of a change, if it was intended. It is written with others: see `flush` and `close`."""
        entry = self._open.pop(result.instance_id, None)
        taken = result.instance_id in self._taken
        if entry and (taken or result.instance_id not in self._unanswered):
            self._completed.append(
                replace(
                    entry,
                    outcome=result.outcome,
                    reason=result.reason,
                    # Of a change that was not made, what the instance shows is somebody else's.
                    after=result.after if taken else None,
                    code=result.failure.code if result.failure else None,
                )
            )

    def flush(self, *, everything: bool = False) -> None:
        """Have what was completed written, once it fills a request or has waited for long, or `everything` at once.

        Nobody waits for it: the next changes are sent meanwhile.
        """
        waited = self._clock.monotonic() - self._flushed_at
        due = everything or len(self._completed) >= BATCH_SIZE or waited >= _FLUSH_SECONDS
        if self._completed and due:
            self._write_behind()

    def close(self) -> None:
        """Write the rest, and wait until all is written.

        Raises:
            AwsError: if the table did not take all of it. It is not tried again: the entries stay open,
                and a later sweep settles them.
        """
        self.flush(everything=True)
        if self._writer:
            self._writer.shutdown()
        for each in self._written:
            each.result()

    def _write_behind(self) -> None:
        completed, self._completed = self._completed, []
        self._flushed_at = self._clock.monotonic()
        self._writer = self._writer or ThreadPoolExecutor(_WRITERS, thread_name_prefix="ledger")
        self._written.append(self._writer.submit(self._records.write, completed))

    def _has(self, plan: Planned) -> bool:
        entry = self._open.get(plan.instance_id)
        return entry is not None and entry.before == plan.instance.options and entry.wanted == plan.wanted

    def _intent(self, plan: Planned) -> Entry:
        instance = plan.instance
        assert instance.options is not None, "planned without knowing what is there"
        earlier = self._open.get(instance.instance_id)
        return Entry(
            instance_id=instance.instance_id,
            region=instance.region,
            at=earlier.at if earlier else self._clock.now(),
            run_id=self._run_id,
            trigger=self._trigger_of(instance.instance_id),
            versions=self._versions,
            before=instance.options,
            wanted=plan.wanted,
            ends_at=self._ends_at,
            by=self._by,
            reason=plan.reason,
        )
