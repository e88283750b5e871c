"""`imds-enforcer enforce`: one sweep, run from this machine."""

import sys
import uuid
from dataclasses import dataclass
from typing import Annotated, NoReturn

import typer

from imds_enforcer.model import AwsError, Outcome
from imds_enforcer.model.wording import count
from imds_enforcer.policy import Mode
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.account.policy_source import Governing, governing
from imds_enforcer_cli.account.regions import ALL, chosen_regions, refuse_if_elsewhere
from imds_enforcer_cli.console import arguments, interruption, output
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.interruption import Interruption, unless_interrupted
from imds_enforcer_cli.console.output import say, write_csv, write_json, write_table
from imds_enforcer_cli.console.phrases import RESULT_HEADINGS, result_row
from imds_enforcer_cli.console.progress import SweepProgress
from imds_enforcer_cli.runs.local_sweep import LocalSweep, Swept
from imds_enforcer_cli.runs.sweep_report import (
    REGION_HEADINGS,
    RESULT_COLUMNS,
    SOURCE_HEADINGS,
    in_words,
    listed,
    region_rows,
    result_json,
    source_rows,
    sweep_json,
    unfinished,
)


@dataclass(frozen=True, slots=True)
class _Order:
    """One sweep and the options for it; with `sure` the user is not asked."""

    sweep: LocalSweep
    rules: Governing
    deployed: bool
    dry_run: bool
    sure: bool
    format: Format


def enforce(  # noqa: PLR0913  # each is an option of the command
    regions: Annotated[
        str,
        typer.Option(
            "--regions",
            metavar="all|NAME,...",
            help="The regions to sweep; all means every region that the policy covers.",
        ),
    ] = ALL,
    policy: arguments.PolicyFile = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output_format: arguments.Output = Format.TABLE,
) -> None:
    """Bring every instance in line with the policy: one sweep, run from this machine.

    The command first shows its plan: the outcomes in each region for the instances that differ from the policy, and
    what launched the instances that will change. It follows the same rules as the deployed enforcer's sweeps:
    exemptions, holds, the gate for instances that still call IMDSv1, the rollout's share, and EC2's request limits.
    It reads every change back and writes it to the ledger, so that `imds-enforcer revert --run` can revert it. The run
    ends if the policy in Parameter Store changes. If the enforcer is not deployed, there is no ledger, and no instance
    is held.

    After Ctrl-C or SIGTERM, the command begins no further change. It takes up to 20 seconds to read back the changes
    that it has sent. Then it writes its report, and exits with 130. A second Ctrl-C ends the command at once: it names
    the instances whose change it has sent but not read back.
    """
    if not (dry_run or yes):
        output.require_terminal()
    reached = connection.reach(profile, region)
    rules = governing(reached, policy)
    names = chosen_regions(reached.clients, regions, rules.policy.regions)
    refuse_if_elsewhere(reached, names)
    rules = rules if regions.strip() == ALL else rules.within(names)
    by = reached.caller() if reached.deployed and not dry_run else None
    sweep = LocalSweep(reached, rules, names, run_id=str(uuid.uuid4()), by=by)
    order = _Order(sweep, rules, reached.deployed, dry_run, yes, output_format)
    with output.working("Looking at the instances"):
        planned = unless_interrupted(sweep.plan)
    _show_plan(order, planned)
    stop = Interruption()
    done = _carried_out(order, planned, stop) if _has_work(order, planned) else None
    _show_report(order, planned, done)
    if stop.asked:
        _end_interrupted(done)
    if done and done.report.credentials_refused:
        raise AwsError(done.report.credentials_refused)
    left = unfinished((done or planned).report) or (not dry_run and bool(_to_change(done or planned)))
    raise typer.Exit(int(left))


def _to_change(swept: Swept) -> int:
    return swept.report.outcomes[Outcome.WOULD_REMEDIATE]


def _show_plan(order: _Order, planned: Swept) -> None:
    """Show the plan; on standard error, if standard output is for programs."""
    aside = order.format is not Format.TABLE
    if not aside or not (order.sure or order.dry_run):
        write_table(SOURCE_HEADINGS, source_rows(planned), aside=aside)
        write_table(REGION_HEADINGS, region_rows(planned.report), aside=aside)
    for warning in planned.report.warnings:
        say(warning)
    limit = order.rules.policy.max_changes_per_sweep
    if limit is not None and _to_change(planned) > limit:
        say(f"The policy lets one sweep change {count(limit, 'instance')}; the sweep picks them at random.")


def _has_work(order: _Order, planned: Swept) -> bool:
    if not _to_change(planned):
        say("Nothing to change.")
        return False
    if order.dry_run:
        return False
    if order.rules.policy.mode is Mode.AUDIT:
        say("Nothing is changed, because the policy's mode is audit.")
        return False
    return True


def _carried_out(order: _Order, planned: Swept, stop: Interruption) -> Swept:
    sweep, policy = order.sweep, order.rules.policy
    if failure := sweep.refusal(planned):
        raise CommandError(f"you may not change these instances: {failure}")
    if not order.deployed:
        say("The enforcer is not deployed here: there is no ledger, so this run cannot be reverted, and no hold.")
    by_region = planned.to_change_by_region()
    limit = policy.max_changes_per_sweep
    changing = in_words(_to_change(planned) if limit is None else min(limit, _to_change(planned)), by_region)
    if not order.sure:
        output.require_yes(f"Change {changing}, HttpTokens {policy.http_tokens}?")
    say(f"Run {sweep.run_id} changes {changing}.")
    with stop, SweepProgress(by_region, limit) as progress:
        return sweep.carry_out(planned, stop, progress.count)


def _end_interrupted(done: Swept | None) -> NoReturn:
    if done and done.cut_off:
        sys.stdout.flush()
        sys.stderr.flush()
        interruption.end_at_once()
    raise typer.Exit(interruption.EXIT_CODE)


def _show_report(order: _Order, planned: Swept, done: Swept | None) -> None:
    swept = done or planned
    match order.format:
        case Format.JSON:
            write_json(sweep_json(order.rules, planned, done, dry_run=order.dry_run))
        case Format.CSV:
            write_csv(RESULT_COLUMNS, [result_json(result) for result in swept.results])
        case Format.TABLE:
            write_table(RESULT_HEADINGS, [result_row(result) for result in listed(swept)])
            if done:
                write_table(REGION_HEADINGS, region_rows(done.report))
