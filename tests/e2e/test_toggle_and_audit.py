"""The toggle changes the whole fleet in both directions; audit mode reports and changes nothing."""

import pytest
from botocore.exceptions import ClientError

from infra.local import operator
from infra.local.waiting import until
from tests.e2e.stage import FORWARDED, HOME, PATIENCE_SECONDS, REGIONS, Stage


@pytest.mark.however_deployed
def test_the_fleet_follows_the_toggle_in_both_directions(stage: Stage) -> None:
    """`required` to `optional` to `required`, in both regions, with the operator's command alone.

    Afterwards the parameter still accepts only these two values.
    """
    fleet = {region: stage.aws.launch(region, 2, HttpTokens="optional") for region in REGIONS}
    for region, ids in fleet.items():
        stage.wait_for(ids, region, HttpTokens="required")
    stage.drain()
    for tokens, sure in (("optional", ["--yes"]), ("required", [])):
        turned = operator.answer(stage.aws, "toggle", tokens, *sure)
        report = stage.settle(http_tokens=turned["version"])
        assert (report["http_tokens"], report["outcomes"]) == (tokens, {"REMEDIATED": 4})
        for region, ids in fleet.items():
            options = stage.options(ids, region)
            assert {(each["HttpTokens"], each["State"]) for each in options.values()} == {(tokens, "applied")}
    with pytest.raises(ClientError, match="ParameterPatternMismatchException"):
        stage.set_http_tokens("maybe")


def test_a_sweep_stops_when_its_policy_changes(stage: Stage) -> None:
    """Within five seconds; the newer policy decides about every instance, and no change fails."""
    with stage.unseen():
        fleet = stage.aws.launch(HOME, 200, HttpTokens="optional")
        stage.begin_sweep()
        until(stage.writes, lambda count: count > 95, seconds=PATIENCE_SECONDS)
        version = stage.set_http_tokens("optional")
        stage.settle(http_tokens=version)
    [overtaken] = until(lambda: stage.reports(trigger="schedule"), seconds=PATIENCE_SECONDS)
    assert overtaken["stopped"].startswith("the policy has changed during the run, to versions")
    assert sum(overtaken["outcomes"].values()) == 200
    assert overtaken["outcomes"]["DEFERRED"] > 50
    assert overtaken["seconds"] < 200 / 5, "the sweep did not stop"
    assert {each["HttpTokens"] for each in stage.options(fleet).values()} == {"optional"}
    assert not stage.log_lines(outcome="FAILED")


@pytest.mark.however_deployed
@pytest.mark.policy({"mode": "audit"})
def test_audit_mode_makes_no_write_call_at_all(stage: Stage) -> None:
    """Launch, drift, sweep and inventory only report what they would do."""
    stage.aws.knobs(state_change_events=False)
    [launched] = stage.aws.launch(HOME, HttpTokens="optional")
    [drifted] = stage.aws.launch(FORWARDED, HttpTokens="required")
    line = stage.wait_for_outcome(launched, "WOULD_REMEDIATE")
    assert line["reason"] == "HttpTokens is optional, not required"
    assert (line["before"]["HttpTokens"], line["after"]["HttpTokens"]) == ("optional", "required")
    stage.wait_for_outcome(drifted, "COMPLIANT")
    stage.drift(drifted, FORWARDED)
    assert stage.wait_for_outcome(drifted, "WOULD_REMEDIATE")["trigger"] == "drift"
    assert stage.invoke({})["outcomes"] == {"WOULD_REMEDIATE": 2}
    assert stage.invoke({"inventory": True})["outcomes"] == {"WOULD_REMEDIATE": 2}
    assert stage.writes() == 0
    assert stage.options([launched])[launched]["HttpTokens"] == "optional"
    # A change of the policy is enough to leave audit mode.
    stage.set_policy({})
    stage.wait_for([launched], HttpTokens="required")
    stage.wait_for([drifted], FORWARDED, HttpTokens="required")
    assert stage.writes() == 2
