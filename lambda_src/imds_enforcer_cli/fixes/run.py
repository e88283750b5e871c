"""A run of `launches fix`: plans the fixes of all regions, then carries them out."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from imds_enforcer.limits.cancellation import Cancellation
from imds_enforcer.model import AwsError, Deadline, Kind
from imds_enforcer.policy import Policy
from imds_enforcer.runs.run import gate_of
from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.account.policy_source import Governing
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.fixes.fixer import Fixed, Fixer
from imds_enforcer_cli.fixes.plan import FixPlan, Wishes, plan_fix
from imds_enforcer_cli.fixes.record import FixRecord
from imds_enforcer_cli.fixes.subject import FixOutcome
from imds_enforcer_cli.fixes.survey import Subjects, is_known
from imds_enforcer_cli.fixes.template_calls import TemplateCalls
from imds_enforcer_cli.fixes.version_users import VersionUsers
from imds_enforcer_cli.launches.inventory import Template
from imds_enforcer_cli.launches.launcher import Launcher, LauncherKind
from imds_enforcer_cli.launches.listing import RegionLaunchers, reader

_A_DAY = 86_400.0


class Access:
    """Provides the calls of fixes and undos in any region, through one client a region."""

    def __init__(self, reached: Connection) -> None:
        self.reached = reached
        self._ec2: dict[str, Any] = {}

    def calls(self, region: str, template_id: str) -> TemplateCalls:
        """The calls for one template."""
        return TemplateCalls(self._client(region), template_id, self.reached.clock)

    def users(self, region: str) -> VersionUsers:
        """What names versions by number; read once, when first asked."""
        return VersionUsers(self._client(region), reader(self.reached, region))

    def _client(self, region: str) -> Any:
        if region not in self._ec2:
            self._ec2[region] = self.reached.client("ec2", region)
        return self._ec2[region]


def plans(
    reached: Connection,
    policy: Policy,
    surveys: Iterable[RegionLaunchers],
    wanted: Collection[str] | None,
    wishes: Wishes,
) -> list[FixPlan]:
    """The plans for the `wanted` templates, by id or name; None means all.

    Raises:
        AwsError: if the holds could not be read.
    """
    holds, now = reached.clients.ledger_table.holds.standing().holds, reached.clock.now()
    found = []
    for seen in surveys:
        if is_known(seen):
            gate = gate_of(policy, reached.clients, reached.clock, seen.region)
            templates = [each for each in seen.inventory.templates.values() if wanted is None or _is_in(each, wanted)]
            subjects = Subjects(seen, policy, now).of(templates, holds, gate)
            found += [plan_fix(each, policy, wishes, now) for each in subjects]
    return found


def refuse_unknown(surveys: Sequence[RegionLaunchers], named: Iterable[str], option: str = "") -> None:
    """Make sure that each name is that of a template in the regions that could be read.

    Raises:
        CommandError: naming those that are not.
    """
    known = {name for seen in surveys for each in seen.inventory.templates.values() for name in _names(each)}
    unknown = [each for each in named if each not in known]
    if unknown:
        where = ", ".join(each.region for each in surveys)
        raise CommandError(
            f"{option}{', '.join(unknown)} is not a launch template in {where}; allowed: the id or name of one"
        )


def others(surveys: Iterable[RegionLaunchers]) -> list[Launcher]:
    """Launchers of IMDSv1 that `launches fix` does not fix: launch configurations and the account's own images."""
    kinds = {LauncherKind.CONFIGURATION, LauncherKind.IMAGE}
    launchers = (each for seen in surveys for each in seen.launchers)
    return [each for each in launchers if each.kind in kinds and each.outlook.launches_imdsv1 is not False]


class FixRun:
    """Carries out plans, one template after the other, until `stopped` gives a reason to begin no further one."""

    def __init__(self, access: Access, rules: Governing, record: FixRecord, *, run_id: str, by: str | None) -> None:
        self._reached = access.reached
        clock, policy = access.reached.clock, rules.policy
        self.cancellation = Cancellation(Deadline.after(clock, _A_DAY), policy.versions, rules.source)
        self.under_way: list[str] = []
        self.unwritable: CommandError | None = None
        self._fixer = Fixer(calls=access.calls, users=access.users, record=record, clock=clock, run_id=run_id, by=by)

    def carry_out(self, planned: Iterable[FixPlan], stopped: Callable[[], str | None]) -> list[Fixed]:
        """The result of each plan.

        `refused` raises what ended the run: credentials that AWS does not accept, or a record that cannot be read.
        """
        return [self._one(plan, stopped) for plan in planned]

    def _one(self, plan: FixPlan, stopped: Callable[[], str | None]) -> Fixed:
        if plan.outcome is not FixOutcome.WOULD_FIX:
            return Fixed(plan)
        if why := self.unwritable or stopped() or self.cancellation.reason():
            return Fixed(replace(plan, outcome=FixOutcome.LEFT, reason=str(why), commands=()))
        self.under_way = [plan.subject.template_id]
        try:
            if why := self._newly_held(plan):
                return Fixed(replace(plan, outcome=FixOutcome.HELD, reason=why, commands=()))
            return self._fixer.fix(plan)
        except AwsError as error:
            self.cancellation.heed(error.failure)
            return Fixed(replace(plan, outcome=FixOutcome.FAILED, reason=str(error), commands=()))
        except CommandError as error:
            self.unwritable = error
            return Fixed(replace(plan, outcome=FixOutcome.FAILED, reason=str(error), commands=()))
        finally:
            self.under_way = []

    def _newly_held(self, plan: FixPlan) -> str | None:
        """Why the template must not be fixed, if an instance was held after the plan; else None.

        The plan may have waited long for the user to confirm it.
        """
        holds = self._reached.clients.ledger_table.holds.standing().holds
        new = [each for each in plan.subject.instance_ids if each in holds and each not in plan.subject.held]
        return f"{new[0]} is now {holds[new[0]]}" if new else None


def refused(run: FixRun) -> None:
    """Raise the error that ended the run, if any.

    Raises:
        AwsError: if AWS does not accept the credentials.
        CommandError: if the record of earlier fixes cannot be read.
    """
    if run.unwritable:
        raise run.unwritable
    failure = run.cancellation.refused
    if failure and failure.kind is Kind.CREDENTIALS:
        raise AwsError(failure)


def _is_in(template: Template, names: Collection[str]) -> bool:
    return any(each in names for each in _names(template))


def _names(template: Template) -> tuple[str, ...]:
    return tuple(filter(None, (template.template_id, template.name)))
