"""What stands between a plan and its change in one region: holds, contests and the ledger."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from imds_enforcer.dynamodb import BATCH_SIZE
from imds_enforcer.failures import AwsError, Failure, Kind
from imds_enforcer.ledger import CONTEST_WINDOW, CONTESTED_FOR, Contest, Standing, is_contested
from imds_enforcer.model import Outcome, Result
from imds_enforcer.plan import Accepted, Planned, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from imds_enforcer.clock import Clock
    from imds_enforcer.journal import Journal
    from imds_enforcer.records import Records


class Guard:
    """Asked about every plan after the observation that it rests on, and told of everything that comes of it.

    That order is what makes a hold safe. Whoever sets an instance back holds it first: so an observation
    that shows the instance set back is followed by a reading that shows the hold.

    `drifted_by` gives who set an instance's options back, for an instance that such an event named; a contested
    instance is only for a sweep to set right. A revert does not heed holds: it sets them.
    """

    def __init__(  # noqa: PLR0913  # each is one thing to ask
        self,
        records: Records,
        clock: Clock,
        journal: Journal,
        *,
        sweeps: bool = False,
        drifted_by: Callable[[str], str | None] = lambda _: None,
        heeds_holds: bool = True,
    ) -> None:
        self._records = records
        self._clock = clock
        self._journal = journal
        self._sweeps = sweeps
        self._drifted_by = drifted_by
        self._heeds_holds = heeds_holds
        self._foreseen: Standing | None = None
        self._asked: Future[Standing] | None = None
        self._standing = Standing()
        self._reviewed: dict[str, float] = {}
        self._uncontested: set[str] = set()
        self._stopped: str | None = None
        self.failure: Failure | None = None

    @property
    def stopped(self) -> str | None:
        """Why nothing more may be changed in this region, for now; None as long as something may."""
        return self._stopped

    def ask(self, plans: Iterable[Planned]) -> None:
        """Begin to read what stands against these plans, for their review: something else may be waited for meanwhile.

        They are written down meanwhile, too, where nothing was known to stand against them before.
        """
        fresh = [plan for plan in plans if not self.has_reviewed(plan)]
        if self._asked or not any(plan.instance.observed_at > self._standing.read_at for plan in fresh):
            return
        pool = ThreadPoolExecutor(1, thread_name_prefix="holds")
        # Begun first: every change waits for it, and for its own intent only.
        self._asked = pool.submit(self._records.standing)
        pool.shutdown(wait=False)
        if self._foreseen:
            known = {*self._foreseen.holds, *self._foreseen.contests}
            self._begin([plan for plan in fresh if plan.instance_id not in known])

    def review(self, plans: Iterable[Planned]) -> list[Planned | Result]:
        """The plans among these that are new since the last call, or what becomes of them instead.

        If what is asked here cannot be read, all of it is empty, and `stopped` says why.
        """
        fresh = [plan for plan in plans if not self.has_reviewed(plan)]
        try:
            while any(plan.instance.observed_at > self._standing.read_at for plan in fresh):
                self.ask(fresh)
                self._standing = self._answer()
            reviewed = [self._judge(plan) for plan in fresh]
        except AwsError as error:
            self._out_of_reach(error, "it cannot be told which instances are held")
            return []
        self._reviewed |= {plan.instance_id: plan.instance.observed_at for plan in fresh}
        return reviewed

    def _answer(self) -> Standing:
        assert self._asked is not None
        asked, self._asked = self._asked, None
        return asked.result()

    def foresee(self) -> None:
        """Read what stands against instances ahead of the observation: it decides nothing, and saves a launch time."""
        # If that fails, the review reads it again, and says what follows.
        with suppress(AwsError):
            self._foreseen = self._records.standing()

    def has_reviewed(self, plan: Planned) -> bool:
        """True if it was asked about this plan, as it is now, whether anything stands against it."""
        return not self._heeds_holds or self._reviewed.get(plan.instance_id) == plan.instance.observed_at

    def _judge(self, plan: Planned) -> Planned | Result:
        instance_id, now = plan.instance_id, self._clock.now()
        hold = self._standing.holds.get(instance_id)
        if hold and hold.in_force(now):
            return result_of(plan.instance, Outcome.HELD, f"{hold}; {plan.reason}", after=plan.instance.options)
        contest = self._standing.contests.get(instance_id)
        if self._sweeps:
            return replace(plan, reason=f"{plan.reason}; {contest}") if contest else plan
        contest = contest or self._new_contest(instance_id)
        if contest is None:
            return plan
        reason = f"{contest}: only the sweep sets it right until {contest.until:%Y-%m-%d %H:%M}; {plan.reason}"
        return result_of(plan.instance, Outcome.CONTESTED, reason, after=plan.instance.options)

    def _new_contest(self, instance_id: str) -> Contest | None:
        principal, now = self._drifted_by(instance_id), self._clock.now()
        # A slow table must not be asked about all of them with each look: what was looked at would always be too old.
        if principal is None or instance_id in self._uncontested:
            return None
        if not is_contested(self._records.entries_of(instance_id, now - CONTEST_WINDOW), now):
            self._uncontested.add(instance_id)
            return None
        contest = Contest(instance_id=instance_id, principal=principal, until=now + CONTESTED_FOR)
        try:
            self._records.contest(contest)
        except AwsError as error:
            # The fixes are there to be counted again with the next event.
            self.failure = error.failure
        return contest

    # The ledger.

    def intend(self, plans: Sequence[Planned], ahead: Sequence[Planned]) -> Iterator[list[Planned]]:
        """Those of the plans that are written down, and may be carried out: some as soon as they are.

        Some of those `ahead` are written down with them: a request takes 25, and at EC2's pace of changes that lasts
        for seconds.
        """
        self._begin(plans, ahead)
        try:
            yield from self._journal.intended(plans)
        except AwsError as error:
            self._out_of_reach(error, "changes are not made without it")

    def _begin(self, plans: Sequence[Planned], ahead: Sequence[Planned] = ()) -> None:
        missing = self._journal.missing(plans)
        if missing:
            spare = -len(missing) % BATCH_SIZE
            self._journal.intend([*missing, *self._journal.missing(ahead)[:spare]])

    def answered(self, plan: Planned, answer: Accepted | Planned | Result) -> None:
        """Take down what came of asking EC2 for a change; a plan is one that waits for another attempt."""
        if isinstance(answer, Accepted):
            self._journal.taken(plan.instance_id)
        elif answer.failure and answer.failure.kind is Kind.UNAVAILABLE:
            self._journal.unanswered(plan.instance_id)

    def ended(self, result: Result) -> None:
        """Take down an instance's outcome, if it was to be changed."""
        self._reviewed.pop(result.instance_id, None)
        self._journal.complete(result)
        self._journal.flush()

    def write_behind(self) -> None:
        """Begin to write down what has ended: nothing that could be written with it will end soon."""
        self._journal.flush(everything=True)

    def close(self) -> None:
        """Write down all that is left to be."""
        try:
            self._journal.close()
        except AwsError as error:
            # What was changed is changed. The entries stay open, and the next sweep settles them.
            self.failure = error.failure

    def _out_of_reach(self, error: AwsError, what_follows: str) -> None:
        self.failure = error.failure
        self._stopped = f"the ledger is out of reach ({error}), and {what_follows}"
