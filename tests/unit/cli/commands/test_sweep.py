from __future__ import annotations

import csv
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.model import Outcome
from imds_enforcer.model.region_defaults import DefaultsResult
from imds_enforcer.reporting.report import RegionReport
from imds_enforcer_cli.commands.sweep import SWEEP_COLUMNS
from tests.fakes.clock import START
from tests.fakes.command import Command, lines
from tests.fakes.examples import AWAY, DENIED_BY_SCP, HOME, UNAUTHORIZED
from tests.fakes.stack import RUN

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients

DONE = {"status": "DONE", "outcomes": {"REMEDIATED": 2}}
END = f"END RequestId: {RUN}\n"


def a_report(run_id: str = RUN, **regions: dict[str, Any]) -> dict[str, Any]:
    """The log line with a run's report, by default over the home region only."""
    parts = {name.replace("_", "-"): part for name, part in regions.items()} or {HOME: DONE}
    outcomes: dict[str, int] = {}
    for part in parts.values():
        for outcome, count in part["outcomes"].items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    report = {"run_id": run_id, "trigger": "manual", "outcomes": outcomes, "regions": parts}
    return {"message": "run finished", "run_id": run_id, "report": report}


def test_the_command_waits_for_the_report(command: Command, clients: FakeClients) -> None:
    """The report appears in the log when the sweep ends."""
    command.stack.log.write(a_report("another-run"), {"message": "run finished soon", "run_id": RUN}, f"run {RUN}")
    clients.clock.at(60, lambda: command.stack.log.write(a_report(), at=clients.clock.now()))
    result = command("sweep")
    assert (result.exit_code, result.stderr) == (0, f"Started run {RUN}.\n")
    assert lines(result.stdout) == ["REGION STATUS OUTCOMES PROBLEM", f"{HOME} DONE 2 REMEDIATED"]
    [invocation] = command.stack.invocations
    assert invocation == {"FunctionName": "enforcer", "InvocationType": "Event", "Payload": "{}"}
    assert clients.clock.elapsed < 65


def test_the_report_as_json(command: Command) -> None:
    """It is the report that the function wrote."""
    command.stack.log.write(a_report())
    assert command.json("sweep") == a_report()["report"]


def test_the_report_as_csv(command: Command) -> None:
    """Each region has a row."""
    failed = RegionReport(failure=UNAUTHORIZED).as_json()
    command.stack.log.write(a_report(eu_west_1=DONE, us_east_1=failed))
    result = command("sweep", "--output", "csv")
    assert result.exit_code == 1
    first, second = csv.DictReader(result.stdout.splitlines())
    assert tuple(first) == SWEEP_COLUMNS
    assert (first["run_id"], first["region"], first["outcomes.REMEDIATED"]) == (RUN, HOME, "2")
    assert (second["region"], second["status"], second["error"]) == (AWAY, "REGION_FAILED", str(UNAUTHORIZED))


@pytest.mark.parametrize(("outcome", "exit_code"), [(Outcome.REMEDIATED, 0), (Outcome.FAILED, 1)])
def test_account_defaults_are_shown_unless_they_follow_the_policy(
    command: Command, outcome: Outcome, exit_code: int
) -> None:
    """If they could not be set, the exit code is 1."""
    changed = RegionReport(defaults=DefaultsResult(region=HOME, outcome=outcome, reason="why"))
    fine = RegionReport(defaults=DefaultsResult(region=AWAY, outcome=Outcome.COMPLIANT, reason="as wanted"))
    command.stack.log.write(a_report(eu_west_1=changed.as_json(), us_east_1=fine.as_json()))
    result = command("sweep")
    assert result.exit_code == exit_code
    assert lines(result.stdout)[1:] == [f"{HOME} DONE nothing to do account defaults {outcome}: why"]
    assert result.stderr.splitlines()[1:] == [f"Nothing to do in 1 region: {AWAY}."]


