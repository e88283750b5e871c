"""`imds-enforcer launches undo`: undo what `launches fix` did."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import typer

from imds_enforcer.ledger.template_fix import TemplateFix
from imds_enforcer.model import AwsError
from imds_enforcer.model.wording import count
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.commands.launches_fix import Record
from imds_enforcer_cli.console import arguments, output
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import Cell, say, write_documents, write_table
from imds_enforcer_cli.fixes.record import FixRecord, record_of
from imds_enforcer_cli.fixes.run import Access
from imds_enforcer_cli.fixes.subject import FixOutcome
from imds_enforcer_cli.fixes.undo import Undoer, Undone, UndoPlan

UNDO_HEADINGS = ("LAUNCH TEMPLATE", "OUTCOME", "REASON")
UNDO_COLUMNS = ("id", "name", "region", "run_id", "outcome", "reason")

_TO_DO = frozenset({FixOutcome.LEFT, FixOutcome.FAILED})


def undo(  # noqa: PLR0913  # each is an option of the command
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|TEMPLATE",
            help="A run's id, to undo all its fixes, or a template's id or name, to undo its last fix.",
        ),
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    record: Record = None,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output_format: arguments.Output = Format.TABLE,
) -> None:
    """Undo `imds-enforcer launches fix`: restore the default version, and delete the version that the fix created.

    If someone else has changed something since the fix, the command names it and leaves it as it is. The command does
    not delete a version that an Auto Scaling group, a node group or a fleet now names by number. Instances that were
    launched since the fix do not change.
    """
    if not (dry_run or yes):
        output.require_terminal()
    reached = connection.reach(profile, region)
    where = record_of(reached, record)
    fixes = _named(where, what)
    refusal: AwsError | None = None
    if dry_run or not yes:
        results = [_planned(undoer.plan(fix)) for fix, undoer in _undoers(reached, fixes, where)]
    if not dry_run:
        if fixes and not yes:
            write_table(UNDO_HEADINGS, [_row(each) for each in results], aside=True)
            output.require_yes(f"Undo the fix of {count(len(fixes), 'launch template')}?")
        # Plan again: someone may have named a version by number before the user answered.
        with output.working("Undoing"):
            results, refusal = _undone(_undoers(reached, fixes, where))
    write_documents(
        output_format, [_json(each) for each in results], UNDO_COLUMNS, UNDO_HEADINGS, [_row(each) for each in results]
    )
    if refusal:
        raise refusal
    if any(each.outcome in _TO_DO for each in results):
        raise typer.Exit(1)


def _named(record: FixRecord, what: str) -> list[TemplateFix]:
    """The fixes to undo: all of a run, or a template's last fix that is not undone yet.

    Raises:
        CommandError: if the record has no such run or template.
        AwsError: if the ledger could not be read.
    """
    fixes = record.all()
    of_run = [each for each in fixes if each.run_id == what]
    found = of_run or [each for each in fixes if what in {each.template_id, each.name}]
    if not found:
        raise CommandError(
            f"{what!r} is not in the record of fixes; allowed: a run of `launches fix`, or a template that it fixed"
        )
    left = [each for each in found if each.to_undo]
    if not left:
        say("Nothing is left to undo.")
    wanted = left if of_run else {(each.region, each.template_id): each for each in left}.values()
    return sorted(wanted, key=lambda each: (each.region, each.name, each.template_id))


def _undoers(
    reached: connection.Connection, fixes: Sequence[TemplateFix], record: FixRecord
) -> Iterator[tuple[TemplateFix, Undoer]]:
    """Each fix with its undoer; the users of versions are read once per region."""
    access = Access(reached)
    users = {region: access.users(region) for region in {each.region for each in fixes}}
    for each in fixes:
        yield each, Undoer(access.calls(each.region, each.template_id), users[each.region], record)


def _undone(undoers: Iterable[tuple[TemplateFix, Undoer]]) -> tuple[list[Undone], AwsError | None]:
    """The outcome of each undo. If AWS does not accept the credentials, those so far and the refusal."""
    results = []
    try:
        for fix, undoer in undoers:
            results.append(undoer.undo(fix))
    except AwsError as error:
        return results, error
    return results, None


def _planned(plan: UndoPlan | Undone) -> Undone:
    if isinstance(plan, Undone):
        return plan
    steps = [f"make version {plan.default} the default again"] if plan.default else []
    steps += [f"delete version {each}" for each in plan.delete]
    return Undone(plan, FixOutcome.WOULD_UNDO, "; ".join([*steps, *plan.left]) or "nothing of the fix exists any more")


def _json(each: Undone) -> dict[str, Any]:
    fix = each.plan.fix
    return {
        "id": fix.template_id,
        "name": fix.name or None,
        "region": fix.region,
        "run_id": fix.run_id,
        "outcome": str(each.outcome),
        "reason": each.reason,
    }


def _row(each: Undone) -> Sequence[Cell]:
    fix = each.plan.fix
    return (fix.name or fix.template_id, fix.region), (str(each.outcome),), (each.reason,)
