"""An operator runs the deployed enforcer with the installed command alone."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from imds_enforcer_cli import VERSION
from infra.local import operator
from infra.local.waiting import until
from tests.e2e.stage import HOME, PATIENCE_SECONDS, Stage
from tests.fakes import example_events
from tests.integration.local_resources import assumed, role

AUDIT = {"mode": "audit"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a policy in audit mode."""
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(AUDIT))
    return path


def run(stage: Stage, *arguments: str, ends: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command; it must end with this exit code."""
    done = operator.run(stage.aws, *arguments)
    assert done.returncode == ends, done.stderr
    return done


def status(stage: Stage) -> Any:
    """The document of `status`, whatever its exit code."""
    return json.loads(operator.run(stage.aws, "status", "--output", "json").stdout)


def test_a_policy_is_stored_and_starts_a_sweep(stage: Stage, file: Path) -> None:
    """A weaker policy needs a yes. The change itself starts the sweep, and `policy show` shows the policy in force."""
    refused = run(stage, "policy", "set", str(file), ends=2)
    assert "This weakens the policy: the enforcer only audits instances, and no longer changes them." in refused.stderr
    stored = operator.answer(stage.aws, "policy", "set", str(file), "--yes")
    assert stored["differences"] == [{"field": "mode", "now": "enforce", "then": "audit"}]
    assert stage.settle(policy=stored["version"])["mode"] == "audit"
    shown = operator.answer(stage.aws, "policy", "show")
    assert (shown["valid"], shown["http_tokens"], shown["policy"]["mode"]) == (True, "required", "audit")
    assert shown["versions"]["policy"] == stored["version"]


def test_a_sweep_is_started_and_followed(stage: Stage) -> None:
    """The command shows the report of that run from the log; `status` shows the run and the number of holds."""
    with stage.unseen():
        held, *ids = stage.aws.launch(HOME, 3, HttpTokens="optional", HttpEndpoint="enabled")
    operator.answer(stage.aws, "hold", held, "--reason", "under repair")
    report = operator.answer(stage.aws, "sweep")
    assert (report["trigger"], report["outcomes"]) == ("manual", {"REMEDIATED": 2, "HELD": 1})
    history = operator.answer(stage.aws, "history", "--run", report["run_id"])
    assert {entry["instance_id"] for entry in history} == {*ids}
    seen = until(lambda: status(stage), lambda found: (found["last_sweep"] or {}).get("run_id") == report["run_id"])
    assert seen["last_effective_sweep"]["outcomes"] == report["outcomes"]
    assert (seen["stack"]["version"], seen["holds"], seen["dead_letters"]) == (VERSION, 1, 0)
    assert seen["policy"]["versions"] == report["policy_versions"]


def test_a_sweep_under_an_invalid_policy_says_why_there_is_no_report(stage: Stage) -> None:
    """Exit code 1, in one line."""
    stage.spoil()
    stage.set_policy("{")
    done = run(stage, "sweep", ends=1)
    assert "The run ended without a report: the policy is invalid: nothing was changed: policy is not" in done.stderr


def test_dead_letters_are_shown_and_moved_back(stage: Stage) -> None:
    """After the move the event is handled like any other; SQS lists the move late."""
    with stage.unseen():
        [instance] = stage.aws.launch(HOME, HttpTokens="optional", HttpEndpoint="enabled")
    event = example_events.running(instance, account=stage.aws.account, region=HOME)
    lost = stage.outputs["DeadLetterQueueUrl"]
    stage.aws.client("sqs").send_message(QueueUrl=lost, MessageBody=json.dumps(event))
    assert status(stage)["dead_letters"] == 1
    raised = until(lambda: status(stage)["alarms"], seconds=PATIENCE_SECONDS)
    meaning = "Events that could not be delivered or processed are in the dead-letter queue"
    assert meaning in {each["meaning"] for each in raised}
    stage.aws.knobs(move_listing_seconds=1)
    assert operator.answer(stage.aws, "redrive")["moved"] == 1
    stage.wait_for([instance], HttpTokens="required")


def permitted(stage: Stage, name: str, *actions: str) -> dict[str, str]:
    """The environment of someone with only these permissions."""
    keys = assumed(stage.aws, role(stage.aws, name, {"Action": [*actions], "Resource": "*"}))
    return stage.aws.environment() | {name.upper(): value for name, value in keys.items()}


def run_as(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in another environment."""
    command = [str(operator.COMMAND), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603


def test_without_permission_there_is_one_line(stage: Stage) -> None:
    """The line has AWS's own words, and the exit code is 2."""
    onlooker = permitted(stage, "onlookers", "cloudformation:DescribeStacks")
    for command in ("sweep", "redrive"):
        done = run_as(onlooker, command)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("imds-enforcer: AccessDenied")
        assert done.stderr.count("\n") == 1


def test_a_missing_permission_to_change_is_reported_once(stage: Stage) -> None:
    """Before the first change, and in one line for all instances."""
    with stage.unseen():
        ids = stage.aws.launch(HOME, 8, HttpTokens="optional")
        looking = ("cloudformation:DescribeStacks", "sts:GetCallerIdentity", "ssm:GetParameters", "ec2:Describe*")
        looker = permitted(stage, "lookers", *looking, "dynamodb:Query", "dynamodb:Scan", "dynamodb:BatchWriteItem")
        done = run_as(looker, "enforce", "--yes", "--regions", HOME)
        assert done.returncode == 2
        assert done.stderr.startswith("imds-enforcer: you may not change these instances: UnauthorizedOperation: ")
        assert done.stderr.count("\n") == 1
        assert {options["HttpTokens"] for options in stage.options(ids).values()} == {"optional"}
