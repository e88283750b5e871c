"""Fixes launch templates one by one: records the fix, creates the version, reads it back, and moves the default."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from imds_enforcer.ledger.template_fix import FixState, TemplateFix
from imds_enforcer.model import AwsError, Clock, Kind
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import say
from imds_enforcer_cli.fixes.new_version import (
    copied_data,
    differences,
    mark_of,
    sent_data,
    version_request,
)
from imds_enforcer_cli.fixes.plan import FixPlan, changed_since, made_by_fixes
from imds_enforcer_cli.fixes.record import FixRecord
from imds_enforcer_cli.fixes.subject import FixOutcome, Subject
from imds_enforcer_cli.fixes.template_calls import TemplateCalls, Versions, Warnings
from imds_enforcer_cli.fixes.version_users import VersionUsers
from imds_enforcer_cli.launches.inventory import Version


@dataclass(frozen=True, slots=True)
class Fixed:
    """The outcome of a plan, and the number of the new version, if any."""

    plan: FixPlan
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixer:
    """Makes the fixes of one run. `users` is called with a region, `calls` with a region and a template."""

    calls: Callable[[str, str], TemplateCalls]
    users: Callable[[str], VersionUsers]
    record: FixRecord
    clock: Clock
    run_id: str
    by: str | None

    def fix(self, plan: FixPlan) -> Fixed:
        """Fix one template.

        If the process is killed between any two calls, the next fix or undo finds the record and the version's mark.

        Raises:
            AwsError: if AWS does not accept the credentials.
            CommandError: if the record of earlier fixes cannot be read.
        """
        try:
            return self._fix(plan, self.calls(plan.subject.region, plan.subject.template_id))
        except AwsError as error:
            if error.failure.kind is Kind.CREDENTIALS:
                raise
            return _ended(plan, FixOutcome.FAILED, str(error))

    def _fix(self, plan: FixPlan, calls: TemplateCalls) -> Fixed:
        seen = calls.since(plan.source)
        if why := changed_since(plan, seen):
            return _ended(plan, FixOutcome.LEFT, why)
        subject, source = plan.subject, seen[plan.source]
        finished, leftovers = self._earlier(plan, seen)
        if why := self._in_use(subject, leftovers):
            return _ended(plan, FixOutcome.LEFT, why)
        fix = TemplateFix(
            run_id=self.run_id,
            region=subject.region,
            template_id=subject.template_id,
            name=subject.name,
            source=plan.source,
            moves_default=plan.moves_default,
            at=self.clock.now(),
            by=self.by,
            version=finished,
        )
        self.record.write(fix)
        calls.delete(leftovers)
        return self._complete(plan, calls, fix, source)

    def _earlier(self, plan: FixPlan, seen: Versions) -> tuple[str, list[str]]:
        """The version of a finished fix that this fix can reuse, or empty; and the leftovers of unfinished fixes.

        This fix can reuse a version that is what it would create. Any other finished version stays, because something
        may use it by now.
        """
        ours = made_by_fixes(plan, seen)
        if not ours:
            return "", []
        fixed = {
            each.version
            for each in self.record.all()
            if each.template_id == plan.subject.template_id and each.state is FixState.FIXED
        }
        source = seen[plan.source].data
        same = [each for each in ours if each in fixed and not differences(source, seen[each].data, plan.options)]
        return max(same, key=int, default=""), [each for each in ours if each not in fixed]

    def _in_use(self, subject: Subject, leftovers: Collection[str]) -> str | None:
        """Why a leftover version must stay: what names it by its number. None if nothing does."""
        for each in leftovers:
            for user in self.users(subject.region).of(subject.template_id, subject.name, each):
                return f"an interrupted fix left version {each} behind, and {user} names it"
        return None

    def _complete(self, plan: FixPlan, calls: TemplateCalls, fix: TemplateFix, source: Version) -> Fixed:
        """Create the version, check it, and make it the default; if anything fails, undo all of it."""
        warnings: Warnings = frozenset()
        try:
            if not fix.version:
                data = sent_data(source.data, plan.options)
                number, warnings = calls.create(version_request(source, data, plan.mark(self.run_id)))
                fix = replace(fix, version=number)
            outcome, why = self._problem(plan, calls, fix, source, warnings)
            if not why and plan.moves_default:
                calls.set_default(fix.version)
        except AwsError as error:
            if error.failure.kind is Kind.CREDENTIALS:
                raise
            outcome, why = FixOutcome.FAILED, str(error)
        if why:
            return _ended(plan, outcome, "; ".join((why, *self._taken_back(calls, fix))))
        self._written(replace(fix, state=FixState.FIXED))
        then = "; it is now the default" if plan.moves_default else ""
        done = plan.fixed(fix.version)
        reason = f"version {fix.version} requires tokens and is otherwise the same as version {fix.source}{then}"
        return Fixed(replace(done, outcome=outcome, reason=reason), fix.version)

    def _problem(
        self, plan: FixPlan, calls: TemplateCalls, fix: TemplateFix, source: Version, warnings: Warnings
    ) -> tuple[FixOutcome, str]:
        """What is wrong with the new version as EC2 shows it; FIXED if nothing is.

        Changes by others are checked last.
        """
        if warnings and (new := warnings - self._warnings_of(plan, calls, source)):
            texts = ", ".join(f"{code}: {text}" for code, text in sorted(new))
            return FixOutcome.FAILED, f"EC2 warns about the new version, but not about its source: {texts}"
        seen = calls.shown(plan.source, fix.version)
        if why := changed_since(plan, seen, fix.version):
            return FixOutcome.LEFT, why
        if wrong := differences(source.data, seen[fix.version].data, plan.options):
            return FixOutcome.FAILED, f"ReadBackDiffers: version {fix.version} differs in {', '.join(wrong)}"
        return FixOutcome.FIXED, ""

    def _warnings_of(self, plan: FixPlan, calls: TemplateCalls, source: Version) -> Warnings:
        """EC2's warnings about the source. EC2 warns only about new versions, so this creates a copy and deletes it."""
        data = copied_data(source.data)
        if not data:
            return frozenset()
        number, warnings = calls.create(version_request(source, data, plan.mark(self.run_id, copy=True)))
        calls.delete([number])
        return warnings

    def _taken_back(self, calls: TemplateCalls, fix: TemplateFix) -> list[str]:
        """Undo what this run has done, even if EC2's answer was lost; a phrase for each step.

        Versions of other runs stay. While EC2 does not show the version, it may still appear, so the fix stays open.
        """
        done = []
        try:
            seen = calls.since(fix.source)
            ours = [each for each, version in seen.items() if (mark := mark_of(version)) and mark.run_id == self.run_id]
            if fix.version in seen and seen[fix.version].is_default and fix.moves_default:
                calls.set_default(fix.source)
                done = [f"version {fix.source} is the default again"]
            calls.delete(ours if fix.version in seen else filter(None, [*ours, fix.version]))
        except AwsError as error:
            if error.failure.kind is Kind.CREDENTIALS:
                raise
            self._written(fix)
            unknown = "it is not known whether a version was created"
            left = f"version {fix.version} still exists" if fix.version else unknown
            return [*done, f"{left} ({error})"]
        self._written(replace(fix, state=FixState.WITHDRAWN) if fix.version in seen else fix)
        return [*done, *(f"version {each} was deleted" for each in ours)]

    def _written(self, fix: TemplateFix) -> None:
        """Record the outcome. If that fails, the recorded intent and the mark suffice for an undo."""
        try:
            self.record.write(fix)
        except (AwsError, CommandError) as error:
            if isinstance(error, AwsError) and error.failure.kind is Kind.CREDENTIALS:
                raise
            say(
                f"The outcome of the fix of {fix.template_id} could not be recorded ({error}); "
                "an undo finds the new version by its description."
            )


def _ended(plan: FixPlan, outcome: FixOutcome, reason: str) -> Fixed:
    return Fixed(replace(plan, outcome=outcome, reason=reason, commands=()))
