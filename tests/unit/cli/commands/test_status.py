from __future__ import annotations

import csv
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.reporting import telemetry
from imds_enforcer_cli.commands.status import MINUTES, NAMESPACE, STATUS_COLUMNS
from tests.fakes import example_events as events
from tests.fakes.clock import START
from tests.fakes.command import Command, lines
from tests.fakes.example_events import a_message
from tests.fakes.examples import HOME, POLICY_PARAMETER, an_id, an_instance
from tests.fakes.runs import App
from tests.fakes.stack import OUTPUTS, refusal

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

WELL = {
    "well": True,
    "region": HOME,
    "stack": {"status": "UPDATE_COMPLETE", "changed": "2026-11-22T12:00:00+00:00", "version": "0.1.0"},
    "policy": {
        "valid": True,
        "problem": None,
        "http_tokens": "required",
        "mode": "enforce",
        "versions": {"http_tokens": 1, "policy": 1},
    },
    "last_sweep": {
        "at": "2026-11-22T11:59+00:00",
        "run_id": "run-2",
        "trigger": "schedule",
        "seconds": 2.5,
        "instances": 40,
        "outcomes": {"REMEDIATED": 3, "HELD": 1},
    },
    "last_effective_sweep": {
        "at": "2026-11-22T11:59+00:00",
        "run_id": "run-2",
        "trigger": "schedule",
        "seconds": 2.5,
        "instances": 40,
        "outcomes": {"REMEDIATED": 3, "HELD": 1},
    },
    "queue": {"waiting": 0, "in_flight": 0, "delayed": 0},
    "dead_letters": 0,
    "lost_invocations": 0,
    "holds": 0,
    "alarms": [],
    "refused_launchers": [],
}


def a_report(run_id: str, trigger: str, **outcomes: int) -> dict[str, Any]:
    """The log line with a run's report; by default it changed three instances and held one."""
    counts = {"seconds": 2.5, "instances": 40, "outcomes": outcomes or {"REMEDIATED": 3, "HELD": 1}}
    return {"message": "run finished", "report": {"run_id": run_id, "trigger": trigger, **counts}}


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, after a sweep that completed in the last minute."""
    command = Command(clients, monkeypatch)
    minute = START - timedelta(minutes=1)
    command.stack.watch.sweeps = [minute, minute - timedelta(minutes=15)]
    command.stack.watch.outcomes = {"HELD": [minute], "REMEDIATED": [minute, minute - timedelta(minutes=15)]}
    command.stack.log.write(a_report("run-1", "schedule"), at=START - timedelta(minutes=16))
    command.stack.log.write(a_report("run-2", "schedule"), a_report("run-3", "events"), at=START - timedelta(seconds=5))
    return command


def test_all_is_well(command: Command) -> None:
    """Each part has a line."""
    result = command("status")
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines(result.stdout) == [
        "WHAT STATE",
        "stack UPDATE_COMPLETE; version 0.1.0, since 2026-11-22T12:00:00+00:00",
        "policy HttpTokens required, mode enforce; versions 1 (HttpTokens) and 1 (policy)",
        "last sweep 2026-11-22T11:59+00:00; schedule, 2.5 s: 3 REMEDIATED, 1 HELD; run run-2",
        "event queue 0 waiting, 0 in flight, 0 delayed",
        "dead-letter queue 0 messages",
        "lost invocations 0 messages",
        "holds 0",
        "alarms none",
    ]


def test_all_is_well_as_json(command: Command) -> None:
    """A monitoring check can read it."""
    assert command.json("status") == WELL


def test_status_as_csv(command: Command) -> None:
    """It has one row."""
    command.stack.watch.raise_alarm("No sweep", "1 of 1")
    result = command("status", "--output", "csv")
    [row] = csv.DictReader(result.stdout.splitlines())
    assert tuple(row) == STATUS_COLUMNS
    assert (row["well"], row["last_sweep.outcomes.REMEDIATED"], row["alarms"]) == ("false", "3", "No sweep")


def test_an_alarm_that_is_raised(command: Command) -> None:
    """The line has the alarm's meaning and CloudWatch's reason."""
    command.stack.watch.raise_alarm("A sweep could not cover a region", "1 of 2 periods")
    result = command("status")
    assert result.exit_code == 1
    assert lines(result.stdout)[-1] == (
        "alarms A sweep could not cover a region (since 2026-11-22T12:00:00+00:00): 1 of 2 periods"
    )
    [alarm] = command.json("status", exit_code=1)["alarms"]
    assert (alarm["name"], alarm["reason"]) == ("ImdsEnforcer-Alarms0", "1 of 2 periods")


def test_events_that_were_given_up(command: Command) -> None:
    """The exit code is 1; `redrive` moves them back."""
    command.stack.queues.depth |= {"lost": 2, "events": 5}
    document = command.json("status", exit_code=1)
    assert (document["dead_letters"], document["queue"]["waiting"]) == (2, 5)


def test_invocations_that_were_lost(command: Command) -> None:
    """The line says what to do: a sweep replaces them, and purging the queue ends the alarm."""
    command.stack.queues.depth["invocations"] = 2
    result = command("status")
    assert result.exit_code == 1
    assert lines(result.stdout)[6] == (
        "lost invocations 2 messages; run imds-enforcer sweep, then aws sqs purge-queue --queue-url "
        "https://sqs/invocations"
    )
    document = command.json("status", exit_code=1)
    assert (document["lost_invocations"], document["well"]) == (2, False)


def test_an_older_stack_without_a_queue_of_lost_invocations(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else is shown."""
    monkeypatch.delitem(OUTPUTS, "LostInvocationsQueueUrl")
    assert command.json("status") == WELL | {"lost_invocations": None}
    assert not any(line.startswith("lost invocations") for line in lines(command("status").stdout))


