"""A launch is enforced seconds later, whichever event reports it."""

import pytest

from tests.e2e.stage import FORWARDED, HOME, REGIONS, Stage

BY_TRAIL = {"state_change_events": False}
BY_STATE_CHANGE = {"cloudtrail_events": False}


@pytest.mark.parametrize(("only", "trigger"), [(BY_TRAIL, "launch"), (BY_STATE_CHANGE, "running")])
def test_one_kind_of_event_alone_enforces_a_launch(stage: Stage, only: dict[str, bool], trigger: str) -> None:
    """CloudTrail's record, or EC2's own event if there is no trail; at home and through a forwarder."""
    stage.aws.knobs(**only)
    launched = {region: stage.aws.launch(region, 2, HttpTokens="optional") for region in REGIONS}
    runs = set()
    for region, ids in launched.items():
        stage.wait_for(ids, region, HttpTokens="required")
        for instance_id in ids:
            line = stage.wait_for_outcome(instance_id, "REMEDIATED")
            assert (line["trigger"], line["region"]) == (trigger, region)
            runs.add(line["run_id"])
    assert {report["trigger"] for report in stage.reports() if report["run_id"] in runs} == {"events"}


@pytest.mark.however_deployed
def test_a_launch_in_both_regions_is_one_change_an_instance(stage: Stage) -> None:
    """Four events report two launches; duplicates are harmless. One that already requires tokens stays as it is."""
    [required] = stage.aws.launch(HOME, HttpTokens="required")
    ids = {region: stage.aws.launch(region, HttpTokens="optional") for region in REGIONS}
    for region, launched in ids.items():
        stage.wait_for(launched, region, HttpTokens="required")
    stage.wait_for_outcome(required, "COMPLIANT")
    stage.drain()
    assert stage.writes() == 2


def test_an_instance_that_ec2_does_not_show_yet_is_enforced_by_a_later_delivery(stage: Stage) -> None:
    """DescribeInstances does not show a new instance for five seconds: its message comes back."""
    stage.aws.knobs(visibility_seconds=5)
    [instance] = stage.aws.launch(FORWARDED, HttpTokens="optional")
    stage.wait_for([instance], FORWARDED, HttpTokens="required")
    stage.wait_for_outcome(instance, "REMEDIATED")
    (_, first), *_, (_, last) = stage.outcomes(instance)
    assert (first, last) == ("DEFERRED", "REMEDIATED")
    assert {report["trigger"] for report in stage.reports()} == {"events"}
    stage.drain()


def test_a_launch_record_without_ids_causes_a_sweep_of_its_region(stage: Stage) -> None:
    """CloudTrail omits a large answer: every instance of the region that differs is corrected."""
    with stage.unseen():
        [unseen] = stage.aws.launch(HOME, HttpTokens="optional")
        [elsewhere] = stage.aws.launch(FORWARDED, HttpTokens="optional")
    stage.aws.knobs(state_change_events=False, response_elements_limit=10)
    launched = stage.aws.launch(HOME, 2, HttpTokens="optional")
    stage.wait_for([*launched, unseen], HOME, HttpTokens="required")
    for instance in (*launched, unseen):
        assert stage.wait_for_outcome(instance, "REMEDIATED")["trigger"] == "launch"
    stage.drain()
    assert stage.options([elsewhere], FORWARDED)[elsewhere]["HttpTokens"] == "optional"
