"""What somebody sets back by hand is brought back; what the enforcer itself changes starts nothing."""

from collections.abc import Mapping

import pytest

from tests.e2e.stage import FORWARDED, HOME, Stage


@pytest.mark.however_deployed
@pytest.mark.parametrize(
    ("who", "region"),
    [("root", HOME), ("role", FORWARDED), ("user", HOME)],
)
def test_drift_is_reset_and_the_enforcers_own_changes_are_shut_out(
    stage: Stage, principals: Mapping[str, Mapping[str, str] | None], who: str, region: str
) -> None:
    """Two changes of the enforcer's own, one of somebody else's: only that one comes in as drift.

    The order of events is the proof: the enforcer's first change happened, and was recorded, before the drift.
    """
    stage.aws.knobs(state_change_events=False)
    [instance] = stage.aws.launch(region, HttpTokens="optional")
    stage.wait_for_outcome(instance, "REMEDIATED")
    stage.drift(instance, region, keys=principals[who])
    stage.wait_for([instance], region, HttpTokens="required")
    stage.drain()
    assert stage.outcomes(instance) == [("launch", "REMEDIATED"), ("drift", "REMEDIATED")]
    assert stage.writes() == 2
