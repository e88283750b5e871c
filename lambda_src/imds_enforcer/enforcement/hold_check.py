"""Holds and contests: may the enforcer change this instance now?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imds_enforcer.ledger.holds import CONTEST_WINDOW, CONTESTED_FOR, Contest, Standing, is_contested
from imds_enforcer.model import AwsError, Failure, Outcome, PlannedChange, Result
from imds_enforcer.model.result import result_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imds_enforcer.aws.ledger_table import LedgerTable
    from imds_enforcer.limits.cancellation import RegionCancellation
    from imds_enforcer.model import Clock


class HoldCheck:
    """Clears plans for sending. Holds are always read after the observation that a plan rests on.

    This order makes a hold safe: a revert writes its hold before it changes the instance, so an observation that shows
    the reverted options is followed by a reading that shows the hold.

    `drifted_by` names who changed the options of each instance that a drift event is about. It is None for a sweep,
    which corrects contested instances too. `failure` is why holds could not be read, or why a contest could not be
    written.
    """

    def __init__(
        self,
        ledger_table: LedgerTable,
        clock: Clock,
        cancellation: RegionCancellation,
        drifted_by: Mapping[str, str] | None = None,
    ) -> None:
        self._ledger_table = ledger_table
        self._clock = clock
        self._cancellation = cancellation
        self._drifted_by = drifted_by
        self._standing = Standing()
        self._uncontested: set[str] = set()
        self.failure: Failure | None = None

    def review(self, plans: Iterable[PlannedChange]) -> list[PlannedChange | Result]:
        """Each plan, cleared, or the result of an instance that is held or contested.

        If holds cannot be read, nothing is cleared and the region is stopped. Nothing is cleared either once AWS has
        refused the credentials.
        """
        waiting = list(plans)
        if self._cancellation.refused:
            return []
        try:
            if any(plan.instance.observed_at > self._standing.read_at for plan in waiting):
                self._standing = self._ledger_table.holds.standing()
            return [self._judge(plan) for plan in waiting]
        except AwsError as error:
            self.failure = error.failure
            self._cancellation.stop(f"the ledger is out of reach ({error}), so holds could not be read", error.failure)
            return []

    def _judge(self, plan: PlannedChange) -> PlannedChange | Result:
        instance_id, now = plan.instance_id, self._clock.now()
        hold = self._standing.holds.get(instance_id)
        if hold and hold.in_force(now):
            return result_of(plan.instance, Outcome.HELD, f"{hold}; {plan.reason}", after=plan.instance.options)
        contest = self._standing.contests.get(instance_id)
        if self._drifted_by is None:
            return replace(plan, cleared=True, reason=f"{plan.reason}; {contest}" if contest else plan.reason)
        contest = contest or self._new_contest(instance_id, self._drifted_by)
        if contest is None:
            return replace(plan, cleared=True)
        reason = f"{contest}: only the sweep corrects it until {contest.until:%Y-%m-%d %H:%M} UTC; {plan.reason}"
        return result_of(plan.instance, Outcome.CONTESTED, reason, after=plan.instance.options)

    def _new_contest(self, instance_id: str, drifted_by: Mapping[str, str]) -> Contest | None:
        principal, now = drifted_by.get(instance_id), self._clock.now()
        # Asked once for each instance: with a slow table, asking at each look would make every observation too old.
        if principal is None or instance_id in self._uncontested:
            return None
        if not is_contested(self._ledger_table.entries.of(instance_id, now - CONTEST_WINDOW), now):
            self._uncontested.add(instance_id)
            return None
        contest = Contest(instance_id=instance_id, principal=principal, until=now + CONTESTED_FOR)
        try:
            self._ledger_table.holds.contest(contest)
        except AwsError as error:
            # The next drift event counts the corrections again.
            self._cancellation.heed(error.failure)
            self.failure = error.failure
        return contest
