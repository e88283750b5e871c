"""An operator's revert: it undoes each change exactly, and the enforcer does not repeat it."""

from typing import Any

import pytest

from infra.demo.rollout_fleet import EXEMPTION, RolloutFleet, launch_rollout_fleet
from infra.local import operator
from tests.e2e.organization import operator_arn
from tests.e2e.stage import HOME, Stage

GATED = {"exemptions": [EXEMPTION], "legacy_calls": {}}


def options(stage: Stage, ids: list[str]) -> dict[str, dict[str, Any]]:
    """The options of instances, without whether they are applied yet."""
    return {each: {**shown, "State": None} for each, shown in stage.options(ids).items()}


def rolled_out(stage: Stage) -> tuple[RolloutFleet, dict[str, dict[str, Any]], str]:
    """A fleet that one run has changed, its options from before, and the run's id."""
    fleet = launch_rollout_fleet(stage.aws, HOME)
    before = options(stage, fleet.all)
    report = stage.invoke({})
    assert report["outcomes"]["REMEDIATED"] == 30
    return fleet, before, report["run_id"]


@pytest.mark.policy(GATED)
def test_a_run_is_reverted_exactly_and_stays_reverted(stage: Stage) -> None:
    """All thirty instances: no sweep, restart or drift event changes one until its release."""
    fleet, before, run = rolled_out(stage)
    history = operator.answer(stage.aws, "history", "--run", run)
    assert {entry["instance_id"] for entry in history} == {*fleet.changeable}
    assert {entry["outcome"] for entry in history} == {"REMEDIATED"}
    reverted = operator.answer(stage.aws, "revert", "--run", run, "--yes", "--reason", "the shop is down")
    assert {each["outcome"] for each in reverted["instances"]} == {"REMEDIATED"}
    assert options(stage, fleet.all) == before
    stage.forget_log()
    assert stage.invoke({})["outcomes"] == {"HELD": 50, "EXEMPT": 5}
    restarted, drifting = fleet.plain[0], fleet.plain[1]
    ec2 = stage.aws.client("ec2", HOME)
    ec2.stop_instances(InstanceIds=[restarted])
    ec2.start_instances(InstanceIds=[restarted])
    line = stage.wait_for_outcome(restarted, "HELD")
    assert "the shop is down" in line["reason"]
    assert f"by {operator_arn(stage)}" in line["reason"]
    stage.drift(drifting)
    stage.wait_for_lines(instance_id=drifting, outcome="HELD", trigger="drift")
    assert options(stage, fleet.all) == before
    # An event still in the queue would count as drift after the release.
    stage.drain()
    operator.answer(stage.aws, "release", *fleet.changeable)
    assert stage.invoke({})["outcomes"] == {"REMEDIATED": 30, "HELD": 20, "EXEMPT": 5}
