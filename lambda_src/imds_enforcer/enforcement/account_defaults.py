"""Get → decide → ask → set → read back, for the account defaults of one region."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from imds_enforcer.decision.account_defaults import DefaultsVerdict, decide_defaults
from imds_enforcer.enforcement.attempt import MAX_OBSERVATION_AGE
from imds_enforcer.ledger.defaults import DefaultsEntry, completed, original, subject
from imds_enforcer.ledger.holds import CONTEST_WINDOW, CONTESTED_FOR, Contest, is_contested
from imds_enforcer.model import AwsError, Failure, HttpTokens, Kind, Outcome
from imds_enforcer.model.failures import READ_BACK_DIFFERS
from imds_enforcer.model.region_defaults import DefaultsResult, PlannedDefaults, RegionDefaults
from imds_enforcer.policy import AccountDefaults, Mode, Policy

if TYPE_CHECKING:
    from imds_enforcer.aws.account_defaults import DefaultsApi
    from imds_enforcer.aws.ledger_table import LedgerTable
    from imds_enforcer.enforcement.ledger_writer import Origin
    from imds_enforcer.limits.cancellation import RegionCancellation
    from imds_enforcer.model import Clock

_LOOK_SECONDS = 1.0
"""The pause between two looks: EC2 accepts two requests a second (EC2 Developer Guide, "Request throttling")."""


@dataclass(slots=True, kw_only=True)
class DefaultsContext:
    """The parts of the work on one region's defaults; only a run assembles them.

    `ledger_failure` is why the ledger could not be read or written.
    """

    region: str
    api: DefaultsApi
    ledger_table: LedgerTable
    clock: Clock
    cancellation: RegionCancellation
    origin: Origin
    verify_timeout: float
    ledger_failure: Failure | None = None

    def result(self, outcome: Outcome, reason: str, seen: RegionDefaults | None, **more: object) -> DefaultsResult:
        """The outcome of the region's defaults. `before` and `after` are what was seen, unless `more` has them."""
        known = {"before": seen, "after": seen} | more
        return DefaultsResult(region=self.region, outcome=outcome, reason=reason, **known)  # type: ignore[arg-type]

    def entries(self, seen: RegionDefaults) -> list[DefaultsEntry]:
        """The region's ledger entries, after completing those that killed processes left open.

        An entry is completed by what the next entry's run found. The last entry is completed by what the region shows
        now.

        Raises:
            AwsError: if the ledger could not be read or written.
        """
        found = self.ledger_table.defaults.of(self.region)
        now = self.clock.now()
        for number, entry in enumerate(found):
            if entry.outcome is None and now >= entry.ends_at:
                later = found[number + 1].before if number + 1 < len(found) else seen
                found[number] = completed(entry, later)
                self.ledger_table.defaults.write(found[number])
        return found

    def out_of_reach(self, error: AwsError, seen: RegionDefaults) -> DefaultsResult:
        """The outcome if the ledger could not be read or written: without the ledger, nothing is changed."""
        self.cancellation.heed(error.failure)
        self.ledger_failure = error.failure
        return self.result(Outcome.DEFERRED, f"the ledger is out of reach ({error})", seen, failure=error.failure)


class DefaultsEnforcer:
    """Makes the defaults of one region follow the policy. It never raises, so instances are enforced all the same.

    `drifted_by` is who changed the defaults, if an event says so.
    """

    def __init__(
        self,
        context: DefaultsContext,
        policy: Policy,
        wanted: AccountDefaults,
        floor: HttpTokens,
        drifted_by: str | None = None,
    ) -> None:
        self.context = context
        self._policy = policy
        self._wanted = wanted
        self._floor = floor
        self._drifted_by = drifted_by

    def enforce(self, *, left_behind: bool = False) -> DefaultsResult:
        """Enforce the defaults; with `left_behind`, first complete the ledger entries of killed processes."""
        context = self.context
        if refused := context.cancellation.refused:
            return context.result(Outcome.DEFERRED, f"AWS does not accept the credentials ({refused})", None)
        try:
            seen = context.api.read()
        except AwsError as error:
            return self._unread(error.failure)
        try:
            decided = self._decided(seen, left_behind=left_behind)
            if isinstance(decided, PlannedDefaults):
                decided = self._cleared(decided)
        except AwsError as error:
            return context.out_of_reach(error, seen)
        if isinstance(decided, DefaultsResult):
            return decided
        if self._policy.mode is Mode.AUDIT:
            return context.result(Outcome.WOULD_REMEDIATE, decided.reason, seen, after=decided.wanted)
        return set_defaults(context, decided)

    def _unread(self, failure: Failure) -> DefaultsResult:
        self.context.cancellation.heed(failure)
        if failure.denied_by_organization:
            reason = f"denied by the organization ({failure})"
            return self.context.result(Outcome.SKIPPED, reason, None, failure=failure)
        return self.context.result(Outcome.FAILED, str(failure), None, failure=failure)

    def _decided(self, seen: RegionDefaults, *, left_behind: bool) -> PlannedDefaults | DefaultsResult:
        # The earlier values matter only if some of them may come back.
        loosens = self._policy.http_tokens is HttpTokens.OPTIONAL
        before = original(self.context.entries(seen), seen) if loosens or left_behind else {}
        decision = decide_defaults(seen, self._policy, self._wanted, before, self._floor)
        match decision.verdict:
            case DefaultsVerdict.REMEDIATE:
                assert decision.plan is not None, "a decision to remediate without a plan"
                return decision.plan
            case DefaultsVerdict.COMPLIANT:
                return self.context.result(Outcome.COMPLIANT, decision.reason, seen)
            case DefaultsVerdict.LEFT | DefaultsVerdict.MANAGED:
                return self.context.result(Outcome.SKIPPED, decision.reason, seen)
            case _:
                assert_never(decision.verdict)

    def _cleared(self, plan: PlannedDefaults) -> PlannedDefaults | DefaultsResult:
        """The plan, or the result if the defaults are held or contested. Holds are read last, as for instances."""
        context, now = self.context, self.context.clock.now()
        standing, name = context.ledger_table.holds.standing(), subject(context.region)
        hold = standing.holds.get(name)
        if hold and hold.in_force(now):
            return context.result(Outcome.HELD, f"{hold}; {plan.reason}", plan.before)
        contest = standing.contests.get(name)
        if self._drifted_by is None or self._policy.mode is Mode.AUDIT:
            return replace(plan, reason=f"{plan.reason}; {contest}") if contest else plan
        if contest is None:
            fixes = context.ledger_table.defaults.of(context.region, now - CONTEST_WINDOW)
            if not is_contested(fixes, now):
                return plan
            contest = Contest(instance_id=name, principal=self._drifted_by, until=now + CONTESTED_FOR)
            context.ledger_table.holds.contest(contest)
        until = f"{contest.until:%Y-%m-%d %H:%M} UTC"
        reason = f"{contest}: only the sweep corrects them until {until}; {plan.reason}"
        return context.result(Outcome.CONTESTED, reason, plan.before)


