from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from imds_enforcer.decision.legacy_calls import FIND_CALLER, Calls
from imds_enforcer.ledger.holds import Contest, Hold, Standing
from imds_enforcer.ledger.refusals import RefusalNote, digest
from imds_enforcer.model import HttpTokens, Refusal, Switch
from imds_enforcer.policy import Gate, Mode, RegionSelection
from imds_enforcer_cli.audit.judge import Judge, Judgement, Status
from tests.fakes.clock import START
from tests.fakes.command import ANN
from tests.fakes.examples import AWAY, HOME, V1_ALLOWED, V2_ONLY, a_failure, a_policy, an_exemption, an_id, an_instance

DRIFT = "HttpTokens is optional, not required"
HELD = Standing(holds={an_id(1): Hold(instance_id=an_id(1), reason="vendor agent", by=ANN, at=START)})


def judged(
    instance: Any = None, standing: Standing | None = None, calls: Calls | None = None, **policy: Any
) -> Judgement:
    """Judge an instance that allows IMDSv1, unless another is given, under a policy that requires tokens."""
    judge = Judge(a_policy(**policy), standing or Standing(), START)
    return judge.judge(instance or an_instance(), calls)


def test_only_instances_that_follow_the_policy_are_compliant() -> None:
    """An instance that the enforcer must not change is no less a risk."""
    assert {status for status in Status if status.compliant} == {Status.COMPLIANT, Status.IMDS_OFF}


def test_an_instance_in_its_launch_grace_is_drift() -> None:
    """An audit shows the current state, and why the enforcer has not changed it yet."""
    launched = an_instance(attached_at=START - timedelta(seconds=5))
    reason = "launched less than 600 s ago, still in the launch grace period for its boot scripts"
    assert judged(launched, launch_grace_seconds=600) == Judgement(Status.DRIFT, f"{DRIFT}; {reason}")


def test_drift_is_drift_in_audit_mode_too() -> None:
    """The mode decides what the enforcer does about drift, not what drift is."""
    assert judged(mode=Mode.AUDIT).status is Status.DRIFT


def test_a_region_that_the_policy_leaves_out_is_exempt() -> None:
    """Except for instances that follow the policy anyway."""
    regions = RegionSelection(exclude=(HOME,))
    assert judged(regions=regions) == Judgement(Status.EXEMPT, "the policy leaves this region out")
    assert judged(an_instance(options=V2_ONLY), regions=regions).status is Status.COMPLIANT
    assert judged(an_instance(region=AWAY), regions=regions).status is Status.DRIFT


def test_an_exempt_instance_shows_the_expiry_and_the_owner() -> None:
    """As the policy states them."""
    exemption = replace(an_exemption(expires=date(2027, 6, 30)), owner="payments")
    reason = "exempt: legacy SDK, owner payments, until 2027-06-30"
    assert judged(exemptions=(exemption,)) == Judgement(Status.EXEMPT, reason, "2027-06-30", "payments")
    assert judged(exemptions=(an_exemption(),)) == Judgement(Status.EXEMPT, "exempt: legacy SDK")


def test_an_expired_exemption() -> None:
    """The instance is drift again, and marked, unless it follows the policy or another exemption protects it."""
    ended = replace(an_exemption(expires=date(2026, 11, 21)), owner="payments")
    reason = f"{DRIFT}; its exemption (legacy SDK, owner payments, until 2026-11-21) has expired"
    assert judged(exemptions=(ended,)) == Judgement(Status.DRIFT, reason, "2026-11-21", "payments", expired=True)
    assert not judged(an_instance(options=V2_ONLY), exemptions=(ended,)).expired
    assert not judged(exemptions=(ended, an_exemption())).expired
    assert judged(an_instance(managed_by="ecs"), exemptions=(ended,)).expired
    assert not judged(exemptions=(an_exemption(expires=date(2026, 11, 21), image_id="ami-9*"),)).expired


