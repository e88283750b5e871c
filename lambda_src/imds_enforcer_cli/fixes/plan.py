"""Decides whether a launch template whose next instances would allow IMDSv1 is fixed, held or left, and why."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from imds_enforcer.decision.decision import decide
from imds_enforcer.model import HttpTokens, LaunchTemplate, MetadataOptions, Switch
from imds_enforcer.model.wording import count
from imds_enforcer.policy import REGION_LEFT_OUT, Policy
from imds_enforcer_cli.fixes import aws_commands
from imds_enforcer_cli.fixes.new_version import (
    HOP_LIMIT,
    Mark,
    changed_fields,
    mark_of,
    options_of,
    sent_data,
    wanted_options,
)
from imds_enforcer_cli.fixes.subject import FixOutcome, Subject
from imds_enforcer_cli.launches.inventory import Version
from imds_enforcer_cli.launches.owners import Owner, OwnerKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The user's options: templates to fix despite calls, by id or name; and kinds of owners to include."""

    despite_calls: Collection[str] = ()
    include_managed_by: Collection[OwnerKind] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FixPlan:
    """What to do with one template.

    For a fix (`WOULD_FIX`), the fixer creates a version from `source` with these metadata `options`, and makes it the
    default if `moves_default`. `commands` are left to the user, who fills in the numbers of new versions.
    """

    subject: Subject
    outcome: FixOutcome
    reason: str
    source: str = ""
    moves_default: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()

    def mark(self, run_id: str, *, copy: bool = False) -> Mark:
        """The mark for versions that the run creates from this plan's source; with `copy`, for an unchanged copy."""
        return Mark(self.source, run_id, copy=copy)

    def fixed(self, version: str) -> "FixPlan":
        """The plan with the number of the fix's version filled into its commands."""
        return replace(self, commands=tuple(each.replace(aws_commands.FIXED_NUMBER, version) for each in self.commands))


_OWNERS_ANSWER = {
    OwnerKind.OPERATOR: "only {name} can change this template",
    OwnerKind.EKS: "EKS created this template for the node group; the group's next update creates another version",
    OwnerKind.BEANSTALK: "the environment's next update replaces this template",
    OwnerKind.KARPENTER: "Karpenter creates its templates from the EC2NodeClass, and replaces this template",
    OwnerKind.BATCH: "AWS Batch created this template for a compute environment; the environment's next update creates "
    "another template",
    OwnerKind.IMAGE_BUILDER: "Image Builder's next distribution may create another version",
    OwnerKind.CLOUDFORMATION: "the next stack update that changes this launch template creates a version from the "
    "stack's own template",
}
"""What each owner will do to a template that was changed by hand."""


def plan_fix(subject: Subject, policy: Policy, wishes: Wishes, now: datetime) -> FixPlan:
    """The plan for one template, under a policy that requires tokens.

    Safety decides the order, as for instances: what must not be changed comes before what should be.
    """
    if kept := _kept(subject, policy, wishes, now):
        return kept
    fix = _fix(subject, policy, now)
    if fix.outcome is not FixOutcome.WOULD_FIX:
        return fix
    if subject.held and not {subject.template_id, subject.name} & set(wishes.despite_calls):
        first, why = next(iter(sorted(subject.held.items())))
        number = f"{len(subject.held)} of {count(len(subject.instance_ids), 'instance')}"
        return replace(
            fix, outcome=FixOutcome.HELD, reason=f"{number} must not lose IMDSv1: {first} ({why})", commands=()
        )
    owner = subject.owner
    return replace(fix, reason=f"{fix.reason}; {owner}: {_answer(owner)}") if owner and owner.manages else fix


def _kept(subject: Subject, policy: Policy, wishes: Wishes, now: datetime) -> FixPlan | None:
    """The plan for a template that must not or need not be changed; None for any other."""
    if not subject.lax:
        return _left(subject, FixOutcome.COMPLIANT, "its next instances will not allow IMDSv1")
    if not policy.regions.covers(subject.region):
        return _left(subject, FixOutcome.LEFT, REGION_LEFT_OUT)
    if exempt := next((each for one in subject.launches if (each := policy.exemption_for(one, now))), None):
        return _left(subject, FixOutcome.EXEMPT, f"exempt: {exempt}")
    owner = subject.owner if subject.owner and subject.owner.manages else None
    if owner and owner.kind not in wishes.include_managed_by:
        why = f"{owner}: {_answer(owner)}; --include-managed-by {owner.kind} changes the template anyway"
        return _left(subject, FixOutcome.LEFT, why)
    return None


def changed_since(plan: FixPlan, seen: Mapping[str, Version], made: str | None = None) -> str | None:
    """What others have changed about the template since the plan; None if nothing.

    `seen` are its versions from the source on. `made` is the number of the version that the fix has created, if any. A
    version that others created before it counts as a change, because the fix's version would replace it as the latest.
    A version that others created after it does not count, because it stays the latest.
    """
    source = seen.get(plan.source)
    if source is None:
        return f"version {plan.source} no longer exists"
    if source.is_default != plan.moves_default:
        return "someone else has changed its default version since the plan"
    theirs = seen.keys() - {plan.source, *made_by_fixes(plan, seen)}
    if before := [each for each in theirs if made is None or int(each) < int(made)]:
        return f"someone else has created version {min(before, key=int)} since the plan"
    return None


