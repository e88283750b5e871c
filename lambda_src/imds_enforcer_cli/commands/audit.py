"""`imds-enforcer audit`: every instance of the account and how it stands under the policy."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from imds_enforcer.decision.legacy_calls import HOW_TO_FIND_CALLERS
from imds_enforcer.model import HttpTokens
from imds_enforcer.policy import Gate, Policy
from imds_enforcer.policy.parser import PolicyInvalidError
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.account.policy_file import read_policy_file
from imds_enforcer_cli.account.regions import ALL, covered_regions
from imds_enforcer_cli.audit.document import Document, Subject, audit_document
from imds_enforcer_cli.audit.fleet import Fleet, Lookback, RegionAudit
from imds_enforcer_cli.audit.judge import BY_GATE, Judge, Status, noted_refusals
from imds_enforcer_cli.audit.progress import region_progress
from imds_enforcer_cli.commands.why import explained
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import say, write_json
from imds_enforcer_cli.formats.audit import AuditFormat, Written, write_audit
from imds_enforcer_cli.formats.tables import summary_line
from imds_enforcer_cli.formats.why import write_why
from imds_enforcer_cli.launches.listing import reader

_ASSUMED = "none: HttpTokens required is assumed"
_LOOKBACK_DAYS = Gate().lookback_days
EXPLAINING = (AuditFormat.TABLE, AuditFormat.JSON)
"""The formats for single instances."""

_MAX_LOOKBACK_DAYS = 455
"""Days for which CloudWatch keeps what it counted, by the hour (CloudWatch User Guide, "Metrics retention")."""


class _Grouping(StrEnum):
    SOURCE = "source"


_FAILING: dict[str, Callable[[dict[str, Any]], bool]] = {
    "drift": lambda instance: instance["status"] == Status.DRIFT,
    "held": lambda instance: instance["status"] == Status.HELD,
    "exempt-expired": lambda instance: instance["expired"],
}


def audit(  # noqa: PLR0913  # each is an option of the command
    regions: Annotated[
        str,
        typer.Option(
            "--regions", metavar="all|NAME,...", help="Where to look: every region that the policy covers, or these."
        ),
    ] = ALL,
    group_by: Annotated[
        _Grouping | None,
        typer.Option(
            "--group-by",
            help="What launched the instances (Auto Scaling group, launch template, image) instead of each instance, "
            "and whether it will launch instances that allow IMDSv1 again.",
            show_default="each instance",
        ),
    ] = None,
    instance: Annotated[
        list[str] | None,
        typer.Option(
            "--instance",
            metavar="ID",
            help="Everything about this instance instead: what the policy decides and why, exemption, gate, holds, "
            "ledger, rollout, launcher. Several: the option again.",
            show_default="every instance",
        ),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="drift|held|exempt-expired",
            help="What makes the exit code 1; several with commas, or the option again.",
            show_default="drift",
        ),
    ] = None,
    policy: arguments.PolicyFile = None,
    lookback_days: Annotated[
        int | None,
        typer.Option(
            "--lookback-days",
            metavar="N",
            min=1,
            max=_MAX_LOOKBACK_DAYS,
            help="How far back IMDSv1 calls are counted.",
            show_default=f"the policy's, or {_LOOKBACK_DAYS}",
        ),
    ] = None,
    *,
    no_calls: Annotated[
        bool,
        typer.Option(
            "--no-calls",
            help="Do not ask CloudWatch for IMDSv1 calls: 0.01 $ for 1,000 instances. What the policy's legacy_calls "
            "holds back shows as DRIFT then.",
        ),
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="In the table also what is compliant; the other formats always have it.")
    ] = False,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: Annotated[
        AuditFormat,
        typer.Option(
            "--output",
            help="table for people, json and csv for programs and spreadsheets, html for readers without access, "
            "asff for Security Hub (a list of findings, of which BatchImportFindings takes 100 a call), "
            "sarif for viewers of it.",
        ),
    ] = AuditFormat.TABLE,
) -> None:
    """Show how every instance stands under the policy, and why.

    It reads only. COMPLIANT follows the policy; IMDS_OFF has no metadata service, which satisfies it; DRIFT
    differs from it; HELD (by a person, by the policy, or by EC2, which refuses an option), EXEMPT and MANAGED differ
    too, and are left alone; UNREADABLE has unrecognized options. Without a policy in the account, HttpTokens required
    is assumed. A note names an exemption that no instance fits, and a tag of the policy that instances only have in
    another case.
    """
    failing = _checked_failing(fail_on)
    if group_by and not output.can_group:
        raise CommandError(f"--group-by with --output {output}; allowed: with table, json, csv, html")
    ids = arguments.checked_ids(instance or [])
    _check_beside_instances(ids, output, {"--group-by": group_by, "--all": every})
    from_file = read_policy_file(policy) if policy else None
    reached = connection.reach(profile, region)
    rules, origin = (from_file, str(policy)) if from_file else _policy(reached)
    days = lookback_days or (rules.gate or Gate()).lookback_days
    arn = reached.caller().split(":")
    where, everywhere = covered_regions(reached.clients, regions, rules.regions, with_left_out=bool(ids))
    subject = Subject(arn[4], reached.clock.now(), rules, origin, days, everywhere)
    if ids:
        document, complete = explained(reached, subject, ids, where, wants_calls=not no_calls)
        write_json(document) if output is AuditFormat.JSON else write_why(document)
        _say_how_to_find_callers(document)
        raise typer.Exit(int(not complete or _failed(document, failing)))
    wants_sources = bool(group_by) or output.has_sources
    found = _audited(reached, subject, where, wants_calls=not no_calls, wants_sources=wants_sources)
    _report_errors(found)
    document = audit_document(subject, found)
    for note in document["notes"]:
        say(f"Note: {note}.")
    write_audit(document, output, Written(bool(group_by), every, arn[1], reached.clients.home_region))
    say(summary_line(document))
    _say_how_to_find_callers(document)
    if _failed(document, failing) or any(each.failed for each in found):
        raise typer.Exit(1)


def _check_beside_instances(ids: Sequence[str], output: AuditFormat, others: Mapping[str, object]) -> None:
    """Refuse what says nothing about single instances."""
    if ids and output not in EXPLAINING:
        raise CommandError(f"--instance with --output {output}; allowed: with {', '.join(EXPLAINING)}")
    for name, given in others.items():
        if ids and given:
            raise CommandError(f"--instance with {name}; allowed: one of them")


def _say_how_to_find_callers(document: Document) -> None:
    if any(instance["by"] == BY_GATE for instance in document["instances"]):
        say(HOW_TO_FIND_CALLERS)


def _failed(document: Document, failing: Sequence[str]) -> bool:
    return any(_FAILING[each](instance) for instance in document["instances"] for each in failing)


def _policy(reached: connection.Connection) -> tuple[Policy, str]:
    """The policy of Parameter Store, or what is assumed without one; and where it came from.

    Raises:
        CommandError: if what is stored is no policy.
        AwsError: if Parameter Store cannot be read.
    """
    try:
        if policy := reached.policy():
            return policy, "Parameter Store"
    except PolicyInvalidError as error:
        raise CommandError(str(error)) from None
    where = reached.clients.home_region
    say(f"There is no policy in {where}, so HttpTokens required is assumed; name the home region with --region.")
    return Policy(http_tokens=HttpTokens.REQUIRED), _ASSUMED


def _audited(
    reached: connection.Connection, subject: Subject, regions: Sequence[str], *, wants_calls: bool, wants_sources: bool
) -> list[RegionAudit]:
    gate = subject.policy.gate
    # Beforehand: several threads may not make clients of one session.
    readers = {each: reader(reached, each) for each in regions} if wants_sources else {}
    ledger_table = reached.clients.ledger_table
    refusals = noted_refusals(ledger_table.notes, subject.policy, regions)
    with region_progress(regions) as progress:
        fleet = Fleet(
            clients=reached.clients,
            judge=Judge(subject.policy, ledger_table.holds.standing(), subject.at, refusals),
            now=subject.at,
            lookback=Lookback(subject.lookback_days, gate) if wants_calls else None,
            readers=readers,
            progress=progress,
        )
        return fleet.audit(regions)


def _report_errors(regions: Sequence[RegionAudit]) -> None:
    """Name the regions that were not read, or not all of them.

    Raises:
        CommandError: if no region was read.
    """
    failed = [f"{each.region}: {error}" for each in regions for error in each.errors]
    if not any(each.listed for each in regions):
        raise CommandError(f"no region could be read; {'; '.join(failed)}")
    for each in failed:
        say(each)


def _checked_failing(texts: Sequence[str] | None) -> list[str]:
    names = [name.strip() for text in texts or ["drift"] for name in text.split(",")]
    for name in names:
        if name not in _FAILING:
            raise CommandError(f"--fail-on has {name!r}; allowed: {', '.join(_FAILING)}")
    return names