@pytest.mark.parametrize(
    ("idle", "said"),
    [
        ((AWAY,), f"1 region: {AWAY}"),
        (("a-1", "a-2", AWAY), f"3 regions: a-1, a-2, {AWAY}"),
        (tuple(f"a-{number:02}" for number in range(16)), "16 regions: a-00, a-01, a-02, 13 more"),
    ],
)
def test_regions_with_nothing_to_do_are_one_line(command: Command, idle: tuple[str, ...], said: str) -> None:
    """A sweep covers 17 regions or more, most without anything to show; JSON and CSV have all of them."""
    parts = {**dict.fromkeys(idle, RegionReport().as_json()), HOME: DONE}
    command.stack.log.write(a_report(RUN, **parts))
    result = command("sweep")
    assert lines(result.stdout) == ["REGION STATUS OUTCOMES PROBLEM", f"{HOME} DONE 2 REMEDIATED"]
    assert result.stderr.splitlines()[1:] == [f"Nothing to do in {said}."]
    assert command.json("sweep")["regions"] == parts
    rows = command("sweep", "--output", "csv").stdout.splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == [*idle, HOME]


def test_a_sweep_with_nothing_to_do(command: Command) -> None:
    """There is no table."""
    command.stack.log.write(a_report(eu_west_1=RegionReport().as_json()))
    result = command("sweep")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[1:] == [f"Nothing to do in 1 region: {HOME}."]


@pytest.mark.parametrize(
    "problem",
    [
        RegionReport(failure=UNAUTHORIZED),
        RegionReport(failure=DENIED_BY_SCP),
        RegionReport(stopped="too many failures"),
        RegionReport(ledger_failure=UNAUTHORIZED),
        RegionReport(defaults=DefaultsResult(region=AWAY, outcome=Outcome.SKIPPED, reason="managed")),
    ],
)
def test_a_region_with_a_problem_keeps_its_row(command: Command, problem: RegionReport) -> None:
    """It has a row even if there was nothing to do."""
    command.stack.log.write(a_report(us_east_1=problem.as_json()))
    result = command("sweep")
    assert lines(result.stdout)[1].startswith(f"{AWAY} {problem.status} nothing to do ")
    assert "Nothing to do" not in result.stderr


@pytest.mark.parametrize(
    ("part", "exit_code"),
    [
        ({"status": "DONE", "outcomes": {"FAILED": 1}}, 1),
        (RegionReport(failure=UNAUTHORIZED).as_json(), 1),
        (RegionReport(stopped="too many failures").as_json(), 1),
        (RegionReport(failure=DENIED_BY_SCP).as_json(), 0),
        ({"status": "DONE", "outcomes": {"DEFERRED": 1, "HELD": 1}}, 0),
        ({"status": "DONE", "outcomes": {}}, 0),
    ],
)
def test_the_exit_code_of_a_sweep(command: Command, part: dict[str, Any], exit_code: int) -> None:
    """Any failure makes it 1; instances left alone on purpose do not."""
    command.stack.log.write(a_report(eu_west_1=DONE, us_east_1=part))
    assert command("sweep").exit_code == exit_code


def test_the_reason_why_a_region_failed(command: Command) -> None:
    """The table has EC2's reason."""
    command.stack.log.write(a_report(us_east_1=RegionReport(failure=UNAUTHORIZED).as_json()))
    assert lines(command("sweep").stdout)[1] == f"{AWAY} REGION_FAILED nothing to do {UNAUTHORIZED}"