def made_by_fixes(plan: FixPlan, seen: Mapping[str, Version]) -> list[str]:
    """The versions that fixes, of any run, have created from the source.

    A marked version with other content is not one of them: someone else created it and copied the description.
    """
    source = seen[plan.source].data
    marked = [number for number, each in seen.items() if (mark := mark_of(each)) and mark.source == plan.source]
    return [number for number in marked if not changed_fields(source, seen[number].data)]


def _fix(subject: Subject, policy: Policy, now: datetime) -> FixPlan:
    """The plan to fix the template, or to leave it if a fix would change what `$Latest` contains."""
    default, latest = subject.default.template.version, subject.latest.template.version
    source, moves_default = _source(subject)
    if default in subject.lax and not moves_default:
        why = (
            f"its default is version {default} and its latest is version {latest}: a new version made from {default} "
            "would become the latest, and it is not known what uses $Latest"
        )
        return _left(subject, FixOutcome.LEFT, why, _two_commands(subject, subject.default, policy, now))
    fixing = moves_default or latest in subject.lax
    pinned = sorted((subject.lax.keys() - {default, latest} - ({source} if fixing else set())), key=int)
    others = [command for each in pinned for command in _pinned_commands(subject, each, policy, now)]
    if not fixing:
        why = f"its default and latest versions require tokens; still named by number: {', '.join(pinned)}"
        return _left(subject, FixOutcome.LEFT, why, others)
    content = subject.default if moves_default else subject.latest
    then = ", and makes that the default" if moves_default else ""
    return FixPlan(
        subject=subject,
        outcome=FixOutcome.WOULD_FIX,
        reason=f"version {source} allows IMDSv1: the fix creates a version from it that requires tokens{then}",
        source=source,
        moves_default=moves_default,
        options=_options(subject, content, policy, now),
        commands=(*_moves(subject, source, aws_commands.FIXED_NUMBER), *others),
    )


def _source(subject: Subject) -> tuple[str, bool]:
    """The number of the version to fix, and whether it is the default.

    The version to fix is the latest or, if a fix created the latest, the source of that fix. So a fix is continued that
    was interrupted, or whose default was moved back: its version already is the latest. But people may copy
    descriptions: a marked version that is the default, or that differs from the default in more than its metadata
    options, is not a fix to continue.
    """
    default, latest = subject.default, subject.latest
    source = latest.template.version
    if latest.template != default.template and (mark := mark_of(latest)):
        is_default = mark.source == default.template.version
        source = source if is_default and changed_fields(default.data, latest.data) else mark.source
    return source, source == default.template.version and source in subject.lax


def _options(subject: Subject, source: Version, policy: Policy, now: datetime) -> dict[str, Any]:
    """The options of the new version; the hop limit is the highest that the policy wants for any of its instances."""
    in_full = replace(policy, rollout_percent=100, launch_grace_seconds=0, exemptions=())
    hop_limit = options_of(source.data).get(HOP_LIMIT, subject.hop_limit)
    today = MetadataOptions(
        http_tokens=HttpTokens.OPTIONAL, http_endpoint=Switch.ENABLED, http_put_response_hop_limit=hop_limit
    )
    changes = (decide(replace(each, options=today), in_full, now).change for each in subject.launches)
    most = max((each.applied_to(today).http_put_response_hop_limit for each in changes if each), default=hop_limit)
    return wanted_options(source.data, None if most == hop_limit else most)


def _two_commands(subject: Subject, source: Version, policy: Policy, now: datetime) -> list[str]:
    """The commands that create a version from this one, and that move its users to it."""
    data = sent_data(source.data, _options(subject, source, policy, now))
    users = [*_moves(subject, source.template.version, aws_commands.NEW_NUMBER)]
    if source.template == subject.default.template:
        users.insert(0, aws_commands.set_default(subject.region, subject.template_id))
    return [aws_commands.create_version(subject.region, source, data), *users]


def _pinned_commands(subject: Subject, number: str, policy: Policy, now: datetime) -> list[str]:
    """The commands that move the users of a numbered version to another one.

    That is the latest version if it is the fix of this one, else a new version.
    """
    mark, latest, pinned = mark_of(subject.latest), subject.latest.template.version, subject.lax[number]
    is_fixed = mark and mark.source == number and not changed_fields(pinned.data, subject.latest.data)
    if is_fixed and latest not in subject.lax:
        return [*_moves(subject, number, latest)]
    return _two_commands(subject, pinned, policy, now)


def _moves(subject: Subject, version: str, to: str) -> Iterator[str]:
    """The commands that move the groups and node groups that name this version by its number to another one."""
    pinned = LaunchTemplate(subject.template_id, version)
    for group, number in subject.groups:
        if number == version:
            yield aws_commands.move_group(subject.region, group, pinned, to)
    for node_group, number in subject.node_groups:
        if number == version:
            yield aws_commands.move_node_group(subject.region, node_group, pinned, to)


def _left(subject: Subject, outcome: FixOutcome, reason: str, commands: Sequence[str] = ()) -> FixPlan:
    return FixPlan(subject=subject, outcome=outcome, reason=reason, commands=tuple(commands))


def _answer(owner: Owner) -> str:
    return _OWNERS_ANSWER[owner.kind].format(name=owner.name or "its operator")
