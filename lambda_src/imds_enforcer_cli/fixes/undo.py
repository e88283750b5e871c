"""Undoes a fix: restores the default and latest versions, but keeps what others have changed since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from imds_enforcer.ledger.template_fix import FixState, TemplateFix
from imds_enforcer.model import AwsError, Kind
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.fixes.new_version import mark_of
from imds_enforcer_cli.fixes.record import FixRecord
from imds_enforcer_cli.fixes.subject import FixOutcome
from imds_enforcer_cli.fixes.template_calls import TemplateCalls
from imds_enforcer_cli.fixes.version_users import VersionUsers
from imds_enforcer_cli.launches.inventory import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoPlan:
    """How to undo a fix: the version to make the default, those to delete, and reasons why anything stays."""

    fix: TemplateFix
    default: str | None = None
    delete: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """True if the plan changes anything."""
        return self.default is not None or bool(self.delete)


@dataclass(frozen=True, slots=True)
class Undone:
    """The outcome of a plan."""

    plan: UndoPlan
    outcome: FixOutcome
    reason: str


def versions_of(fix: TemplateFix, seen: Mapping[str, Version]) -> list[str]:
    """The versions that the fix created and that still exist, found by their mark.

    If the number of the fix's version is known, only that version and copies of the source count: people may copy
    descriptions.
    """
    made_by = fix.run_id, fix.source
    marked = [(number, mark) for number, each in seen.items() if (mark := mark_of(each))]
    ours = [
        number
        for number, mark in marked
        if (mark.run_id, mark.source) == made_by and (mark.copy or fix.version in {"", number})
    ]
    return sorted(ours, key=int)


def plan_undo(fix: TemplateFix, seen: Mapping[str, Version], users: Mapping[str, Sequence[str]]) -> UndoPlan:
    """Plan the undo from the versions that EC2 shows, from the source on.

    `users` has, for each version, what names it by its number. The default moves back only if it is still the fix's
    version. A reused version of an earlier fix stays. So does a version that something names by its number, or that
    others have made the default.
    """
    ours = versions_of(fix, seen)
    its = {*ours, fix.version}
    default = next((number for number, each in seen.items() if each.is_default), None)
    left: list[str] = []
    goes_back = default in its and fix.moves_default
    if goes_back and fix.source not in seen:
        left.append(f"version {fix.source} no longer exists, so version {default} stays the default")
        goes_back = False
    elif default in its and not fix.moves_default:
        left.append(f"someone else has made version {default} the default")
    elif ours and fix.moves_default and fix.state is FixState.FIXED and default not in {*its, fix.source}:
        left.append(f"someone else has changed the default{f' to version {default}' if default else ''}")
    named = [each for each in ours if users.get(each)]
    left += [f"version {each} stays, because it is named by {', '.join(users[each])}" for each in named]
    kept = {*named} | (set() if goes_back or not default else {default})
    later = [number for number in seen if ours and number not in ours and int(number) > max(map(int, ours))]
    if later:
        left.append(f"someone else has since created version {max(later, key=int)}, which stays the latest")
    return UndoPlan(
        fix=fix,
        default=fix.source if goes_back else None,
        delete=tuple(number for number in ours if number not in kept),
        left=tuple(left),
    )


class Undoer:
    """Undoes the fixes of one template."""

    def __init__(self, calls: TemplateCalls, users: VersionUsers, record: FixRecord) -> None:
        self._calls = calls
        self._users = users
        self._record = record

    def plan(self, fix: TemplateFix) -> UndoPlan | Undone:
        """Plan the undo from the current state, or say why it is not possible.

        Raises:
            AwsError: if AWS does not accept the credentials.
        """
        try:
            seen = self._calls.since(fix.source)
            users = {each: self._users.of(fix.template_id, fix.name, each) for each in versions_of(fix, seen)}
        except AwsError as error:
            return self._failed(UndoPlan(fix=fix), error)
        return plan_undo(fix, seen, users)

    def undo(self, fix: TemplateFix) -> Undone:
        """Undo a fix, from the current state.

        Raises:
            AwsError: if AWS does not accept the credentials.
        """
        plan = self.plan(fix)
        return self.carry_out(plan) if isinstance(plan, UndoPlan) else plan

    def carry_out(self, plan: UndoPlan) -> Undone:
        """Carry out the plan, the default first: EC2 does not delete the default version.

        If the process is killed between any two calls, the next undo finishes the work: the record changes last.

        Raises:
            AwsError: if AWS does not accept the credentials.
        """
        fix = plan.fix
        try:
            if plan.default:
                self._calls.set_default(plan.default)
            self._calls.delete(plan.delete)
            if not plan.left:
                self._record.write(replace(fix, state=FixState.UNDONE))
        except AwsError as error:
            return self._failed(plan, error)
        except CommandError as error:
            return Undone(plan, FixOutcome.FAILED, str(error))
        done = [f"version {plan.default} is the default again"] if plan.default else []
        done += [f"version {each} was deleted" for each in plan.delete]
        outcome = FixOutcome.LEFT if plan.left else FixOutcome.UNDONE
        return Undone(plan, outcome, "; ".join([*done, *plan.left]) or "nothing of the fix is left")

    def _failed(self, plan: UndoPlan, error: AwsError) -> Undone:
        if error.failure.kind is Kind.CREDENTIALS:
            raise error
        if error.failure.code.startswith("InvalidLaunchTemplateId.NotFound"):
            return Undone(plan, FixOutcome.GONE, "the launch template no longer exists")
        return Undone(plan, FixOutcome.FAILED, str(error))
