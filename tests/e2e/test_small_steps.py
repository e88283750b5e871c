"""A policy that reaches the fleet in small steps, and stops where changes fail."""

import itertools

import pytest

from infra.local.client import LocalAws
from tests.e2e.stage import FORWARDED, HOME, MODIFY, REGIONS, Stage

A_DAY = 24 * 3600
DEFAULTS = "ec2:GetInstanceMetadataDefaults"


def existing(aws: LocalAws, count: int, region: str = HOME, tokens: str = "optional") -> list[str]:
    """Instances that were launched a day ago, without events."""
    aws.knobs(attached_seconds=A_DAY, state_change_events=False, cloudtrail_events=False)
    ids = aws.launch(region, count, HttpTokens=tokens)
    aws.knobs(attached_seconds=0, state_change_events=True, cloudtrail_events=True)
    return ids


@pytest.mark.policy({"rollout_percent": 0})
def test_rollout_percent_applies_to_existing_instances_and_not_to_launches(stage: Stage) -> None:
    """Even though the event of a restart looks the same as that of a launch."""
    stage.aws.knobs(attached_seconds=A_DAY)
    [old] = stage.aws.launch(HOME, HttpTokens="optional")
    line = stage.wait_for_outcome(old, "SKIPPED")
    assert line["reason"] == "outside the current rollout (0 % of existing instances)"
    stage.aws.knobs(attached_seconds=0)
    [new] = stage.aws.launch(HOME, HttpTokens="optional")
    stage.wait_for([new], HttpTokens="required")
    assert stage.invoke({})["outcomes"] == {"SKIPPED": 1}
    assert stage.writes() == 1
    stage.set_policy({"rollout_percent": 100})
    stage.wait_for([old], HttpTokens="required")


@pytest.mark.policy({"launch_grace_seconds": 5})
def test_a_launch_is_fixed_after_its_grace(stage: Stage) -> None:
    """Its message comes back when the grace is over, and not before."""
    stage.warm_up()  # so that the message first arrives within the grace
    [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    line = stage.wait_for_outcome(instance, "DEFERRED")
    assert line["reason"] == "launched less than 5 s ago, still in the launch grace period for its boot scripts"
    stage.wait_for([instance], HttpTokens="required")
    assert stage.writes() == 1


@pytest.mark.policy({"max_changes_per_sweep": 5})
def test_max_changes_per_sweep_counts_over_all_regions(stage: Stage) -> None:
    """The next sweep changes the rest."""
    for region in REGIONS:
        existing(stage.aws, 4, region)
    assert stage.invoke({})["outcomes"] == {"REMEDIATED": 5, "DEFERRED": 3}
    assert stage.writes() == 5
    assert stage.invoke({})["outcomes"] == {"REMEDIATED": 3}
    assert stage.writes() == 8


def test_a_sweep_leaves_a_region_alone_in_which_changes_fail(stage: Stage) -> None:
    """It counts in the alarm's metric; the other region goes on."""
    there, here = existing(stage.aws, 60, FORWARDED), existing(stage.aws, 5)
    stage.aws.fail(MODIFY, "InternalError", status=500, region=FORWARDED)
    report = stage.invoke({})
    assert {each["HttpTokens"] for each in stage.options(here).values()} == {"required"}
    outcomes = report["regions"][FORWARDED]["outcomes"]
    assert outcomes.keys() == {"FAILED", "DEFERRED"}
    # Only the changes already under way fail; each is tried three times.
    assert outcomes["FAILED"] < 30 < outcomes["DEFERRED"]
    assert stage.aws.calls(MODIFY, region=FORWARDED) == 3 * outcomes["FAILED"]
    assert "changes in this region failed, the last with InternalError" in report["regions"][FORWARDED]["stopped"]
    assert stage.metric("RegionStopped", FORWARDED) == 1
    stage.aws.clear_faults()
    assert stage.invoke({})["outcomes"] == {"REMEDIATED": len(there)}


def test_an_instance_that_someone_keeps_changing_back_is_left_to_the_sweep(stage: Stage) -> None:
    """From the fourth time on; the event's outcome and the sweep's name the principal."""
    stage.aws.knobs(attached_seconds=A_DAY)
    [instance] = stage.aws.launch(HOME, HttpTokens="required")
    stage.wait_for_outcome(instance, "COMPLIANT")
    stage.drain()
    for fixes in itertools.count(1):
        stage.drift(instance)
        if fixes > 3:  # three drift fixes within an hour make it contested
            break
        stage.wait_for_lines(fixes, instance_id=instance, outcome="REMEDIATED", trigger="drift")
    line = stage.wait_for_outcome(instance, "CONTESTED")
    assert f"repeatedly changed back by someone else, last by arn:aws:iam::{stage.aws.account}:root" in line["reason"]
    stage.drain()
    assert stage.options([instance])[instance]["HttpTokens"] == "optional"
    writes = stage.writes()
    assert stage.invoke({})["outcomes"] == {"REMEDIATED": 1}
    assert stage.writes() == writes + 1
    [line] = stage.wait_for_lines(instance_id=instance, outcome="REMEDIATED", trigger="manual")
    assert f"last by arn:aws:iam::{stage.aws.account}:root" in line["reason"]
