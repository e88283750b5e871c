"""Launch templates of one region, and their fixes, in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imds_enforcer_cli.fixes.fixer import Fixed, Fixer
from imds_enforcer_cli.fixes.plan import Wishes, plan_fix
from imds_enforcer_cli.fixes.survey import Subjects
from imds_enforcer_cli.fixes.template_calls import TemplateCalls
from imds_enforcer_cli.fixes.undo import Undoer, Undone
from imds_enforcer_cli.fixes.version_users import VersionUsers
from imds_enforcer_cli.launches.listing import region_launchers
from imds_enforcer_cli.launches.reader import LaunchReader
from tests.fakes.clock import FakeClock
from tests.fakes.ec2 import FakeEc2
from tests.fakes.examples import HOME, a_policy
from tests.fakes.launches import FakeLaunches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imds_enforcer.ledger.template_fix import TemplateFix
    from imds_enforcer_cli.fixes.plan import FixPlan
    from tests.fakes.template_changes import LaunchData

TEMPLATE = "lt-web"


class Records:
    """The record of fixes, in memory."""

    def __init__(self) -> None:
        self.fixes: dict[tuple[str, str], TemplateFix] = {}

    def write(self, fix: TemplateFix) -> None:
        """Write a fix; it replaces its older version."""
        self.fixes[fix.key] = fix

    def all(self) -> list[TemplateFix]:
        """Every fix, oldest first."""
        return list(self.fixes.values())


class Fixing:
    """A region with one launch template, whose default is the latest version unless another is named."""

    def __init__(self, *versions: LaunchData, default: int | None = None) -> None:
        self.clock = FakeClock()
        self.ec2 = FakeEc2(self.clock, HOME, (HOME,))
        self.region = FakeLaunches()
        self.region.images = {"ami-1": None}
        self.region.templates = {TEMPLATE: list(versions)}
        self.region.descriptions = {TEMPLATE: {"LaunchTemplateName": "web"}}
        self.region.default_versions = {TEMPLATE: default or len(versions)}
        self.records = Records()
        self.policy = a_policy()
        self.wishes = Wishes()

    @property
    def state(self) -> tuple[int, dict[int, LaunchData]]:
        """The default of the template, and its versions."""
        return self.region.state(TEMPLATE)

    @property
    def _reads(self) -> LaunchReader:
        return LaunchReader(self.region, self.region, self.region)

    def plan(self, held: Mapping[str, str] | None = None) -> FixPlan:
        """The plan for the current state; `held` has the instances that must keep IMDSv1, and why."""
        seen, now = region_launchers(self.ec2, self._reads), self.clock.now()
        [subject] = Subjects(seen, self.policy, now).of(seen.inventory.templates.values(), {}, None)
        return plan_fix(replace(subject, held=held or {}), self.policy, self.wishes, now)

    def fix(self, run_id: str = "run-1") -> Fixed:
        """The outcome of the template in a run."""
        plan = self.plan()
        return self.carry_out(plan, run_id) if plan.outcome == "WOULD_FIX" else Fixed(plan)

    def carry_out(self, plan: FixPlan, run_id: str = "run-1") -> Fixed:
        """The outcome of a plan."""
        fixer = Fixer(
            calls=lambda _, template: TemplateCalls(self.region, template, self.clock),
            users=lambda _: VersionUsers(self.region, self._reads),
            record=self.records,
            clock=self.clock,
            run_id=run_id,
            by=None,
        )
        return fixer.fix(plan)

    def undo(self, run_id: str = "run-1") -> Undone:
        """The outcome of undoing a run."""
        [fix] = [each for each in self.records.all() if each.run_id == run_id]
        calls = TemplateCalls(self.region, TEMPLATE, self.clock)
        undoer = Undoer(calls, VersionUsers(self.region, self._reads), self.records)
        return undoer.undo(fix)

    def edit(self, data: LaunchData) -> int:
        """Make a version as someone else would; returns its number."""
        self.region.templates[TEMPLATE].append(data)
        return len(self.region.templates[TEMPLATE])
