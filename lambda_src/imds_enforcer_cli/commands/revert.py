"""`imds-enforcer revert`: restore the options that instances had before the enforcer changed them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import typer

from imds_enforcer.ledger.entry import Entry
from imds_enforcer.model import AwsError, Result, Trigger
from imds_enforcer.model.wording import count
from imds_enforcer.runs.revert import Revert, Reverting
from imds_enforcer_cli.account import connection, targets
from imds_enforcer_cli.commands.hold import name_replaced
from imds_enforcer_cli.commands.revert_defaults import Order, revert_defaults
from imds_enforcer_cli.console import arguments, output
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import Cell, say, write_csv, write_json, write_table
from imds_enforcer_cli.console.phrases import (
    RESULT_HEADINGS,
    SETTINGS,
    arrows,
    changes,
    options_columns,
    result_row,
)

PLAN_HEADINGS = ("INSTANCE", "UNDOES", "REVERTS", "LEFT AS IT IS")

REVERT_COLUMNS = (
    *("instance_id", "region", "undoes"),
    *(f"set_back.{name}.{when}" for name in SETTINGS for when in ("now", "before")),
    *("left", "problem", "outcome", "reason"),
    *options_columns("after"),
)


@dataclass(frozen=True, slots=True)
class _Order:
    """What to revert, and how to hold it afterwards; with `sure` the user is not asked.

    `of_run` is the run to revert, and `run_id` the id of the revert itself.
    """

    instance_ids: list[str]
    of_run: str | None
    run_id: str
    reason: str
    until: datetime | None
    sure: bool
    dry_run: bool
    format: Format


def revert(  # noqa: PLR0913  # each is an option of the command
    instances: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INSTANCE...]",
            help="The instances to revert: their last change or, with --run, that run's change and every later one. "
            "With --defaults, name regions instead: the command reverts their account defaults.",
            show_default="every instance that the run changed",
        ),
    ] = None,
    run: arguments.Run = None,
    *,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Revert and hold the account defaults of the named regions.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite-later-changes", help="Also revert options that someone else has changed since."),
    ] = False,
    until: arguments.Until = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="The reason, for people who find the hold later.")
    ] = "reverted",
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output_format: arguments.Output = Format.TABLE,
) -> None:
    """Revert changes by the enforcer, `imds-enforcer enforce` or `imds-enforcer set`, and hold the instances.

    The command restores exactly the options from before the change, but never switches a metadata service on. If
    someone else has changed an option since, the command names the option and leaves it as it is. The enforcer leaves
    the instances alone until the hold ends, or until you run `imds-enforcer release`.

    Nothing is left to revert if EC2 refused the change, if the change was never sent or is already reverted, or if the
    instance is gone. A revert counts as done once EC2 accepts and shows it. EC2 may apply it later, as on a stopped
    instance.
    """
    if defaults and run is not None:
        raise CommandError("--defaults and --run; allowed: one of them")
    names = arguments.checked_regions(instances or []) if defaults else []
    ids = [] if defaults else arguments.checked_ids(instances or [])
    of_run = None if run is None else arguments.checked_run(run)
    if defaults and not names:
        raise CommandError("nothing to revert; name the regions whose account defaults to revert")
    if not (names or ids) and of_run is None:
        raise CommandError("nothing to revert; name instances, or a run with --run")
    why = arguments.checked_reason(reason)
    if not (dry_run or yes):
        output.require_terminal()
    reached = connection.connect(profile, region)
    end = arguments.checked_moment(until, reached.clock.now())
    if defaults:
        wanted = Order(names, why, end, overwrite=overwrite, sure=yes, dry_run=dry_run, format=output_format)
        revert_defaults(reached, wanted, held(end))
        return
    order = _Order(ids, of_run, str(uuid.uuid4()), why, end, sure=yes, dry_run=dry_run, format=output_format)
    core = Revert(reached.clients, reached.clock, run_id=order.run_id, by=reached.caller(), overwrite=overwrite)
    with output.working("Reading the ledger and the instances"):
        plans = _plans(core, reached, order)
    possible = [plan for plan in plans if plan.way]
    _show_plan(order, plans, asks=bool(possible) and not (dry_run or yes))
    if not possible:
        say("Nothing can be reverted now." if any(plan.problem for plan in plans) else "Nothing to revert.")
    results = _carried_out(core, reached, order, possible) if possible and not dry_run else {}
    _write(order, plans, results, core)
    if core.refused:
        raise AwsError(core.refused)
    if not all(core.is_done(plan, results.get(plan.instance_id)) for plan in plans):
        raise typer.Exit(1)


def _plans(core: Revert, reached: connection.Connection, order: _Order) -> list[Reverting]:
    plans = core.plan(order.instance_ids, order.of_run)
    if not plans:
        whose = " to these instances" if order.instance_ids else ""
        raise CommandError(f"the ledger has no change{whose} by the run {order.of_run!r}")
    if not order.instance_ids:
        # A run goes through the instances in random order.
        plans.sort(key=lambda plan: (plan.region, plan.instance_id))
    ledger_table = reached.clients.ledger_table
    strange = [
        plan.instance_id for plan in plans if plan.nothing_left and not ledger_table.entries.of(plan.instance_id)
    ]
    if strange:
        seen = targets.require_instances(reached.clients, strange)
        managed = {instance_id: each.unchangeable for instance_id, each in seen.items() if each.unchangeable}
        plans = [
            replace(plan, problem=managed[plan.instance_id], nothing_left=None) if plan.instance_id in managed else plan
            for plan in plans
        ]
    return plans


def _show_plan(order: _Order, plans: Sequence[Reverting], *, asks: bool) -> None:
    aside = order.format is not Format.TABLE
    # The user must see the plan before answering; JSON and CSV have it too.
    if asks or not aside:
        write_table(PLAN_HEADINGS, [plan_row(plan) for plan in plans], aside=aside)


def _carried_out(
    core: Revert, reached: connection.Connection, order: _Order, possible: Sequence[Reverting]
) -> dict[str, Result]:
    """The results by instance."""
    ids = [plan.instance_id for plan in possible]
    name_replaced(reached.clients.ledger_table, ids)
    changing = sum(plan.way is not None and plan.way.change is not None for plan in possible)
    whom, how_long = count(len(possible), "instance"), held(order.until)
    if not order.sure:
        output.require_yes(f"Hold {whom} {how_long}, and revert {changing}?")
    say(f"Run {order.run_id} holds {whom} {how_long}, and reverts {changing}.")
    with output.working(f"Reverting {count(changing, 'instance')}"):
        results = list(core.carry_out(possible, reason=order.reason, until=order.until))
    for region, failure in () if core.refused else core.ledger_failures.items():
        say(f"The ledger is incomplete for {region} ({failure}); the next sweep completes it.")
    by_id = {result.instance_id: result for result in results}
    return {instance_id: by_id[instance_id] for instance_id in ids}


def _write(order: _Order, plans: Sequence[Reverting], results: dict[str, Result], core: Revert) -> None:
    instances = [reverting_json(plan, results.get(plan.instance_id), core.left(plan)) for plan in plans]
    match order.format:
        case Format.JSON:
            run_id = order.run_id if results else None
            write_json({"run_id": run_id, "dry_run": order.dry_run, "instances": instances})
        case Format.CSV:
            write_csv(REVERT_COLUMNS, instances)
        case Format.TABLE:
            write_table(RESULT_HEADINGS, [result_row(result) for result in results.values()])


def plan_row(plan: Reverting) -> Sequence[Cell]:
    """What a revert would do to one instance, as a row."""
    undone = [
        phrase
        for entry in _undone(plan)
        for phrase in (f"{entry.trigger} of {entry.at:%Y-%m-%d %H:%M}", f"run {entry.run_id}")
    ]
    reverted = arrows(_reverted(plan)) or ("nothing",)
    left = [plan.problem or plan.nothing_left or ""] if plan.way is None else [*plan.way.theirs]
    return (plan.instance_id, plan.region), undone or ("nothing",), reverted, left


def reverting_json(plan: Reverting, result: Result | None, left: Sequence[str]) -> dict[str, Any]:
    """One instance of a revert as JSON: the plan and, if it was carried out, the result."""
    return {
        "instance_id": plan.instance_id,
        "region": plan.region or None,
        "undoes": [{"run_id": entry.run_id, "at": entry.at.isoformat(timespec="seconds")} for entry in _undone(plan)],
        "set_back": {name: {"now": now, "before": before} for name, (now, before) in _reverted(plan).items()},
        "left": [*left],
        "problem": plan.problem,
        "outcome": str(result.outcome) if result else None,
        "reason": result.reason if result else plan.nothing_left,
        "after": result.after.as_log() if result and result.after else None,
    }


def _undone(plan: Reverting) -> list[Entry]:
    """The enforcer's own changes, without partial reverts."""
    return [entry for entry in plan.undone if entry.trigger != Trigger.REVERT]


def _reverted(plan: Reverting) -> dict[str, tuple[str | int, str | int]]:
    if plan.way is None or plan.instance is None or plan.instance.options is None:
        return {}
    return changes(plan.instance.options, plan.way.wanted)


def held(until: datetime | None) -> str:
    """How long a hold lasts."""
    return f"until {until:%Y-%m-%d %H:%M} UTC" if until else "until released"
