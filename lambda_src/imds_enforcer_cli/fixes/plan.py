"""What becomes of a launch template whose next instances would allow IMDSv1: fixed, held, or left, and why."""

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
    """What the user wants beside the policy: templates by id or name, and owners by their kind."""

    despite_calls: Collection[str] = ()
    include_managed_by: Collection[OwnerKind] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FixPlan:
    """What is to become of one template.

    Of one that is to be fixed (`WOULD_FIX`), a version is made from `source` with these metadata `options`, and made
    the default if `moves_default`. `commands` are for the user, who has to put the numbers of new versions in.
    """

    subject: Subject
    outcome: FixOutcome
    reason: str
    source: str = ""
    moves_default: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()

    def mark(self, run_id: str, *, copy: bool = False) -> Mark:
        """The mark of the versions that a run makes for it."""
        return Mark(self.source, run_id, copy=copy)

    def fixed(self, version: str) -> "FixPlan":
        """The same, with the number of the fix's version in its commands."""
        return replace(self, commands=tuple(each.replace(aws_commands.FIXED_NUMBER, version) for each in self.commands))


_OWNERS_ANSWER = {
    OwnerKind.OPERATOR: "only {name} can change it",
    OwnerKind.EKS: "EKS made it for the node group, and its next update of that makes another version",
    OwnerKind.BEANSTALK: "the environment's next update replaces it",
    OwnerKind.KARPENTER: "Karpenter makes its templates from the EC2NodeClass, and replaces this one",
    OwnerKind.BATCH: "AWS Batch made it for a compute environment, and its next update makes another",
    OwnerKind.IMAGE_BUILDER: "Image Builder's next distribution may make another version",
    OwnerKind.CLOUDFORMATION: "the stack's next change of it makes a version from the stack's own template",
}
"""What an owner does to a template that was changed by hand."""


