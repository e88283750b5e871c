"""A new instance is left to its boot scripts for a while."""

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
    """And it is known for how long; by a clock that is behind EC2's, no longer than its grace is."""
    assert decide(_launched(seconds), PATIENT, START) == Decision(
        Verdict.IN_GRACE,
        "launched less than 300 s ago, still in the launch grace period for its boot scripts",
        look_again_in=min(GRACE, GRACE - seconds),
    )


@pytest.mark.parametrize("seconds", [300, 300.1, 3_600, 1e7])
def test_grace_ends_exactly_with_its_last_second(seconds: float) -> None:
    """Who comes back after as long as was said finds it over."""
    assert decide(_launched(seconds), PATIENT, START).verdict is Verdict.REMEDIATE


def test_without_grace_a_launch_is_mended_at_once() -> None:
    """By a clock that is years behind as well, to which every launch lies ahead."""
    assert decide(_launched(-99_999_999), a_policy(), START).verdict is Verdict.REMEDIATE


def test_an_instance_that_ec2_does_not_date_has_no_grace() -> None:
    """It would otherwise wait for ever."""
    assert decide(an_instance(attached_at=None), PATIENT, START).verdict is Verdict.REMEDIATE


def test_without_grace_in_the_policy_nobody_waits() -> None:
    """Which is the default: a launch is set right within seconds."""
    assert decide(_launched(0), a_policy(), START).verdict is Verdict.REMEDIATE


def test_a_policy_that_sets_tokens_free_is_no_less_patient() -> None:
    """Grace is from changes, whichever way they go."""
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
    """It is settled at once, and its message does not come back."""
    assert decide(instance, PATIENT, START).verdict is verdict


def test_an_exemption_comes_before_grace() -> None:
    """After the grace it would still be exempt."""
    decision = decide(_launched(0), replace(PATIENT, exemptions=(an_exemption("old SDK"),)), START)
    assert decision == Decision(Verdict.EXEMPT, "exempt: old SDK")


def test_grace_comes_before_the_rollout_which_new_instances_are_not_part_of() -> None:
    """While it lasts the instance waits; afterwards it is set right, however small the share is."""
    policy = replace(PATIENT, rollout_percent=0)
    assert decide(_launched(0), policy, START).verdict is Verdict.IN_GRACE
    assert decide(_launched(300), policy, START).verdict is Verdict.REMEDIATE
    assert decide(_launched(3_600), policy, START).verdict is Verdict.NOT_REACHED
