"""`imds-enforcer launches fix`: launch templates whose next instances require tokens."""

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
_CANNOT_BE_UNDONE = "ImdsSupport v2.0, once it is set, cannot be undone"

Record = Annotated[
    Path | None,
    typer.Option(
        "--record",
        metavar="FILE",
        help="Where what was done is written down.",
        show_default=f"the ledger where the enforcer is deployed, else {DEFAULT_FILE}",
    ),
]


@dataclass(frozen=True, slots=True)
class _Order:
    """One run, and how it is made; with `sure` the user is not asked."""

    reached: connection.Connection
    rules: Governing
    run_id: str
    dry_run: bool
    sure: bool
    format: Format
    record: Path | None


def fix(  # noqa: PLR0913  # each is an option of the command
    templates: Annotated[
        list[str] | None, typer.Argument(metavar="[TEMPLATE...]", help="Launch templates, by id or name.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every launch template that needs it.")] = False,
    regions: Annotated[
        str, typer.Option("--regions", metavar="all|NAME,...", help="Where to look: every region, or these.")
    ] = ALL,
    despite_calls: Annotated[
        list[str] | None,
        typer.Option(
            "--despite-calls",
            metavar="TEMPLATE",
            help="Fix this template although instances of it are held, or still call IMDSv1. May be repeated.",
        ),
    ] = None,
    include_managed_by: Annotated[
        list[str] | None,
        typer.Option(
            "--include-managed-by",
            metavar="NAME",
            help=f"Fix templates of this owner too: {', '.join(_MANAGING)}. May be repeated.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be fixed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    policy: arguments.PolicyFile = None,
    record: Record = None,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output_format: arguments.Output = Format.TABLE,
) -> None:
    """Make launch templates require tokens: a new version of each, from the version in use.

    The new version differs in its metadata options alone: tokens are required, and the hop limit is as the policy
    wants it for these instances. It is read back and compared; if anything else differs, or EC2 warns of it, it is
    deleted again. If its source was the default version, it becomes the default. `imds-enforcer launches undo` is the
    way back. Running instances are not changed.

    A template is left where an exemption is for its launches, where instances of it are held or still call IMDSv1 (by
    the policy's `legacy_calls`), where an owner such as CloudFormation manages it, and where the version in use is not
    the latest, since a new version would change what `$Latest` means; the commands are printed then. So are those for
    groups that name a version by its number. Launch configurations and images are only reported.

    What is done is written down before and after: in the ledger, else in a file, which the command names. While the
    toggle is `optional`, or the policy's mode `audit`, nothing is fixed.
    """
    if bool(templates) == everything:
        raise CommandError("launch templates and --all are alternatives; allowed: one of them")
    wishes = Wishes(despite_calls=despite_calls or (), include_managed_by=_owners(include_managed_by or ()))
    if not (dry_run or yes):
        output.require_terminal()
    reached = connection.reach(profile, region)
    rules = governing(reached, policy)
    if rules.policy.http_tokens is HttpTokens.OPTIONAL:
        raise CommandError(
            f"HttpTokens is optional in {rules.named}, so no launch template is fixed; allowed: required"
        )
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
    """What became of the plans, and the run if there was one."""
    possible = [each for each in found if each.plan.outcome is FixOutcome.WOULD_FIX]
    if not possible:
        say("Nothing to fix.")
    if not possible or order.dry_run:
        return found, None
    if order.rules.policy.mode is Mode.AUDIT:
        say("The policy's mode is audit: nothing is changed.")
        return found, None
    where = record_of(order.reached, order.record)
    changing = count(len(possible), "launch template")
    if not order.sure:
        write_table(FIX_HEADINGS, [_row(fixed_json(each)) for each in found], aside=True)
        output.require_yes(f"Fix {changing}, HttpTokens required?")
    by = order.reached.caller() if order.reached.deployed else None
    say(f"This is the run {order.run_id}: it fixes {changing}.")
    if isinstance(where, FileRecord):
        say(f"It is written down in {where.path}, which `imds-enforcer launches undo` needs.")
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
    """One template."""
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