def set_defaults(context: DefaultsContext, plan: PlannedDefaults) -> DefaultsResult:
    """Write the intent, set the defaults, read them back, write the outcome. No intent, no change."""
    if why := context.cancellation.reason():
        return context.result(Outcome.DEFERRED, f"{why}; {plan.reason}", plan.before)
    intent = _intent(context, plan)
    try:
        context.ledger_table.defaults.write(intent)
    except AwsError as error:
        return context.out_of_reach(error, plan.before)
    result = _sent(context, plan)
    if result.outcome is Outcome.FAILED and result.failure and result.failure.kind is Kind.UNAVAILABLE:
        # Whether EC2 made the change is unknown: a later run completes the entry from what it finds.
        return result
    try:
        context.ledger_table.defaults.write(_completed(intent, result))
    except AwsError as error:
        context.cancellation.heed(error.failure)
        context.ledger_failure = error.failure
    return result


def _sent(context: DefaultsContext, plan: PlannedDefaults) -> DefaultsResult:
    if why := context.cancellation.reason():
        return context.result(Outcome.DEFERRED, f"{why}; {plan.reason}", plan.before, after=None)
    if context.clock.monotonic() - plan.before.observed_at > MAX_OBSERVATION_AGE:
        reason = f"the observation of the defaults is too old to act on; {plan.reason}"
        return context.result(Outcome.DEFERRED, reason, plan.before, after=None)
    unanswered: Failure | None = None
    try:
        context.api.set(plan.wanted, plan.named)
    except AwsError as error:
        context.cancellation.heed(error.failure)
        if error.failure.kind is not Kind.UNAVAILABLE:
            return context.result(Outcome.FAILED, str(error.failure), plan.before, after=None, failure=error.failure)
        unanswered = error.failure
    return _read_back(context, plan, unanswered)


def _read_back(context: DefaultsContext, plan: PlannedDefaults, unanswered: Failure | None) -> DefaultsResult:
    """The result that EC2 shows. Accepted is not applied, and EC2 may show the older values for seconds."""
    until = context.clock.monotonic() + (0 if unanswered else context.verify_timeout)
    while True:
        unread: Failure | None = None
        seen: RegionDefaults | None = None
        try:
            seen = context.api.read()
        except AwsError as error:
            context.cancellation.heed(error.failure)
            unread = error.failure
        if seen and plan.made(seen):
            return context.result(Outcome.REMEDIATED, plan.reason, plan.before, after=seen)
        if context.clock.monotonic() >= until or (unread and unread.of_credentials):
            break
        context.clock.sleep(_LOOK_SECONDS)
    if unanswered:
        return context.result(Outcome.FAILED, str(unanswered), plan.before, after=None, failure=unanswered)
    if seen is None:
        reason = f"EC2 accepted the change, but the read-back failed ({unread}); {plan.reason}"
        return context.result(Outcome.PENDING, reason, plan.before, after=None, failure=unread)
    message = f"EC2 accepted {plan.wanted.as_log()} and shows {seen.as_log()}"
    failure = Failure(READ_BACK_DIFFERS, message, Kind.FINAL)
    return context.result(Outcome.FAILED, str(failure), plan.before, after=seen, failure=failure)


def _intent(context: DefaultsContext, plan: PlannedDefaults) -> DefaultsEntry:
    origin = context.origin
    return DefaultsEntry(
        region=context.region,
        at=context.clock.now(),
        run_id=origin.run_id,
        trigger=origin.trigger_of(subject(context.region)),
        versions=origin.versions,
        before=plan.before,
        wanted=plan.wanted,
        ends_at=origin.ends_at,
        by=origin.by,
        reason=plan.reason,
    )


def _completed(intent: DefaultsEntry, result: DefaultsResult) -> DefaultsEntry:
    code = result.failure.code if result.failure else None
    return replace(intent, outcome=result.outcome, reason=result.reason, after=result.after, code=code)