def plan_fix(subject: Subject, policy: Policy, wishes: Wishes, now: datetime) -> FixPlan:
    """The plan for one template, under a policy that requires tokens.

    The order is one of safety, as for instances: what must not be changed comes before what should be.
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
            fix, outcome=FixOutcome.HELD, reason=f"{number} may not lose IMDSv1: {first} ({why})", commands=()
        )
    owner = subject.owner
    return replace(fix, reason=f"{fix.reason}; {owner}: {_answer(owner)}") if owner and owner.manages else fix


def _kept(subject: Subject, policy: Policy, wishes: Wishes, now: datetime) -> FixPlan | None:
    """That a template must not be changed, or need not; None if it should."""
    if not subject.lax:
        return _left(subject, FixOutcome.COMPLIANT, "its next instances will not allow IMDSv1")
    if not policy.regions.covers(subject.region):
        return _left(subject, FixOutcome.LEFT, REGION_LEFT_OUT)
    if exempt := next((each for one in subject.launches if (each := policy.exemption_for(one, now))), None):
        return _left(subject, FixOutcome.EXEMPT, f"exempt: {exempt}")
    owner = subject.owner if subject.owner and subject.owner.manages else None
    if owner and owner.kind not in wishes.include_managed_by:
        why = f"{owner}: {_answer(owner)}; --include-managed-by {owner.kind} changes it all the same"
        return _left(subject, FixOutcome.LEFT, why)
    return None


def changed_since(plan: FixPlan, seen: Mapping[str, Version], made: str | None = None) -> str | None:
    """What others have done to the template since it was planned, by its versions from the source on; None if nothing.

    `made` is the number of the version that was made meanwhile, if it was: others may have come before it, and its
    content would take the place of theirs. What they make after it is theirs, and stays the latest.
    """
    source = seen.get(plan.source)
    if source is None:
        return f"version {plan.source} is not there any more"
    if source.is_default != plan.moves_default:
        return "someone else has changed its default meanwhile"
    theirs = seen.keys() - {plan.source, *made_by_fixes(plan, seen)}
    if before := [each for each in theirs if made is None or int(each) < int(made)]:
        return f"someone else has made version {min(before, key=int)} meanwhile"
    return None


def made_by_fixes(plan: FixPlan, seen: Mapping[str, Version]) -> list[str]:
    """The versions that fixes have made from the source, whichever run it was.

    What has other content is not one of them: someone else has made it, and copied the description.
    """
    source = seen[plan.source].data
    marked = [number for number, each in seen.items() if (mark := mark_of(each)) and mark.source == plan.source]
    return [number for number in marked if not changed_fields(source, seen[number].data)]


def _fix(subject: Subject, policy: Policy, now: datetime) -> FixPlan:
    """What can be done about it: a fix, unless that would give `$Latest` another content."""
    default, latest = subject.default.template.version, subject.latest.template.version
    source, moves_default = _source(subject)
    if default in subject.lax and not moves_default:
        why = (
            f"its default is version {default} and its latest {latest}: a version from {default} would become the "
            "latest, and what uses $Latest cannot be known"
        )
        return _left(subject, FixOutcome.LEFT, why, _two_commands(subject, subject.default, policy, now))
    fixing = moves_default or latest in subject.lax
    pinned = sorted((subject.lax.keys() - {default, latest} - ({source} if fixing else set())), key=int)
    others = [command for each in pinned for command in _pinned_commands(subject, each, policy, now)]
    if not fixing:
        why = f"its default and latest version require tokens; by number are named: {', '.join(pinned)}"
        return _left(subject, FixOutcome.LEFT, why, others)
    content = subject.default if moves_default else subject.latest
    then = ", and that becomes the default" if moves_default else ""
    return FixPlan(
        subject=subject,
        outcome=FixOutcome.WOULD_FIX,
        reason=f"version {source} allows IMDSv1: a version with tokens required is made from it{then}",
        source=source,
        moves_default=moves_default,
        options=_options(subject, content, policy, now),
        commands=(*_moves(subject, source, aws_commands.FIXED_NUMBER), *others),
    )


def _source(subject: Subject) -> tuple[str, bool]:
    """The version to fix, and whether it is the default; the latest, or what that was made from by a fix.

    The mark of a fix that was interrupted, or whose default was moved back, is gone on with: its version is the latest
    already. A description may have been copied by hand: the default is no fix to go on with, nor is what differs from
    it beside its options.
    """
    default, latest = subject.default, subject.latest
    source = latest.template.version
    if latest.template != default.template and (mark := mark_of(latest)):
        is_default = mark.source == default.template.version
        source = source if is_default and changed_fields(default.data, latest.data) else mark.source
    return source, source == default.template.version and source in subject.lax


def _options(subject: Subject, source: Version, policy: Policy, now: datetime) -> dict[str, Any]:
    """The options of the new version: hop limits as the policy has them for instances, the highest of its launches."""
    in_full = replace(policy, rollout_percent=100, launch_grace_seconds=0, exemptions=())
    hop_limit = options_of(source.data).get(HOP_LIMIT, subject.hop_limit)
    today = MetadataOptions(
        http_tokens=HttpTokens.OPTIONAL, http_endpoint=Switch.ENABLED, http_put_response_hop_limit=hop_limit
    )
    changes = (decide(replace(each, options=today), in_full, now).change for each in subject.launches)
    most = max((each.applied_to(today).http_put_response_hop_limit for each in changes if each), default=hop_limit)
    return wanted_options(source.data, None if most == hop_limit else most)


def _two_commands(subject: Subject, source: Version, policy: Policy, now: datetime) -> list[str]:
    """What makes a version from one that is not the latest, and what makes its users take that."""
    data = sent_data(source.data, _options(subject, source, policy, now))
    users = [*_moves(subject, source.template.version, aws_commands.NEW_NUMBER)]
    if source.template == subject.default.template:
        users.insert(0, aws_commands.set_default(subject.region, subject.template_id))
    return [aws_commands.create_version(subject.region, source, data), *users]


def _pinned_commands(subject: Subject, number: str, policy: Policy, now: datetime) -> list[str]:
    """What moves those who name a number: to the latest, if that is its fix, else to a version that is made from it."""
    mark, latest, pinned = mark_of(subject.latest), subject.latest.template.version, subject.lax[number]
    is_fixed = mark and mark.source == number and not changed_fields(pinned.data, subject.latest.data)
    if is_fixed and latest not in subject.lax:
        return [*_moves(subject, number, latest)]
    return _two_commands(subject, pinned, policy, now)


def _moves(subject: Subject, version: str, to: str) -> Iterator[str]:
    """The commands that move what names the version by its number to another."""
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
