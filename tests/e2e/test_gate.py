"""Requiring tokens of a fleet with unknown IMDSv1 callers: instances that still call IMDSv1 are held and named."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.demo.rollout_fleet import A_DAY, EXEMPTION, launch_rollout_fleet, put_calls
from tests.e2e.stage import HOME, Stage

ASK = "cloudwatch:GetMetricData"
GATED = {"exemptions": [EXEMPTION], "legacy_calls": {}}


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """The instances whose options differ."""
    return {each for each, options in before.items() if {**options, "State": None} != {**after[each], "State": None}}


@pytest.mark.policy(GATED)
def test_only_instances_that_call_imdsv1_are_held_and_named(stage: Stage) -> None:
    """One request to CloudWatch covers all instances, and serves the next sweep too.

    The gate applies to a restart but not to a first launch: no program can depend on the options yet.
    """
    fleet = launch_rollout_fleet(stage.aws, HOME)
    before = stage.options(fleet.all)
    report = stage.invoke({})
    assert report["outcomes"] == {"REMEDIATED": 30, "EXEMPT": 5, "HELD": 20}
    after = stage.options(fleet.all)
    assert changed(before, after) == {*fleet.changeable}
    assert {after[each]["HttpTokens"] for each in fleet.changeable} == {"required"}
    assert {after[each]["HttpPutResponseHopLimit"] for each in fleet.container_hosts} == {2}
    held = {each["instance_id"]: each["reason"] for each in report["kept_back"]}
    day = (datetime.now(UTC) - timedelta(days=3)).date()
    assert held == {
        each: f"{number + 1} IMDSv1 call{'s' if number else ''} in 14 days, the last on {day}; "
        "gated until the calls stop; IMDS Packet Analyzer finds the caller; HttpTokens is optional, not required"
        for number, each in enumerate(fleet.callers)
    }
    assert stage.calls()[ASK] == 1
    assert stage.invoke({})["outcomes"] == {"EXEMPT": 5, "HELD": 20}
    assert stage.calls()[ASK] == 1
    caller = fleet.callers[0]
    ec2 = stage.aws.client("ec2", HOME)
    ec2.stop_instances(InstanceIds=[caller])
    ec2.start_instances(InstanceIds=[caller])
    [line] = stage.wait_for_lines(instance_id=caller, outcome="HELD", trigger="running")
    assert "1 IMDSv1 call in 14 days" in line["reason"]
    [new] = stage.aws.launch(HOME, HttpTokens="optional")
    stage.wait_for([new], HttpTokens="required")


@pytest.mark.policy({"legacy_calls": {"by": "group"}})
def test_a_group_that_calls_imdsv1_is_held_with_its_new_instances(stage: Stage) -> None:
    """One request to CloudWatch covers all groups. After the gate's last day every instance is enforced."""
    web, batch = "web/blue [1] a", "batch"
    stage.aws.knobs(attached_seconds=A_DAY)
    with stage.unseen():
        caller, sibling = stage.aws.launch(HOME, 2, auto_scaling_group=web, HttpTokens="optional")
        [other] = stage.aws.launch(HOME, auto_scaling_group=batch, HttpTokens="optional")
    stage.aws.knobs(attached_seconds=0)
    at = datetime.now(UTC) - timedelta(days=3)
    put_calls(stage.aws, HOME, "MetadataNoToken", {caller: 2, other: 0}, at)
    put_calls(stage.aws, HOME, "MetadataNoTokenRejected", {sibling: 3}, at)
    report = stage.invoke({})
    assert report["outcomes"] == {"REMEDIATED": 1, "HELD": 2}
    assert {each["instance_id"] for each in report["kept_back"]} == {caller, sibling}
    counted = (
        f"Auto Scaling group {web}: 5 IMDSv1 calls in 14 days, the last on {at.date()}; gated until the calls stop; "
    )
    assert all(each["reason"].startswith(counted) for each in report["kept_back"])
    [new] = stage.aws.launch(HOME, auto_scaling_group=web, HttpTokens="optional")
    [new_other] = stage.aws.launch(HOME, auto_scaling_group=batch, HttpTokens="optional")
    stage.wait_for_lines(instance_id=new, outcome="HELD")
    stage.wait_for([new_other], HttpTokens="required")
    assert stage.aws.metadata_options(new, HOME)["HttpTokens"] == "optional"
    assert stage.calls()[ASK] == 1
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    stage.set_policy({"legacy_calls": {"by": "group", "enforce_after": yesterday}})
    stage.wait_for([caller, sibling, new], HttpTokens="required")
