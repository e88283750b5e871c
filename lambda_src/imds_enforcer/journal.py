"""What the ledger is told of the changes of one visit to a region."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imds_enforcer.aws import batched
from imds_enforcer.dynamodb import BATCH_SIZE
from imds_enforcer.failures import AwsError
from imds_enforcer.ledger import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from datetime import datetime

    from imds_enforcer.clock import Clock
    from imds_enforcer.model import Result
    from imds_enforcer.plan import Planned
    from imds_enforcer.policy import PolicyVersions
    from imds_enforcer.records import Records

_WRITERS = 2
"""Requests with intents, and as many with outcomes, that are under way at once: 25 changes take longer than one."""

_FLUSH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Writing:
    """Some intents that are being written with one request."""

    request: Future[None]
    entries: dict[str, Entry]


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
        self._on_their_way: dict[str, _Writing] = {}
        self._open: dict[str, Entry] = {}
        self._taken: set[str] = set()
        self._unanswered: set[str] = set()
        self._completed: list[Entry] = []
        self._intending: ThreadPoolExecutor | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._written: list[Future[None]] = []
        self._flushed_at = clock.monotonic()

    def missing(self, plans: Iterable[Planned]) -> list[Planned]:
        """The plans whose intent is neither written nor on its way."""
        return [plan for plan in plans if not self._has(plan)]

    def intend(self, plans: Iterable[Planned]) -> None:
        """Begin to write the intents of these plans, a request for each 25; `intended` tells what came of it."""
        for some in batched(plans, BATCH_SIZE):
            for plan in some:
                # What is decided anew must not be overtaken by what was intended before.
                with suppress(AwsError):
                    self._arrived(plan.instance_id)
            entries = {plan.instance_id: self._intent(plan) for plan in some}
            self._intending = self._intending or ThreadPoolExecutor(_WRITERS, thread_name_prefix="intents")
            request = self._intending.submit(self._records.write, list(entries.values()))
            self._on_their_way |= dict.fromkeys(entries, _Writing(request, entries))

    def intended(self, plans: Iterable[Planned]) -> Iterator[list[Planned]]:
        """Those plans whose intent is written, some as soon as they are.

        Raises:
            AwsError: at the end, if the table did not take all of them.
        """
        waiting: dict[Future[None], list[Planned]] = defaultdict(list)
        open_by_now: list[Planned] = []
        for plan in plans:
            if writing := self._on_their_way.get(plan.instance_id):
                waiting[writing.request].append(plan)
            elif self._has(plan):
                open_by_now.append(plan)
        if open_by_now:
            yield open_by_now
        failure: AwsError | None = None
        while waiting:
            answered, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for request in [each for each in waiting if each in answered]:
                some = waiting.pop(request)
                try:
                    self._arrived(some[0].instance_id)
                except AwsError as error:
                    failure = error
                else:
                    yield some
        if failure:
            raise failure

    def _arrived(self, instance_id: str) -> None:
        """Wait until an instance's intent, if it is on its way, is written; those that went with it are, too.

        Raises:
            AwsError: if it was not written.
        """
        if writing := self._on_their_way.get(instance_id):
            try:
                writing.request.result()
                self._open |= writing.entries
            finally:
                for each in writing.entries:
                    del self._on_their_way[each]

    def taken(self, instance_id: str) -> None:
        """Take down that EC2 took the change."""
        self._taken.add(instance_id)

    def unanswered(self, instance_id: str) -> None:
        """Take down that nobody knows whether EC2 took the change."""
        self._unanswered.add(instance_id)

    def complete(self, result: Result) -> None:
        """Take down what became of a change, if it was intended. It is written with others: see `flush` and `close`."""
        # An intent that is not written is none, and one that were written now would stand in place of its outcome.
        with suppress(AwsError):
            self._arrived(result.instance_id)
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
        for pool in (self._intending, self._writer):
            if pool:
                pool.shutdown()
        for each in self._written:
            each.result()

    def _write_behind(self) -> None:
        completed, self._completed = self._completed, []
        self._flushed_at = self._clock.monotonic()
        self._writer = self._writer or ThreadPoolExecutor(_WRITERS, thread_name_prefix="outcomes")
        self._written.append(self._writer.submit(self._records.write, completed))

    def _has(self, plan: Planned) -> bool:
        writing = self._on_their_way.get(plan.instance_id)
        entry = writing.entries[plan.instance_id] if writing else self._open.get(plan.instance_id)
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
