"""A sweep by the operator's command, beside the deployed enforcer."""

import json
import signal
import subprocess
import time
from typing import Any

import pytest

from infra.demo.rollout_fleet import EXEMPTION, launch_rollout_fleet
from infra.local import operator
from infra.local.waiting import until
from tests.e2e.organization import operator_arn
from tests.e2e.stage import FORWARDED, HOME, MODIFY, PATIENCE_SECONDS, Stage
from tests.e2e.test_revert import options

GATED = {"exemptions": [EXEMPTION], "legacy_calls": {}}
NUMBER = 160
STOP_SECONDS = 20


@pytest.mark.policy(GATED)
def test_it_does_the_same_as_the_deployed_enforcer(stage: Stage) -> None:
    """With gate, exemptions and container hosts. The ledger names the operator; a revert leaves later changes alone."""
    fleet = launch_rollout_fleet(stage.aws, HOME)
    before = options(stage, fleet.all)
    rehearsed = operator.answer(stage.aws, "enforce", "--dry-run")
    assert {each["instance_id"] for each in rehearsed["instances"]} == {*fleet.changeable}
    assert stage.aws.calls(MODIFY) == 0
    done = operator.answer(stage.aws, "enforce", "--yes")
    assert done["report"]["outcomes"] == {"REMEDIATED": 30, "EXEMPT": 5, "HELD": 20}
    assert stage.invoke({})["outcomes"] == {"EXEMPT": 5, "HELD": 20}
    history = operator.answer(stage.aws, "history", "--run", done["run_id"])
    assert {entry["instance_id"] for entry in history} == {*fleet.changeable}
    assert {entry["by"] for entry in history} == {operator_arn(stage)}
    assert {(entry["trigger"], entry["outcome"]) for entry in history} == {("command", "REMEDIATED")}
    touched = fleet.plain[0]
    with stage.unseen():
        stage.aws.client("ec2", HOME).modify_instance_metadata_options(
            InstanceId=touched, HttpTokens="required", HttpEndpoint="enabled", HttpPutResponseHopLimit=7
        )
    reverted = operator.run(stage.aws, "revert", "--run", done["run_id"], "--yes", "--output", "json")
    assert reverted.returncode == 1, reverted.stderr
    [left] = [each["left"] for each in json.loads(reverted.stdout)["instances"] if each["left"]]
    assert left == ["HttpPutResponseHopLimit is 7, not 1"]
    assert options(stage, fleet.all) == before | {touched: {**before[touched], "HttpPutResponseHopLimit": 7}}


def test_it_stops_and_reports_what_it_did(stage: Stage) -> None:
    """Report, ledger and EC2 agree on what was changed."""
    with stage.unseen():
        stage.aws.knobs(request_buckets="published")
        ids = stage.aws.launch(HOME, NUMBER, HttpTokens="optional")
        elsewhere = stage.aws.launch(FORWARDED, 5, HttpTokens="optional")
        status, document, seconds = interrupted(stage, signal.SIGTERM, after=NUMBER - 40)
        stage.aws.knobs(request_buckets="off")
        assert status == 130
        assert seconds < STOP_SECONDS
        reported = {each["instance_id"] for each in document["instances"] if each["outcome"] == "REMEDIATED"}
        shown = {each for each, options in stage.options(ids).items() if options["HttpTokens"] == "required"}
        assert reported == {*shown, *elsewhere}
        assert 0 < len(shown) < NUMBER
        left = NUMBER - len(shown)
        assert document["report"]["outcomes"] == {"REMEDIATED": len(reported), "DEFERRED": left}
        assert document["report"]["stopped"] == "interrupted"
        history = operator.answer(stage.aws, "history", "--run", document["run_id"])
        assert {entry["instance_id"] for entry in history if entry["outcome"] == "REMEDIATED"} == reported
        assert [entry for entry in history if entry["outcome"] is None] == []
        assert operator.answer(stage.aws, "enforce", "--yes")["report"]["outcomes"] == {"REMEDIATED": left}


def test_a_call_that_hangs_does_not_keep_it_from_stopping(stage: Stage) -> None:
    """The others were changed; the report names the instance of that call, whose change is unconfirmed."""
    with stage.unseen():
        # The command first tests its permission on the instance with the lowest id: that must not be the hanging one.
        *others, hanging = sorted(stage.aws.launch(HOME, 5, HttpTokens="optional"))
        stage.aws.fail(MODIFY, kind="hang", seconds=30, instance_id=hanging)
        status, document, seconds = interrupted(stage, signal.SIGINT, after=len(others))
        assert status == 130
        assert seconds < STOP_SECONDS
        outcomes = {each["instance_id"]: each["outcome"] for each in document["instances"]}
        assert outcomes == {**dict.fromkeys(others, "REMEDIATED"), hanging: "FAILED"}
        [unknown] = [each for each in document["instances"] if each["code"]]
        assert unknown["reason"].startswith("ReadTimeoutError: ")


def interrupted(stage: Stage, number: signal.Signals, *, after: int) -> tuple[int, dict[str, Any], float]:
    """Interrupt a sweep after this many change requests; returns exit code, document, and seconds until its end."""
    stage.aws.reset_calls()
    sweeping = subprocess.Popen(  # noqa: S603  # our own command
        [str(operator.COMMAND), "enforce", "--yes", "--output", "json"],
        env=stage.aws.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: stage.aws.calls(MODIFY), lambda calls: calls >= after, seconds=PATIENCE_SECONDS)
        asked = time.monotonic()
        sweeping.send_signal(number)
        written, said = sweeping.communicate(timeout=PATIENCE_SECONDS)
        seconds = time.monotonic() - asked
    finally:
        sweeping.kill()
        sweeping.wait()
    assert "Stopping: no further change begins" in said
    return sweeping.returncode, json.loads(written), seconds


def test_errors_that_a_user_can_fix_show_no_traceback(stage: Stage) -> None:
    """The installed command prints one line."""
    for more, said in (
        ({"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN000000000"}, "imds-enforcer: "),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "imds-enforcer: EndpointConnectionError: "),
    ):
        done = operator.run(stage.aws, "enforce", "--yes", environment={**stage.aws.environment(), **more})
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(said)
