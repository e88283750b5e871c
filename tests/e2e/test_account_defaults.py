"""The deployed function keeps the regions' account defaults, and an operator reverts them."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from infra.local import operator
from infra.local.waiting import until
from tests.e2e.stage import FORWARDED, HOME, PATIENCE_SECONDS, REGIONS, SET_DEFAULTS, Stage

REQUIRED = {"HttpTokens": "required", "HttpPutResponseHopLimit": 2}
ENFORCED = REQUIRED | {"HttpTokensEnforced": "enabled"}
BOTH = {"regions": {"include": [*REGIONS]}}
KEEP = BOTH | {"account_defaults": {}}
ENFORCE = BOTH | {"account_defaults": {"enforce_tokens": True}}


@pytest.fixture(autouse=True)
def _as_before(stage: Stage) -> Iterator[None]:
    """No region has account defaults, before and after each test."""
    stage.prefer_nothing()
    stage.drain()
    stage.aws.reset_calls()
    yield
    stage.aws.knobs(declarative_defaults={}, declarative_policy_message=None)
    stage.settle(policy=stage.set_policy({}))
    stage.prefer_nothing()


def put(stage: Stage, policy: Mapping[str, Any]) -> dict[str, str]:
    """Put a policy in force; returns the outcome of each region's defaults in its first sweep."""
    return _outcomes(stage.settle(policy=stage.set_policy(policy)))


def turn(stage: Stage, tokens: str) -> dict[str, str]:
    """Set the toggle; returns the same."""
    return _outcomes(stage.settle(http_tokens=stage.set_http_tokens(tokens)))


def _outcomes(report: Mapping[str, Any]) -> dict[str, str]:
    return {name: part["defaults"]["outcome"] for name, part in report["regions"].items() if "defaults" in part}


def test_both_regions_follow_the_toggle_and_earlier_defaults_stay(stage: Stage) -> None:
    """The toggle goes both ways. A launch that names no tokens gets the default."""
    stage.prefer(FORWARDED, HttpTokens="required")
    stage.drain()
    with stage.unseen():
        assert put(stage, ENFORCE) == dict.fromkeys(REGIONS, "REMEDIATED")
        assert [stage.defaults(region) for region in REGIONS] == [ENFORCED, ENFORCED]
        [silent] = stage.aws.launch(HOME)
        assert stage.options([silent])[silent]["HttpTokens"] == "required"
        assert turn(stage, "optional") == dict.fromkeys(REGIONS, "REMEDIATED")
    assert stage.defaults(HOME) == {}
    # The region already required tokens, and keeps the hop limit that containers need with them.
    assert stage.defaults(FORWARDED) == REQUIRED
    assert stage.options([silent])[silent]["HttpTokens"] == "optional", (
        "the sweep did not loosen the defaults before the report"
    )
    assert _outcomes(stage.invoke({})) == {HOME: "COMPLIANT", FORWARDED: "SKIPPED"}
    assert turn(stage, "required") == dict.fromkeys(REGIONS, "REMEDIATED")
    assert stage.defaults(HOME) == ENFORCED


@pytest.mark.parametrize("region", REGIONS)
def test_drift_is_corrected_at_once_and_the_enforcers_own_changes_start_nothing(
    stage: Stage, principals: Mapping[str, Mapping[str, str] | None], region: str
) -> None:
    """An event starts the correction, in the forwarder's region too."""
    put(stage, KEEP)
    ec2 = stage.aws.client("ec2", region, keys=principals["role"])
    ec2.modify_instance_metadata_defaults(HttpTokens="optional")
    until(lambda: stage.defaults(region) == REQUIRED, seconds=PATIENCE_SECONDS)
    stage.drain()
    lines = stage.log_lines(kind="defaults", region=region)
    assert [(line["trigger"], line["outcome"]) for line in lines] == [
        ("policy-change", "REMEDIATED"),
        ("drift", "REMEDIATED"),
    ]
    assert stage.calls()[SET_DEFAULTS] == 3


def test_audit_mode_sets_nothing(stage: Stage) -> None:
    """Sweep and drift event only report what they would set."""
    assert put(stage, KEEP | {"mode": "audit"}) == dict.fromkeys(REGIONS, "WOULD_REMEDIATE")
    stage.prefer(HOME, HttpTokens="optional")
    stage.wait_for_lines(kind="defaults", trigger="drift", outcome="WOULD_REMEDIATE")
    assert stage.calls()[SET_DEFAULTS] == 0
    assert stage.defaults(HOME) == {"HttpTokens": "optional"}


def test_defaults_of_a_declarative_policy_are_compared_and_never_changed(stage: Stage) -> None:
    """A difference is reported once a day; defaults that agree are compliant."""
    stage.aws.knobs(declarative_defaults={"HttpTokens": "optional"}, declarative_policy_message="Ask the cloud team.")
    assert put(stage, KEEP) == dict.fromkeys(REGIONS, "SKIPPED")
    stage.invoke({"inventory": True})
    mail = stage.mailbox.wait_for("Instances that need attention", f"The account defaults in {HOME} are SKIPPED")
    assert "a declarative policy manages the region's defaults: Ask the cloud team.; HttpTokens is optional" in mail
    stage.aws.knobs(declarative_defaults=REQUIRED)
    assert _outcomes(stage.invoke({})) == dict.fromkeys(REGIONS, "COMPLIANT")
    assert stage.calls()[SET_DEFAULTS] == 0


def test_an_operator_reverts_a_region_and_holds_it(stage: Stage) -> None:
    """Until its release, sweeps leave it alone; the other region keeps its defaults."""
    put(stage, ENFORCE)
    [reverted] = operator.answer(stage.aws, "revert", "--defaults", HOME, "--yes")["regions"]
    assert (reverted["outcome"], stage.defaults(HOME)) == ("REMEDIATED", {})
    stage.wait_for_lines(kind="defaults", trigger="drift", outcome="HELD")
    assert _outcomes(stage.invoke({})) == {HOME: "HELD", FORWARDED: "COMPLIANT"}
    history = [each for each in operator.answer(stage.aws, "history") if each["kind"] == "defaults"]
    assert [(each["region"], each["trigger"]) for each in history if each["region"] == HOME] == [
        (HOME, "policy-change"),
        (HOME, "revert"),
    ]
    operator.answer(stage.aws, "release", "--defaults", HOME)
    assert _outcomes(stage.invoke({}))[HOME] == "REMEDIATED"
    assert stage.defaults(HOME) == ENFORCED


def test_without_the_permission_the_function_names_the_deployment_that_grants_it(stage: Stage) -> None:
    """It reports one finding and makes no call; it still enforces instances."""
    stage.restart(ACCOUNT_DEFAULTS="false")
    [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    stage.wait_for_outcome(instance, "REMEDIATED")
    report = stage.settle(policy=stage.set_policy(KEEP))
    [finding] = report["warnings"]
    assert "account_defaults=true" in finding
    assert (_outcomes(report), stage.calls()[SET_DEFAULTS]) == ({}, 0)
    stage.spoil()


def test_a_contradiction_leaves_the_defaults_alone(stage: Stage) -> None:
    """Instances are still enforced, and exemptions honored."""
    exemption = {"match": {"region": FORWARDED}, "reason": "old SDK"}
    report = stage.settle(policy=stage.set_policy(ENFORCE | {"exemptions": [exemption]}))
    [finding] = report["warnings"]
    assert finding.startswith("The policy contradicts itself, so the account defaults are left alone: ")
    assert (_outcomes(report), stage.calls()[SET_DEFAULTS]) == ({}, 0)
    [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    stage.wait_for_outcome(instance, "REMEDIATED")
