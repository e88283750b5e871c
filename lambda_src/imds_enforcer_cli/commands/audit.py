"""`imds-enforcer audit`: every instance of the account, and whether it follows the policy."""

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

_ASSUMED = "the default, as there is no policy"
_LOOKBACK_DAYS = Gate().lookback_days
EXPLAINING = (AuditFormat.TABLE, AuditFormat.JSON)
"""The formats for `--instance`."""

_MAX_LOOKBACK_DAYS = 455
"""How many days CloudWatch keeps hourly metrics (CloudWatch User Guide, "Metrics retention")."""


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
            "--regions",
            metavar="all|NAME,...",
            help="The regions to audit; all means every region that the policy covers.",
        ),
    ] = ALL,
    group_by: Annotated[
        _Grouping | None,
        typer.Option(
            "--group-by",
            help="Group the instances by what launched them (Auto Scaling group, launch template or image), and show "
            "whether its next instances will allow IMDSv1.",
            show_default="one row per instance",
        ),
    ] = None,
    instance: Annotated[
        list[str] | None,
        typer.Option(
            "--instance",
            metavar="ID",
            help="Show everything about this instance: the policy's decision and the reason for it, exemption, gate, "
            "holds, ledger, rollout, launcher. May be repeated.",
            show_default="every instance",
        ),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="drift|held|exempt-expired",
            help="The states that make the exit code 1, separated by commas. May be repeated.",
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
            help="How many days back to count IMDSv1 calls.",
            show_default=f"from the policy, or {_LOOKBACK_DAYS}",
        ),
    ] = None,
    *,
    no_calls: Annotated[
        bool,
        typer.Option(
            "--no-calls",
            help="Do not ask CloudWatch for IMDSv1 calls; asking costs $0.01 per 1,000 instances. Instances that the "
            "policy's legacy_calls would hold back count as DRIFT.",
        ),
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Show compliant instances in the table too; the other formats always do.")
    ] = False,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: Annotated[
        AuditFormat,
        typer.Option(
            "--output",
            help="table for people, json for programs, csv for spreadsheets, html for readers without AWS access, "
            "asff for Security Hub (a list of findings; BatchImportFindings takes 100 per call), sarif for SARIF "
            "viewers.",
        ),
    ] = AuditFormat.TABLE,
) -> None:
    """Show whether each instance follows the policy, and why not.

    The audit changes nothing. A COMPLIANT instance follows the policy. IMDS_OFF: the instance's metadata service is
    off, which satisfies the policy. A DRIFT instance differs from the policy. HELD, EXEMPT and MANAGED instances
    differ too, but the enforcer leaves them alone. An instance is HELD by a person, by the policy, or because EC2
    refuses an option. UNREADABLE: the audit does not recognize the instance's metadata options.

    If the account has no policy, the audit assumes HttpTokens required. On standard error, the audit notes each
    exemption that matches no instance. It also notes each tag in the policy that instances have only with other
    upper-case or lower-case letters, or with other spaces.
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
    """Refuse a format or option that does not apply to single instances."""
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
    """The policy in Parameter Store or, without one, the assumed policy; and where it came from.

    Raises:
        CommandError: if the stored policy is invalid.
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
    # Before the threads start: making clients from one session is not thread-safe.
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
    """Name the regions that could not be read completely.

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
