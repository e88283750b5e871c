"""`imds-enforcer revert --defaults`: restore the account defaults of regions."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import typer

from imds_enforcer.ledger.defaults import subject
from imds_enforcer.model import Outcome
from imds_enforcer.model.region_defaults import DEFAULTS, DefaultsResult
from imds_enforcer.model.wording import count
from imds_enforcer.runs.revert_defaults import RevertDefaults, RevertingDefaults
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.commands.hold import name_replaced
from imds_enforcer_cli.console import output
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.output import Cell, say, write_csv, write_json, write_table
from imds_enforcer_cli.console.phrases import arrows, changes

PLAN_HEADINGS = ("ACCOUNT DEFAULTS", "REVERTS", "LEFT AS IT IS")
RESULT_HEADINGS = ("ACCOUNT DEFAULTS", "OUTCOME", "REASON")
COLUMNS = (
    "region",
    *(f"set_back.{name}.{when}" for name in DEFAULTS for when in ("now", "before")),
    *("left", "problem", "outcome", "reason"),
    *(f"after.{name}" for name in DEFAULTS),
)
_DONE = frozenset({Outcome.REMEDIATED, Outcome.COMPLIANT})


@dataclass(frozen=True, slots=True)
class Order:
    """The regions to revert, and how to hold them afterwards; with `sure` the user is not asked."""

    regions: Sequence[str]
    reason: str
    until: datetime | None
    overwrite: bool
    sure: bool
    dry_run: bool
    format: Format


def revert_defaults(reached: connection.Connection, order: Order, how_long: str) -> None:
    """Carry out the order; `how_long` says in words how long the hold lasts.

    Raises:
        typer.Exit: with 1, if not everything could be reverted.
    """
    core = RevertDefaults(
        reached.clients, reached.clock, run_id=str(uuid.uuid4()), by=reached.caller(), overwrite=order.overwrite
    )
    with output.working("Reading the ledger and the regions"):
        plans = core.plan(order.regions)
    possible = [plan for plan in plans if plan.possible]
    asks = bool(possible) and not (order.dry_run or order.sure)
    if asks or order.format is Format.TABLE:
        write_table(PLAN_HEADINGS, [_row(plan) for plan in plans], aside=order.format is not Format.TABLE)
    results: dict[str, DefaultsResult] = {}
    if not possible:
        say("Nothing can be reverted now." if any(plan.problem for plan in plans) else "Nothing to revert.")
    elif not order.dry_run:
        whom = f"the account defaults of {count(len(possible), 'region')} {how_long}"
        name_replaced(reached.clients.ledger_table, [subject(plan.region) for plan in possible])
        if not order.sure:
            output.require_yes(f"Hold {whom}, and revert them?")
        with output.working("Reverting account defaults"):
            done = core.carry_out(possible, reason=order.reason, until=order.until)
        plans = [next((new for new, _ in done if new.region == plan.region), plan) for plan in plans]
        results = {result.region: result for _, result in done}
    for region, failure in core.ledger_failures.items():
        say(f"The ledger is incomplete for {region} ({failure}).")
    _write(order, plans, results)
    if not all(_is_done(plan, results.get(plan.region), order) for plan in plans):
        raise typer.Exit(1)


def _is_done(plan: RevertingDefaults, result: DefaultsResult | None, order: Order) -> bool:
    if plan.problem or plan.left:
        return False
    return order.dry_run or result is None or result.outcome in _DONE


def _write(order: Order, plans: Sequence[RevertingDefaults], results: Mapping[str, DefaultsResult]) -> None:
    documents = [_document(plan, results.get(plan.region)) for plan in plans]
    match order.format:
        case Format.JSON:
            write_json({"dry_run": order.dry_run, "regions": documents})
        case Format.CSV:
            write_csv(COLUMNS, documents)
        case Format.TABLE:
            rows: list[Sequence[Cell]] = [
                ((each.region,), (str(each.outcome),), (each.reason,)) for each in results.values()
            ]
            write_table(RESULT_HEADINGS, rows)


def _row(plan: RevertingDefaults) -> Sequence[Cell]:
    back = arrows(changes(plan.change.before, plan.change.wanted)) if plan.change else ["nothing"]
    left = plan.problem or plan.nothing_left
    return (plan.region,), back, [left] if left else [*plan.left]


def _document(plan: RevertingDefaults, result: DefaultsResult | None) -> dict[str, Any]:
    differing = changes(plan.change.before, plan.change.wanted) if plan.change else {}
    return {
        "region": plan.region,
        "set_back": {name: {"now": now, "before": before} for name, (now, before) in differing.items()},
        "left": [*plan.left],
        "problem": plan.problem,
        "outcome": str(result.outcome) if result else None,
        "reason": result.reason if result else plan.nothing_left,
        "after": result.after.as_log() if result and result.after else None,
    }
