"""Revert account defaults to what they were before the enforcer set them, and hold them there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.decision.account_defaults import planned, restored
from imds_enforcer.enforcement.account_defaults import set_defaults
from imds_enforcer.ledger.defaults import changed_since, original, subject
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import AwsError, Kind, Outcome, Trigger
from imds_enforcer.model.region_defaults import DEFAULTS
from imds_enforcer.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from imds_enforcer.aws.services import Clients
    from imds_enforcer.model import Clock, Failure
    from imds_enforcer.model.region_defaults import DefaultsResult, PlannedDefaults, RegionDefaults

_VERIFY_SECONDS = 20.0
_SECONDS_A_REGION = 60.0


@dataclass(frozen=True, slots=True)
class RevertingDefaults:
    """The plan to revert one region's defaults: the change, if any, and the defaults that are left as they are.

    If `possible` is False, one of two fields says why: `nothing_left` if there is nothing left to undo, `problem` if
    the defaults cannot be reverted.
    """

    region: str
    possible: bool = False
    change: PlannedDefaults | None = None
    left: tuple[str, ...] = ()
    nothing_left: str | None = None
    problem: str | None = None

    @property
    def done(self) -> bool:
        """True if nothing remains to be reverted: the plan has no problem, no change, and no default that it leaves."""
        return self.problem is None and self.change is None and not self.left


class RevertDefaults:
    """Plans and carries out a revert that a person ordered; `by` names that person.

    `ledger_failures` says, by region, why the ledger lacks some of the changes.
    """

    def __init__(self, clients: Clients, clock: Clock, *, run_id: str, by: str, overwrite: bool = False) -> None:
        self._clients = clients
        self._clock = clock
        self._run_id = run_id
        self._by = by
        self._overwrite = overwrite
        self.ledger_failures: dict[str, Failure] = {}

    def plan(self, regions: Iterable[str]) -> list[RevertingDefaults]:
        """Plan the revert of each region's defaults.

        Raises:
            AwsError: if the ledger could not be read, or AWS does not accept the credentials.
        """
        run = self._run(1)
        return [self._planned(run, region) for region in dict.fromkeys(regions)]

    def carry_out(
        self, plans: Sequence[RevertingDefaults], *, reason: str, until: datetime | None = None
    ) -> list[tuple[RevertingDefaults, DefaultsResult]]:
        """Hold the defaults, revert them and read them back; each region's final plan and its result.

        All holds are written first, as for instances.

        Raises:
            AwsError: if the holds could not be written; then nothing is changed.
        """
        now = self._clock.now()
        self._clients.ledger_table.holds.write(
            Hold(instance_id=subject(plan.region), reason=reason, by=self._by, at=now, until=until) for plan in plans
        )
        run = self._run(len(plans))
        return [self._put_back(run, plan.region) for plan in plans]

    def _run(self, regions: int) -> Run:
        # A person's order follows no policy.
        return Run(
            run_id=self._run_id,
            clients=self._clients,
            clock=self._clock,
            ledger=self._clients.ledger_table.entries,
            seconds=_SECONDS_A_REGION * regions,
            verify_timeout=_VERIFY_SECONDS,
            by=self._by,
        )

    def _planned(self, run: Run, region: str) -> RevertingDefaults:
        context = run.defaults(region, Trigger.REVERT)
        try:
            seen = context.api.read()
        except AwsError as error:
            if error.failure.kind is Kind.CREDENTIALS:
                raise
            return RevertingDefaults(region, problem=f"the account defaults cannot be read ({error})")
        entries = context.entries(seen)
        if any(entry.outcome is None for entry in entries):
            return RevertingDefaults(region, problem="a change is under way: try again in a few minutes")
        back, left = original(entries, seen, overwrite=self._overwrite), changed_since(entries, seen)
        if not (back or left):
            return RevertingDefaults(region, nothing_left="the ledger has no change left to undo")
        if seen.managed:
            return RevertingDefaults(region, problem=seen.managed)
        after = restored(seen, back)
        kept = _kept(after, back)
        return RevertingDefaults(
            region,
            possible=True,
            change=planned(seen, after, "reverted to what they were before the enforcer set them"),
            left=(*(() if self._overwrite else left), *kept),
        )

    def _put_back(self, run: Run, region: str) -> tuple[RevertingDefaults, DefaultsResult]:
        """Plan the revert again, because the defaults may have changed since the first plan, and carry it out."""
        context = run.defaults(region, Trigger.REVERT)
        try:
            plan = self._planned(run, region)
        except AwsError as error:
            self.ledger_failures[region] = error.failure
            plan = RevertingDefaults(region, problem=str(error))
        if plan.problem:
            return plan, context.result(Outcome.FAILED, plan.problem, None)
        if plan.change is None:
            return plan, context.result(Outcome.COMPLIANT, "nothing to revert", None)
        result = set_defaults(context, plan.change)
        if context.ledger_failure:
            self.ledger_failures[region] = context.ledger_failure
        return plan, result


def _kept(after: RegionDefaults, back: dict[str, object]) -> tuple[str, ...]:
    """What the enforcer set and must keep while tokens are enforced: required tokens, and the hop limit they need."""
    shown = after.as_log()
    return tuple(
        f"{name} is {shown[name]}, which the other defaults need"
        for name, attribute in DEFAULTS.items()
        if attribute in back and getattr(after, attribute) != back[attribute]
    )
