"""`imds-enforcer revert`: instances back to what they were before the enforcer changed them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from imds_enforcer.model import Outcome, Result
from imds_enforcer.runs.revert import Revert, Reverting
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.console import arguments, output
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import say, write_csv, write_json, write_table
from imds_enforcer_cli.console.phrases import (
    PLAN_HEADINGS,
    RESULT_HEADINGS,
    REVERT_COLUMNS,
    count,
    held,
    plan_row,
    result_row,
    revert_json,
)
from imds_enforcer_cli.hold import name_replaced

_DONE = frozenset({Outcome.REMEDIATED, Outcome.PENDING, Outcome.COMPLIANT})


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be undone, and how to hold what is set back; `sure` says that nobody need be asked."""

    instance_ids: list[str]
    run_id: str | None
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
            help="Undo the last change of these instances; with --run, that run's and what followed.",
            show_default="every instance that the run changed",
        ),
    ] = None,
    run: arguments.Run = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be set back.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite-later-changes", help="Set back also what somebody else has set since."),
    ] = False,
    until: arguments.Until = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever meets the hold later.")
    ] = "reverted",
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output_format: arguments.Output = Format.TABLE,
) -> None:
    """Set instances back to what they were before a change of the enforcer, and hold them there.

    Exactly the options from before come back. One that somebody else has set since is named and left,
    and a metadata service that is off stays off. The enforcer leaves the instances alone until the hold
    ends, or until `imds-enforcer release`.
    """
    ids = arguments.checked_ids(instances or [])
    run_id = None if run is None else arguments.checked_run(run)
    if not ids and run_id is None:
        raise CommandError("nothing to revert; name instances, or a run with --run")
    why = arguments.checked_reason(reason)
    if not (dry_run or yes or output.interactive()):
        raise CommandError("no terminal to ask at, so nothing was done; --yes goes on without asking")
    reached = connection.connect(profile, region)
    end = arguments.checked_moment(until, reached.clock.now())
    order = _Order(ids, run_id, why, end, sure=yes, dry_run=dry_run, format=output_format)
    own_run = str(uuid.uuid4())
    core = Revert(reached.clients, reached.clock, run_id=own_run, by=reached.caller(), overwrite=overwrite)
    with output.working("Reading the ledger and the instances"):
        plans = _plans(core, reached, order)
    results = _carried_out(core, reached, order, plans, own_run)
    instances_json = revert_json(plans, results)
    match order.format:
        case Format.JSON:
            write_json({"run_id": own_run if results else None, "dry_run": dry_run, "instances": instances_json})
        case Format.CSV:
            write_csv(REVERT_COLUMNS, instances_json)
        case Format.TABLE:
            write_table(RESULT_HEADINGS, [result_row(result) for result in results.values()])
    if any(plan.problem for plan in plans) or any(result.outcome not in _DONE for result in results.values()):
        raise typer.Exit(1)


def _plans(core: Revert, reached: connection.Connection, order: _Order) -> list[Reverting]:
    plans = core.plan(order.instance_ids, order.run_id)
    if not plans:
        raise CommandError(f"the ledger has no change by the run {order.run_id!r}")
    if not order.instance_ids:
        # A run went through the instances in no order that anybody could follow.
        plans.sort(key=lambda plan: (plan.region, plan.instance_id))
    records = reached.clients.records
    strange = [plan.instance_id for plan in plans if plan.problem and not records.entries_of(plan.instance_id)]
    if strange:
        connection.require_instances(reached.clients, strange)
    return plans


def _carried_out(
    core: Revert, reached: connection.Connection, order: _Order, plans: Sequence[Reverting], own_run: str
) -> dict[str, Result]:
    """The results by instance: none if nothing can be undone, or is only to be shown."""
    possible = [plan for plan in plans if plan.way]
    asks = not (order.dry_run or order.sure) and bool(possible)
    if asks or order.format is Format.TABLE:
        # Whoever is asked has to see it; the documents say it too.
        write_table(PLAN_HEADINGS, [plan_row(plan) for plan in plans], aside=order.format is not Format.TABLE)
    if not possible:
        say("Nothing to undo.")
    if not possible or order.dry_run:
        return {}
    ids = [plan.instance_id for plan in possible]
    name_replaced(reached.clients.records, ids)
    changing = sum(plan.way is not None and plan.way.change is not None for plan in possible)
    whom, how_long = count(len(possible), "instance"), held(order.until)
    if asks and not output.confirmed(f"Hold {whom} {how_long}, and set back {changing}?"):
        say("Nothing was changed.")
        raise typer.Exit(1)
    say(f"This is the run {own_run}: it holds {whom} {how_long}, and sets back {changing}.")
    with output.working(f"Setting back {count(changing, 'instance')}"):
        results = list(core.carry_out(possible, reason=order.reason, until=order.until))
    for region, failure in core.ledger_failures.items():
        say(f"The ledger does not have everything about {region} ({failure}); the next sweep settles what is open.")
    by_id = {result.instance_id: result for result in results}
    return {instance_id: by_id[instance_id] for instance_id in ids}