def test_a_sweep_that_was_cut_short(command: Command) -> None:
    """The command says so, with the reason, and ends with exit code 1."""
    line = a_report()
    line["report"]["stopped"] = "the policy was changed"
    command.stack.log.write(line)
    result = command("sweep")
    assert result.exit_code == 1
    assert "The run was cut short: the policy was changed.\n" in result.stderr


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            {"level": "ERROR", "message": "the policy is invalid: nothing was changed", "error": "mode", "run_id": RUN},
            "the policy is invalid: nothing was changed: mode",
        ),
        ("[ERROR] AwsError: Throttling: slow\nTraceback …", "[ERROR] AwsError: Throttling: slow"),
        (
            f"2026-11-22 {RUN} Task timed out after 900.00 seconds\n",
            f"2026-11-22 {RUN} Task timed out after 900.00 seconds",
        ),
        ({"level": "ERROR", "message": "i-1 failed", "instance_id": "i-1", "run_id": RUN}, "its log does not say why"),
    ],
)
def test_a_run_that_ends_without_a_report(command: Command, line: dict[str, Any] | str, why: str) -> None:
    """The reason is in its log."""
    command.stack.log.write("[ERROR] of the run before", f"START RequestId: {RUN} Version: 1\n", line, END)
    command.stack.log.write("[ERROR] of the run after", at=START + timedelta(seconds=1))
    command.stack.log.write("[ERROR] of another worker's", stream="second")
    result = command("sweep")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[1:] == [f"The run ended without a report: {why}"]


OTHER = "99999999-2222-3333-4444-555555555555"
ALREADY = {"level": "INFO", "message": "already running", "run_id": RUN, "sweeping_run": OTHER}


def test_the_command_waits_for_a_sweep_that_is_under_way(command: Command, clients: FakeClients) -> None:
    """That sweep may have begun long before; its report decides the exit code."""
    failed = RegionReport(failure=UNAUTHORIZED).as_json()
    command.stack.log.write({**ALREADY, "run_id": OTHER, "sweeping_run": "a third"}, ALREADY, END)
    clients.clock.at(60, lambda: command.stack.log.write(a_report(OTHER, us_east_1=failed), at=clients.clock.now()))
    result = command("sweep")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"Started run {RUN}.",
        f"Another sweep is under way, run {OTHER}; the command waits for that one.",
    ]
    assert lines(result.stdout)[1].startswith(f"{AWAY} REGION_FAILED")
    assert command.json("sweep", exit_code=1)["run_id"] == OTHER


def test_the_report_of_the_other_sweep_may_be_older_than_the_command(command: Command) -> None:
    """After its report, a run may look a second time or send mails."""
    command.stack.log.write(a_report(OTHER), at=START - timedelta(minutes=10))
    command.stack.log.write(ALREADY, END)
    assert command("sweep").exit_code == 0


def test_another_sweep_that_ends_without_a_report(command: Command) -> None:
    """Nothing was swept; the command says when another sweep can begin."""
    command.stack.log.write(ALREADY, END)
    timed_out = f"2026-11-22 {OTHER} Task timed out after 900.00 seconds"
    command.stack.log.write(
        f"START RequestId: {OTHER} Version: 1\n", f"{timed_out}\n", f"END RequestId: {OTHER}\n", stream="second"
    )
    result = command("sweep")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[2:] == [
        f"The run ended without a report: {timed_out}",
        "No other sweep begins under the same policy until 15 minutes after that run started.",
    ]


def test_a_report_that_arrives_after_the_end_is_not_missed(command: Command, clients: FakeClients) -> None:
    """Lines may reach the log late."""
    command.stack.log.write(END)
    clients.clock.at(1, lambda: command.stack.log.write(a_report(), at=START + timedelta(seconds=1)))
    assert command("sweep").exit_code == 0


def test_a_run_that_does_not_end(command: Command, clients: FakeClients) -> None:
    """It may still be waiting to start."""
    result = command("sweep")
    assert result.exit_code == 1
    assert "has not ended within 20 minutes" in result.stderr
    assert clients.clock.elapsed == pytest.approx(1200, abs=2)


def test_a_run_without_waiting(command: Command) -> None:
    """The command prints only the run id."""
    assert lines(command("sweep", "--no-wait").stdout) == ["RUN", RUN]
    assert command.json("sweep", "--no-wait") == {"run_id": RUN}
    assert json.loads(command.stack.invocations[1]["Payload"]) == {}
