"""The enforcer corrects drift; its own changes start nothing."""

from collections.abc import Mapping

import pytest

from tests.e2e.stage import FORWARDED, HOME, Stage


@pytest.mark.however_deployed
@pytest.mark.parametrize(
    ("who", "region"),
    [("root", HOME), ("role", FORWARDED), ("user", HOME)],
)
def test_drift_is_corrected_and_the_enforcers_own_changes_are_ignored(
    stage: Stage, principals: Mapping[str, Mapping[str, str] | None], who: str, region: str
) -> None:
    """Of two changes by the enforcer and one by someone else, only the latter arrives as drift.

    The order of events proves it: the enforcer made its first change, and the trail recorded it, before the drift.
    """
    stage.aws.knobs(state_change_events=False)
    [instance] = stage.aws.launch(region, HttpTokens="optional")
    stage.wait_for_outcome(instance, "REMEDIATED")
    stage.drift(instance, region, keys=principals[who])
    stage.wait_for([instance], region, HttpTokens="required")
    stage.drain()
    assert stage.outcomes(instance) == [("launch", "REMEDIATED"), ("drift", "REMEDIATED")]
    assert stage.writes() == 2
