"""The toggle moves the whole fleet, both ways; audit mode tells and does not touch."""

import pytest

from infra.local.waiting import until
from tests.e2e.stage import FORWARDED, HOME, PATIENCE_SECONDS, REGIONS, Stage


def test_the_fleet_follows_the_toggle_both_ways(stage: Stage) -> None:
    """`required` to `optional` to `required`, in both regions, with nothing but the parameter changed."""
    fleet = {region: stage.aws.launch(region, 2, HttpTokens="optional") for region in REGIONS}
    for region, ids in fleet.items():
        stage.wait_for(ids, region, HttpTokens="required")
    stage.drain()
    for tokens in ("optional", "required"):
        report = stage.settle(http_tokens=stage.set_http_tokens(tokens))
        assert (report["http_tokens"], report["outcomes"]) == (tokens, {"REMEDIATED": 4})
        for region, ids in fleet.items():
            options = stage.options(ids, region)
            assert {(each["HttpTokens"], each["State"]) for each in options.values()} == {(tokens, "applied")}


def test_a_sweep_stops_when_its_policy_changes(stage: Stage) -> None:
    """Within five seconds; the newer policy has the last word on every instance, and nobody fails."""
    with stage.unseen():
        fleet = stage.aws.launch(HOME, 200, HttpTokens="optional")
        stage.begin_sweep()
        until(stage.writes, lambda count: count > 95, seconds=PATIENCE_SECONDS)
        version = stage.set_http_tokens("optional")
        stage.settle(http_tokens=version)
    [overtaken] = until(lambda: stage.reports(trigger="schedule"), seconds=PATIENCE_SECONDS)
    assert overtaken["stopped"].startswith("the policy has changed, to versions")
    assert sum(overtaken["outcomes"].values()) == 200
    assert overtaken["outcomes"]["DEFERRED"] > 50
    assert overtaken["seconds"] < 200 / 5, "it did not go on to its end"
    assert {each["HttpTokens"] for each in stage.options(fleet).values()} == {"optional"}
    assert not stage.log_lines(outcome="FAILED")


def test_turning_the_toggle_again_and_again_raises_no_false_alarm(stage: Stage) -> None:
    """A run that is overtaken while it verifies finds what the next one has set, and is not surprised."""
    fleet = stage.aws.launch(HOME, 4, HttpTokens="optional")
    stage.wait_for(fleet, HttpTokens="required")
    stage.drain()
    turns = ("optional", "required") * 3
    for tokens in turns:
        stage.set_http_tokens(tokens)
        stage.wait_for(fleet, HttpTokens=tokens)
    reports = until(lambda: stage.reports(trigger="policy-change"), lambda found: len(found) == len(turns), seconds=90)
    assert all("FAILED" not in report["outcomes"] for report in reports)
    assert {each["HttpTokens"] for each in stage.options(fleet).values()} == {"required"}


def test_under_optional_a_launch_with_required_is_changed_too(stage: Stage) -> None:
    """`optional` is as much a duty as `required`."""
    stage.restart()
    stage.settle(http_tokens=stage.set_http_tokens("optional"))
    [instance] = stage.aws.launch(HOME, HttpTokens="required")
    stage.wait_for([instance], HttpTokens="optional")


@pytest.mark.policy({"mode": "audit"})
def test_audit_mode_makes_no_write_call_at_all(stage: Stage) -> None:
    """Launch, drift, sweep and inventory: each tells what it would do."""
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
    # Nor does leaving audit mode need anything but the policy.
    stage.set_policy({})
    stage.wait_for([launched], HttpTokens="required")
    stage.wait_for([drifted], FORWARDED, HttpTokens="required")
    assert stage.writes() == 2