def test_an_invalid_policy(clients: FakeClients, command: Command) -> None:
    """Nothing is enforced, so the exit code is 1."""
    clients.ssm.put(POLICY_PARAMETER, "[]")
    result = command("status")
    assert result.exit_code == 1
    assert lines(result.stdout)[2].startswith("policy INVALID; policy is []; allowed: ")


@pytest.mark.parametrize(("state", "exit_code"), [("UPDATE_ROLLBACK_FAILED", 1), ("UPDATE_ROLLBACK_COMPLETE", 0)])
def test_the_state_of_the_stack(command: Command, state: str, exit_code: int) -> None:
    """A completed rollback is well; a failed one is not."""
    command.stack.stack = {"StackStatus": state, "CreationTime": START}
    assert command("status").exit_code == exit_code


def test_waiting_events_are_well(command: Command) -> None:
    """The function is working on them."""
    command.stack.queues.depth["events"] = 5
    assert command("status").exit_code == 0


def test_without_any_sweep(command: Command) -> None:
    """That alone does not affect the exit code: an alarm is raised if a sweep is missing."""
    command.stack.watch.sweeps = []
    assert "last sweep none within three days" in lines(command("status").stdout)
    document = command.json("status")
    assert (document["last_sweep"], document["last_effective_sweep"]) == (None, None)


def test_a_sweep_whose_report_is_gone(command: Command) -> None:
    """The metric still has its time."""
    command.stack.log.lines.clear()
    assert lines(command("status").stdout)[3] == "last sweep 2026-11-22T11:59+00:00"


NO_EFFECT = {"COMPLIANT": 2, "EXEMPT": 1, "SKIPPED": 1, "GONE": 1, "WOULD_REMEDIATE": 1}


def quiet_sweeps(command: Command, number: int, *, minutes: int = 15) -> None:
    """Let this many sweeps without an effect follow; during each, an event has an effect."""
    watch, clock = command.stack.watch, command.clock
    for each in range(number):
        clock.advance(minutes * 60)
        watch.sweeps.append(clock.now())
        watch.outcomes["REMEDIATED"].append(clock.now())
        command.stack.log.write(
            a_report(f"quiet-{each}", "second-look", **NO_EFFECT), a_report("event", "events"), at=clock.now()
        )


@pytest.mark.parametrize("number", [1, 4])
def test_the_last_sweep_with_an_effect(command: Command, number: int) -> None:
    """A later sweep without an effect does not hide it."""
    quiet_sweeps(command, number)
    document = command.json("status")
    assert (document["last_sweep"]["run_id"], document["last_sweep"]["outcomes"]) == (f"quiet-{number - 1}", NO_EFFECT)
    assert document["last_effective_sweep"] == WELL["last_effective_sweep"]
    table = lines(command("status").stdout)
    assert table[3].endswith(f"run quiet-{number - 1}")
    assert table[4] == (
        "last sweep with effect 2026-11-22T11:59+00:00; schedule, 2.5 s: 3 REMEDIATED, 1 HELD; run run-2"
    )
    assert table[5].startswith("event queue")
    [row] = csv.DictReader(command("status", "--output", "csv").stdout.splitlines())
    assert (row["last_effective_sweep.run_id"], row["last_effective_sweep.outcomes.HELD"]) == ("run-2", "1")


