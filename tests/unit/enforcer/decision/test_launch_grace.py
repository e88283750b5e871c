"""The launch grace period leaves a new instance alone while its boot scripts run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from imds_enforcer.decision.decision import Decision, Verdict, decide
from imds_enforcer.model import HttpTokens, Instance, InstanceState
from tests.fakes.clock import START
from tests.fakes.examples import IMDS_OFF, V2_ONLY, a_policy, an_exemption, an_instance

GRACE = 300
PATIENT = a_policy(launch_grace_seconds=GRACE)


def _launched(seconds_ago: float, **fields: Any) -> Instance:
    return an_instance(attached_at=START - timedelta(seconds=seconds_ago), **fields)


@pytest.mark.parametrize("seconds", [-99_999_999, -2, 0, 1, 299.5])
def test_a_new_instance_waits_for_the_rest_of_its_grace(seconds: float) -> None:
    """The decision says for how long; by a clock slower than EC2's, no longer than the whole grace period."""
    assert decide(_launched(seconds), PATIENT, START) == Decision(
        Verdict.IN_GRACE,
        "launched less than 300 s ago, still in the launch grace period for its boot scripts",
        look_again_in=min(GRACE, GRACE - seconds),
    )


@pytest.mark.parametrize("seconds", [300, 300.1, 3_600, 1e7])
def test_grace_ends_exactly_with_its_last_second(seconds: float) -> None:
    """A look after the time that the decision named finds it over."""
    assert decide(_launched(seconds), PATIENT, START).verdict is Verdict.REMEDIATE


def test_without_grace_a_launch_is_remediated_at_once() -> None:
    """Even by a clock that is years slow, for which every launch lies in the future."""
    assert decide(_launched(-99_999_999), a_policy(), START).verdict is Verdict.REMEDIATE


def test_an_instance_without_an_attachment_time_has_no_grace() -> None:
    """It would otherwise wait forever."""
    assert decide(an_instance(attached_at=None), PATIENT, START).verdict is Verdict.REMEDIATE


def test_without_grace_in_the_policy_no_instance_waits() -> None:
    """This is the default: a launch is remediated within seconds."""
    assert decide(_launched(0), a_policy(), START).verdict is Verdict.REMEDIATE


def test_grace_also_applies_if_tokens_become_optional() -> None:
    """It protects from any change, in either direction."""
    policy = replace(PATIENT, http_tokens=HttpTokens.OPTIONAL)
    assert decide(_launched(0, options=V2_ONLY), policy, START).verdict is Verdict.IN_GRACE


@pytest.mark.parametrize(
    ("instance", "verdict"),
    [
        (_launched(0, state=InstanceState.TERMINATED), Verdict.ENDED),
        (_launched(0, options=V2_ONLY), Verdict.COMPLIANT),
        (_launched(0, options=IMDS_OFF), Verdict.IMDS_OFF),
        (_launched(0, options=None), Verdict.UNREADABLE),
        (_launched(0, managed_by="eks.amazonaws.com"), Verdict.MANAGED),
    ],
)
def test_an_instance_that_would_not_be_changed_has_nothing_to_wait_for(instance: Instance, verdict: Verdict) -> None:
    """Its outcome is final at once, and its message does not come back."""
    assert decide(instance, PATIENT, START).verdict is verdict


def test_an_exemption_comes_before_grace() -> None:
    """After the grace period it would still be exempt."""
    decision = decide(_launched(0), replace(PATIENT, exemptions=(an_exemption("old SDK"),)), START)
    assert decision == Decision(Verdict.EXEMPT, "exempt: old SDK")


def test_grace_comes_before_the_rollout_which_does_not_apply_to_new_instances() -> None:
    """During the grace period the instance waits; then it is remediated, however small the rollout's share is."""
    policy = replace(PATIENT, rollout_percent=0)
    assert decide(_launched(0), policy, START).verdict is Verdict.IN_GRACE
    assert decide(_launched(300), policy, START).verdict is Verdict.REMEDIATE
    assert decide(_launched(3_600), policy, START).verdict is Verdict.NOT_REACHED
