"""`imds-enforcer sweep`: start a sweep of the deployed enforcer now."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from imds_enforcer.aws.boto import aws_errors
from imds_enforcer.model import Outcome
from imds_enforcer.model.wording import count, each_count
from imds_enforcer.reporting.report import RegionReport, RegionStatus
from imds_enforcer_cli.account import connection, function_log
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.output import Cell, say, working, write_csv, write_document, write_json, write_table

SWEEP_COLUMNS = (
    *("run_id", "region", "status", *(f"outcomes.{outcome}" for outcome in Outcome)),
    *("error", "stopped", "ledger_error", "defaults.outcome", "defaults.reason"),
)
_PROBLEMS = ("error", "stopped", "ledger_error")

_IDLE = RegionReport().as_json()
"""A region's part of a report if nothing differed from the policy and nothing went wrong."""

_NAMED = 3
"""How many of the regions without work are named."""

PATIENCE = timedelta(minutes=20)
"""An invocation takes 15 minutes at most, and may have to wait before it starts."""

_LONGEST_RUN = timedelta(minutes=15)
_PAUSE_SECONDS = 2.0


def sweep(
    *,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Start the sweep, print its run id, and exit.")] = False,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = Format.TABLE,
) -> None:
    """Start a sweep of the deployed enforcer, and wait for its report.

    The sweep covers every region, like the scheduled ones, and takes 15 minutes at most. If you end the command early,
    the sweep goes on, and `imds-enforcer history --run` shows its changes. If another sweep is under way, the command
    waits for that one instead.
    """
    reached = connection.connect_running(profile, region)
    since = reached.clock.now() - timedelta(minutes=1)  # the clocks here and in AWS may differ
    run_id = _started(reached)
    say(f"Started run {run_id}.")
    if no_wait:
        write_document(output, {"run_id": run_id}, ("RUN",), ((run_id,),))
        return
    with working("Sweeping every region"):
        report = _report(reached, since, run_id)
    if report is None:
        raise typer.Exit(1)
    _write(output, report)
    if "stopped" in report:
        say(f"The run was cut short: {report['stopped']}.")
    if needs_attention(report):
        raise typer.Exit(1)


def needs_attention(report: Mapping[str, Any]) -> bool:
    """True if part of the run failed or was cut short."""
    parts = report["regions"].values()
    failed = any(part["status"] == RegionStatus.REGION_FAILED or _failed_defaults(part) for part in parts)
    return failed or str(Outcome.FAILED) in report["outcomes"] or any("stopped" in part for part in (report, *parts))


def _failed_defaults(part: Mapping[str, Any]) -> bool:
    """True if a region's account defaults could not be set."""
    return bool(part.get("defaults", {}).get("outcome") == Outcome.FAILED)


def outcomes(counts: Mapping[str, int]) -> Cell:
    """Counts by outcome, for people."""
    return each_count(counts) or ["nothing to do"]


def _started(reached: connection.Connection) -> str:
    """Invoke the function, and return the run id, which is Lambda's request id."""
    client = reached.client("lambda", None)
    with aws_errors():
        answer = client.invoke(
            FunctionName=reached.outputs["FunctionName"], InvocationType="Event", Payload=json.dumps({})
        )
    run_id: str = answer["ResponseMetadata"]["RequestId"]
    return run_id


def _report(reached: connection.Connection, since: datetime, run_id: str) -> dict[str, Any] | None:
    """Return the run's report. If the run has no report, say why and return None."""
    deadline = reached.clock.now() + PATIENCE
    end: function_log.Line | None = None
    while reached.clock.now() < deadline:
        if found := function_log.reports(reached, since, run_id=run_id):
            return found[-1]
        if end:
            if sweeping := function_log.sweeping_run(reached, since, run_id):
                say(f"Another sweep is under way, run {sweeping}; the command waits for that one.")
                return _followed(reached, since - _LONGEST_RUN, sweeping)
            for error in function_log.errors(reached, since, run_id, end) or ["its log does not say why"]:
                say(f"The run ended without a report: {error}")
            return None
        # Lines written before the end may arrive with it, so look once more.
        end = function_log.end_of(reached, since, run_id)
        reached.clock.sleep(_PAUSE_SECONDS)
    say(f"The run has not ended within {PATIENCE // timedelta(minutes=1)} minutes; its log will have the report.")
    return None


def _followed(reached: connection.Connection, since: datetime, run_id: str) -> dict[str, Any] | None:
    """Return the report of the other run, which kept this one from sweeping.

    If the other run has no report, say why and return None.
    """
    report = _report(reached, since, run_id)
    if report is None:
        minutes = _LONGEST_RUN // timedelta(minutes=1)
        say(f"No other sweep begins under the same policy until {minutes} minutes after that run started.")
    return report


def _write(form: Format, report: Mapping[str, Any]) -> None:
    regions = report["regions"]
    match form:
        case Format.JSON:
            write_json(report)
        case Format.CSV:
            write_csv(SWEEP_COLUMNS, [{"run_id": report["run_id"], "region": name} | regions[name] for name in regions])
        case Format.TABLE:
            idle = [name for name, part in regions.items() if _is_idle(part)]
            rows = [
                (
                    (name,),
                    (part["status"],),
                    outcomes(part["outcomes"]),
                    [*(part[key] for key in _PROBLEMS if key in part), *_defaults(part)],
                )
                for name, part in regions.items()
                if name not in idle
            ]
            write_table(("REGION", "STATUS", "OUTCOMES", "PROBLEM"), rows)
            if idle:
                say(f"Nothing to do in {_some_of(idle)}.")


def _defaults(part: Mapping[str, Any]) -> Cell:
    """The outcome of a region's account defaults, unless they already followed the policy."""
    defaults = part.get("defaults", {"outcome": Outcome.COMPLIANT})
    if defaults["outcome"] == Outcome.COMPLIANT:
        return []
    return [f"account defaults {defaults['outcome']}: {defaults['reason']}"]


def _is_idle(part: Mapping[str, Any]) -> bool:
    """True if nothing in the region differed from the policy, and nothing went wrong."""
    return {name: value for name, value in part.items() if name != "defaults"} == _IDLE and not _defaults(part)


def _some_of(regions: Sequence[str]) -> str:
    """The number of regions, and the names of the first few."""
    more = len(regions) - _NAMED
    named = [*regions[:_NAMED], f"{more} more"] if more > 0 else regions
    return f"{count(len(regions), 'region')}: {', '.join(named)}"