@pytest.mark.parametrize(("until", "shown"), [(None, None), (START + timedelta(days=1), "2026-11-23T12:00:00+00:00")])
def test_a_held_instance_shows_who_holds_it_and_until_when(until: datetime | None, shown: str | None) -> None:
    """A hold takes precedence over rollout and expired exemptions."""
    hold = Hold(instance_id=an_id(1), reason="vendor agent", by=ANN, at=START, until=until)
    judgement = judged(standing=Standing(holds={an_id(1): hold}), rollout_percent=0)
    assert judgement == Judgement(Status.HELD, f"vendor agent; {DRIFT}", shown, ANN)
    ended = replace(an_exemption(expires=date(2026, 11, 21)), owner="payments")
    judgement = judged(standing=Standing(holds={an_id(1): hold}), exemptions=(ended,))
    assert (judgement.until, judgement.by, judgement.expired) == (shown, ANN, True)


@pytest.mark.parametrize(
    ("instance", "status"),
    [
        (an_instance(options=V2_ONLY), Status.COMPLIANT),
        (an_instance(managed_by="eks.amazonaws.com"), Status.MANAGED),
        (an_instance(2), Status.DRIFT),
    ],
)
def test_a_hold_matters_only_for_drift(instance: Any, status: Status) -> None:
    """And only for the instance that is held."""
    assert judged(instance, HELD).status is status


def test_a_contested_instance_is_drift() -> None:
    """The reason names who keeps changing it."""
    contest = Contest(instance_id=an_id(1), principal="role/deploy", until=START + timedelta(hours=1))
    reason = f"{DRIFT}; repeatedly changed back by someone else, last by role/deploy"
    assert judged(standing=Standing(contests={an_id(1): contest})) == Judgement(Status.DRIFT, reason)


def test_the_gate_holds_back_instances_that_still_call_imdsv1() -> None:
    """With the enforcer's own reason. Without an answer from CloudWatch the calls are unknown: drift."""
    gate, calls = Gate(enforce_after=date(2027, 1, 31)), Calls(17, date(2026, 11, 20))
    counted = "17 IMDSv1 calls in 14 days, the last on 2026-11-20"
    reason = f"{counted}; gated until the end of 2027-01-31; {FIND_CALLER}; {DRIFT}"
    assert judged(calls=calls, gate=gate) == Judgement(Status.HELD, reason, "2027-01-31", "the policy's legacy_calls")
    assert judged(calls=calls, gate=Gate()).until is None
    for unheld in (
        judged(calls=calls, gate=Gate(tolerate=17)),
        judged(calls=calls, gate=Gate(enforce_after=date(2026, 11, 21))),
        judged(calls=calls),
        judged(calls=Calls(), gate=gate),
        judged(gate=gate),
    ):
        assert unheld == Judgement(Status.DRIFT, DRIFT)


def test_an_instance_whose_options_ec2_refused_is_held_by_ec2() -> None:
    """With EC2's message, until the enforcer tries again: the instance is neither compliant nor drift."""
    words = "'Patch Group' is not a valid tag key."
    refusal = Refusal("InstanceMetadataTags", Switch.ENABLED, a_failure("InvalidParameterValue", words), noted=True)
    note = RefusalNote(
        instance_id=an_id(1), refused=(refusal,), tag_keys=digest(["Patch Group"]), until=START + timedelta(days=30)
    )
    policy = a_policy(instance_metadata_tags=Switch.ENABLED)
    differs = "InstanceMetadataTags is disabled, not enabled"

    def judged_at(now: datetime, **fields: Any) -> Judgement:
        known: dict[str, Any] = {"options": V2_ONLY, "tags": {"Patch Group": "linux"}} | fields
        return Judge(policy, Standing(), now, {an_id(1): note}).judge(an_instance(1, **known))

    reason = f"{differs}; EC2 refused InstanceMetadataTags=enabled (InvalidParameterValue: {words})"
    assert judged_at(START) == Judgement(Status.HELD, reason, "2026-12-22T12:00:00+00:00", "EC2")
    assert judged_at(START, options=V1_ALLOWED).status is Status.DRIFT
    assert judged_at(START, tags={"Name": "web"}) == Judgement(Status.DRIFT, differs)
    assert judged_at(note.until).status is Status.DRIFT


def test_a_policy_that_makes_tokens_optional() -> None:
    """An instance that requires tokens is drift then."""
    judge = Judge(a_policy(HttpTokens.OPTIONAL), Standing(), START)
    assert judge.judge(an_instance(options=V2_ONLY)).status is Status.DRIFT
    assert judge.judge(an_instance(options=V1_ALLOWED)).status is Status.COMPLIANT
