"""The sweep: each region on its own, on schedule and by hand."""

import pytest

from infra.local.waiting import until
from tests.e2e.stage import FORWARDED, HOME, PATIENCE_SECONDS, Stage


def test_a_region_that_fails_stops_no_other(stage: Stage) -> None:
    """Report and metric show it, and the sweep counts as completed."""
    with stage.unseen():
        [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    names = [("RegionFailed", ""), ("RegionFailed", FORWARDED), ("SweepCompleted", "")]
    before = [stage.metric(*name) for name in names]
    stage.aws.fail("ec2:DescribeInstances", "InternalError", status=500, region=FORWARDED, caller=stage.caller)
    report = stage.invoke({})
    failed = report["regions"].pop(FORWARDED)
    assert (failed["status"], failed["error"].partition(":")[0]) == ("REGION_FAILED", "InternalError")
    assert {region["status"] for region in report["regions"].values()} == {"DONE"}
    assert [stage.metric(*name) for name in names] == [count + 1 for count in before]
    assert stage.options([instance])[instance]["HttpTokens"] == "required"


def test_a_region_that_the_organization_denies_is_no_failure(stage: Stage) -> None:
    """Each sweep tries it; only the inventory reports it, with a metric of its own that no alarm watches."""
    names = [("REGION_DENIED", ""), ("REGION_DENIED", FORWARDED), ("RegionFailed", "")]
    before = [stage.metric(*name) for name in names]
    stage.aws.deny("ec2:DescribeInstances", region=FORWARDED, caller=stage.caller)
    stage.aws.reset_calls()
    regions = stage.invoke({})["regions"]
    assert FORWARDED not in regions
    assert {region["status"] for region in regions.values()} == {"DONE"}
    assert stage.aws.calls("ec2:DescribeInstances", region=FORWARDED) == 1
    assert [stage.metric(*name) for name in names] == before
    regions = stage.invoke({"inventory": True})["regions"]
    assert regions.pop(FORWARDED)["status"] == "REGION_DENIED"
    assert {region["status"] for region in regions.values()} == {"DONE"}
    assert [stage.metric(*name) for name in names] == [before[0] + 1, before[1] + 1, before[2]]


@pytest.mark.however_deployed
@pytest.mark.parametrize(("schedule", "trigger"), [("sweep", "schedule"), ("inventory", "inventory")])
def test_each_schedule_corrects_an_instance_without_events(stage: Stage, schedule: str, trigger: str) -> None:
    """Both schedules invoke the function, each with its own input."""
    with stage.unseen():
        [instance] = stage.aws.launch(FORWARDED, HttpTokens="optional")
    stage.begin_sweep(schedule)
    stage.wait_for([instance], FORWARDED, HttpTokens="required")
    assert stage.wait_for_outcome(instance, "REMEDIATED")["trigger"] == trigger
    [report] = until(lambda: stage.reports(trigger=trigger), seconds=PATIENCE_SECONDS)
    assert report["outcomes"] == {"REMEDIATED": 1}
