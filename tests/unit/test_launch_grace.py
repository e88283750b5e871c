"""Images whose boot scripts still call IMDSv1 are given a moment after their launch."""

from __future__ import annotations

from datetime import timedelta

import pytest

from imds_enforcer.decision import Verdict, decide
from tests.unit.examples import a_policy, an_instance
from tests.unit.fake_clock import START


@pytest.mark.parametrize("ago", [timedelta(0), timedelta(days=-3_650)])
def test_without_grace_a_launch_is_mended_at_once(ago: timedelta) -> None:
    """By a clock that is years behind as well, to which every launch lies ahead."""
    decision = decide(an_instance(attached_at=START - ago), a_policy(), START)
    assert decision.verdict is Verdict.REMEDIATE


@pytest.mark.parametrize(("seconds_ago", "left"), [(0, 300), (299, 1), (-5, 300), (-99_999_999, 300)])
def test_a_new_instance_is_left_alone_for_its_grace(seconds_ago: float, left: float) -> None:
    """And its turn is named; a clock that is behind makes the grace no longer than it is."""
    launched = START - timedelta(seconds=seconds_ago)
    decision = decide(an_instance(attached_at=launched), a_policy(launch_grace_seconds=300), START)
    assert (decision.verdict, decision.look_again_in) == (Verdict.IN_GRACE, left)
    assert decision.reason == "launched less than 300 s ago, which are left to its boot scripts"


def test_when_its_grace_is_over_it_is_mended() -> None:
    """To the second."""
    launched = START - timedelta(seconds=300)
    decision = decide(an_instance(attached_at=launched), a_policy(launch_grace_seconds=300), START)
    assert decision.verdict is Verdict.REMEDIATE
