"""`imds-enforcer launches fix`: make launch templates require tokens."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from imds_enforcer.model import HttpTokens
from imds_enforcer.model.wording import count
from imds_enforcer.policy import Mode
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.account.policy_source import Governing, governing
from imds_enforcer_cli.account.regions import ALL, chosen_regions, refuse_if_elsewhere
from imds_enforcer_cli.console import arguments, interruption, output
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.interruption import Interruption
from imds_enforcer_cli.console.output import Cell, say, write_csv, write_json, write_table
from imds_enforcer_cli.fixes.aws_commands import legend, set_imds_support
from imds_enforcer_cli.fixes.fixer import Fixed
from imds_enforcer_cli.fixes.plan import Wishes
from imds_enforcer_cli.fixes.record import DEFAULT_FILE, FileRecord, record_of
from imds_enforcer_cli.fixes.run import Access, FixRun, others, plans, refuse_unknown, refused
from imds_enforcer_cli.fixes.subject import FixOutcome
from imds_enforcer_cli.fixes.survey import is_known
from imds_enforcer_cli.launches.launcher import Launcher, LauncherKind
from imds_enforcer_cli.launches.listing import RegionLaunchers, list_launchers, said
from imds_enforcer_cli.launches.owners import OwnerKind

FIX_HEADINGS = ("LAUNCHER", "OUTCOME", "REASON")
FIX_COLUMNS = ("launcher", "region", "id", "name", "outcome", "reason", "source", "version", "instances", "commands")

_MANAGING = tuple(str(kind) for kind in OwnerKind if kind is not OwnerKind.CREATOR)
_LEFT = frozenset({FixOutcome.HELD, FixOutcome.LEFT, FixOutcome.WOULD_FIX})
_INTERRUPTED = "interrupted"
_CANNOT_BE_UNDONE = "ImdsSupport v2.0 cannot be undone once it is set"

Record = Annotated[
    Path | None,
    typer.Option(
        "--record",
        metavar="FILE",
        help="The file that records the fixes.",
        show_default=f"the ledger if the enforcer is deployed, else {DEFAULT_FILE}",
    ),
]


@dataclass(frozen=True, slots=True)
class _Order:
    """One run and the options for it; with `sure` the user is not asked."""

    reached: connection.Connection
    rules: Governing
    run_id: str
    dry_run: bool
    sure: bool
    format: Format
    record: Path | None


def fix(  # noqa: PLR0913  # each is an option of the command
    templates: Annotated[
        list[str] | None, typer.Argument(metavar="[TEMPLATE...]", help="Launch templates, by id or by name.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Fix every launch template that needs it.")] = False,
    regions: Annotated[
        str,
        typer.Option("--regions", metavar="all|NAME,...", help="The regions to read; all means every enabled region."),
    ] = ALL,
    despite_calls: Annotated[
        list[str] | None,
        typer.Option(
            "--despite-calls",
            metavar="TEMPLATE",
            help="Fix this template even if its instances are held or still call IMDSv1. May be repeated.",
        ),
    ] = None,
    include_managed_by: Annotated[
        list[str] | None,
        typer.Option(
            "--include-managed-by",
            metavar="NAME",
            help=f"Also fix templates that this owner manages: {', '.join(_MANAGING)}. May be repeated.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    policy: arguments.PolicyFile = None,
    record: Record = None,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output_format: arguments.Output = Format.TABLE,
) -> None:
    """Make launch templates require tokens, by a new version of each.

    The new version is a copy of the version in use, except that it requires tokens and has the hop limit that the
    policy wants for its instances. The command reads the new version back, and deletes it if anything else differs or
    EC2 warns about it. If the copied version was the default, the new version becomes the default. Running instances
    do not change. `imds-enforcer launches undo` undoes the fix.

    The command leaves a template unchanged if the policy exempts its launches, if its instances are held or still call
    IMDSv1 (by the policy's `legacy_calls`), or if an owner such as CloudFormation manages it. It also leaves a template
    if its default version allows IMDSv1 but is not the latest: a new version would change what `$Latest` means. For
    this template, and for groups that name a version by number, the command prints AWS CLI commands that you can run.
    The command never changes launch configurations and images; with --all, it reports them.

    The command records every step before and after it, in the ledger or in a file that it names. It fixes nothing
    while the toggle is `optional` or the policy's mode is `audit`.
    """
    if bool(templates) == everything:
        raise CommandError("name launch templates, or use --all; allowed: one of them")
    wishes = Wishes(despite_calls=despite_calls or (), include_managed_by=_owners(include_managed_by or ()))
    if not (dry_run or yes):
        output.require_terminal()
    reached = connection.reach(profile, region)
    rules = governing(reached, policy)
    if rules.policy.http_tokens is HttpTokens.OPTIONAL:
        raise CommandError(f"HttpTokens is optional in {rules.named}, so nothing is fixed; allowed: required")
    names = chosen_regions(reached.clients, regions, rules.policy.regions)
    refuse_if_elsewhere(reached, names)
    access = Access(reached)
    with output.working("Reading what launches instances"):
        surveys = list_launchers(reached, names)
    for line in said(each for seen in surveys for each in seen.unread):
        say(line)
    refuse_unknown(surveys, templates or ())
    refuse_unknown(surveys, despite_calls or (), "--despite-calls ")
    order = _Order(reached, rules, str(uuid.uuid4()), dry_run, yes, output_format, record)
    with output.working("Looking at the instances"):
        found = [Fixed(each) for each in plans(reached, rules.policy, surveys, templates or None, wishes)]
    rest = others(surveys) if everything else []
    stop = Interruption()
    done, run = _carried_out(order, access, found, stop)
    _write(order, done, rest)
    if run:
        refused(run)
    if stop.asked:
        raise typer.Exit(interruption.EXIT_CODE)
    raise typer.Exit(int(_failed(order, done, surveys)))


def _owners(names: Iterable[str]) -> tuple[OwnerKind, ...]:
    for name in names:
        if name not in _MANAGING:
            raise CommandError(f"--include-managed-by is {name!r}; allowed: {', '.join(_MANAGING)}")
    return tuple(map(OwnerKind, names))


def _failed(order: _Order, done: Sequence[Fixed], surveys: Sequence[RegionLaunchers]) -> bool:
    outcomes = {each.plan.outcome for each in done}
    unknown = any(not is_known(seen) for seen in surveys)
    return FixOutcome.FAILED in outcomes or unknown or (not order.dry_run and bool(outcomes & _LEFT))


def _carried_out(
    order: _Order, access: Access, found: Sequence[Fixed], stop: Interruption
) -> tuple[Sequence[Fixed], FixRun | None]:
    """The plans and their outcomes, and the run if there was one."""
    possible = [each for each in found if each.plan.outcome is FixOutcome.WOULD_FIX]
    if not possible:
        say("Nothing to fix.")
    if not possible or order.dry_run:
        return found, None
    if order.rules.policy.mode is Mode.AUDIT:
        say("Nothing is changed, because the policy's mode is audit.")
        return found, None
    where = record_of(order.reached, order.record)
    changing = count(len(possible), "launch template")
    if not order.sure:
        write_table(FIX_HEADINGS, [_row(fixed_json(each)) for each in found], aside=True)
        output.require_yes(f"Fix {changing}, HttpTokens required?")
    by = order.reached.caller() if order.reached.deployed else None
    say(f"Run {order.run_id} fixes {changing}.")
    if isinstance(where, FileRecord):
        say(f"The fixes are recorded in {where.path}, which `imds-enforcer launches undo` needs.")
    run = FixRun(access, order.rules, where, run_id=order.run_id, by=by)
    stop.under_way = lambda: run.under_way
    with stop, output.working(f"Fixing {changing}"):
        return run.carry_out((each.plan for each in found), lambda: _INTERRUPTED if stop.asked else None), run


def _write(order: _Order, done: Sequence[Fixed], rest: Sequence[Launcher]) -> None:
    documents = [*map(fixed_json, done), *map(_other_json, rest)]
    match order.format:
        case Format.JSON:
            fixed = any(each.plan.outcome is FixOutcome.FIXED for each in done)
            write_json({"run_id": order.run_id if fixed else None, "dry_run": order.dry_run, "launchers": documents})
        case Format.CSV:
            write_csv(FIX_COLUMNS, documents)
        case Format.TABLE:
            write_table(FIX_HEADINGS, [*map(_row, documents)])
            _say_commands(documents)


def _say_commands(documents: Sequence[dict[str, Any]]) -> None:
    commands = [command for each in documents for command in each["commands"]]
    if commands:
        meanings = legend(commands)
        say(f"Left to you{f' ({meanings})' if meanings else ''}:")
    for command in commands:
        say(command)


def fixed_json(each: Fixed) -> dict[str, Any]:
    """One template as JSON."""
    plan, subject = each.plan, each.plan.subject
    return {
        "launcher": str(subject),
        "kind": str(LauncherKind.TEMPLATE),
        "region": subject.region,
        "id": subject.template_id,
        "name": subject.name or None,
        "outcome": str(plan.outcome),
        "reason": plan.reason,
        "source": plan.source or None,
        "version": each.version or None,
        "instances": len(subject.instance_ids),
        "commands": list(plan.commands),
    }


def _other_json(launcher: Launcher) -> dict[str, Any]:
    image = launcher.kind is LauncherKind.IMAGE
    return {
        "launcher": str(launcher),
        "kind": str(launcher.kind),
        "region": launcher.region,
        "id": launcher.id,
        "name": launcher.name or None,
        "outcome": str(FixOutcome.LEFT),
        "reason": f"{launcher.outlook.why}; {_CANNOT_BE_UNDONE if image else launcher.advice}",
        "source": None,
        "version": None,
        "instances": len(launcher.instance_ids),
        "commands": [set_imds_support(launcher.region, launcher.id)] if image else [],
    }


def _row(document: dict[str, Any]) -> Sequence[Cell]:
    return (document["launcher"], document["region"]), (document["outcome"],), (document["reason"],)