def test_a_second_look_within_the_same_minute(command: Command) -> None:
    """It may begin three seconds after the first sweep."""
    command.stack.log.write(a_report("run-4", "second-look", **NO_EFFECT), at=START - timedelta(seconds=1))
    document = command.json("status")
    assert [document[name]["run_id"] for name in ("last_sweep", "last_effective_sweep")] == ["run-4", "run-2"]


@pytest.mark.parametrize("outcome", ["REMEDIATED", "PENDING", "HELD", "CONTESTED", "DEFERRED", "FAILED"])
def test_what_counts_as_an_effect(command: Command, outcome: str) -> None:
    """It is an instance that a sweep changed, tried to change or kept back."""
    now = command.clock.now()
    command.stack.watch.sweeps.append(now)
    command.stack.watch.outcomes = {outcome: [now - timedelta(minutes=1)]}  # counted before the minute was over
    command.stack.log.write(a_report("run-4", "schedule", **{outcome: 1}), at=now)
    assert command.json("status")["last_effective_sweep"]["run_id"] == "run-4"


def test_the_search_for_a_sweep_with_an_effect_is_limited(command: Command) -> None:
    """If events keep having effects, it reads few minutes of the log; without any effect it reads none."""
    quiet_sweeps(command, 7)
    command.stack.log.requests = 0
    assert command.json("status")["last_effective_sweep"] is None
    assert command.stack.log.requests == MINUTES
    assert "last sweep with effect none found within three days" in lines(command("status").stdout)
    command.stack.watch.outcomes.clear()
    command.stack.log.requests = 0
    assert command.json("status")["last_effective_sweep"] is None
    assert command.stack.log.requests == 1


def test_holds_are_counted(command: Command, home: FakeEc2) -> None:
    """The number is that of the holds in force."""
    home.launch(an_instance(1))
    command("hold", an_id(1), "--reason", "audit")
    assert command.json("status")["holds"] == 1


def test_refused_launches(command: Command, clients: FakeClients) -> None:
    """Each launcher has a line; the refusals are intended, so all is well."""
    earlier = (START - timedelta(hours=1)).isoformat()
    refused_group = events.refused_launch(
        "e-2", identity=events.BY_AUTO_SCALING, request=events.of_group(), time=earlier
    )
    App(clients).batch(
        a_message(events.refused_launch("e-1"), "m-1"),
        a_message(refused_group, "m-2"),
    )
    result = command("status")
    assert result.exit_code == 0
    alice = (
        "arn:aws:iam::111122223333:user/alice in eu-west-1, with image ami-1: refused once, at 2026-11-22 12:00 UTC; "
        "HttpTokensEnforced is enabled. To do: set MetadataOptions.HttpTokens=required in the request."
    )
    table = [line for line in lines(result.stdout) if line.startswith("launches refused ")]
    assert table[0] == f"launches refused {alice}"
    assert "Auto Scaling group web" in table[1]
    document = command.json("status")
    assert document["well"]
    assert [each["auto_scaling_group"] for each in document["refused_launchers"]] == [None, "web"]
    [row] = csv.DictReader(command("status", "--output", "csv").stdout.splitlines())
    assert alice in row["refused_launchers"]
    assert "Auto Scaling group web" in row["refused_launchers"]


def test_a_service_that_refuses_the_call(command: Command) -> None:
    """The error is the service's, on one line."""
    command.stack.watch.error = refusal("AccessDenied", "not authorized to perform cloudwatch:GetMetricData")
    refused = "imds-enforcer: AccessDenied: not authorized to perform cloudwatch:GetMetricData"
    assert command.refusal("status") == refused


def test_the_namespace_is_the_one_of_the_metrics() -> None:
    """It is repeated in the command, which must not import the module that publishes metrics."""
    assert NAMESPACE == telemetry.NAMESPACE
