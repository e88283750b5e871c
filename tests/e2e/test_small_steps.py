"""A policy that reaches the fleet in small steps."""

import pytest

from tests.e2e.stage import HOME, Stage

A_DAY = 24 * 3600


@pytest.mark.policy({"rollout_percent": 0})
def test_existing_instances_wait_for_their_share_and_first_launches_do_not(stage: Stage) -> None:
    """Whichever event brings them: a restart looks the same as a launch."""
    stage.aws.knobs(attached_seconds=A_DAY)
    [existing] = stage.aws.launch(HOME, HttpTokens="optional")
    line = stage.wait_for_outcome(existing, "SKIPPED")
    assert line["reason"] == "not among the 0 % of the existing instances that have their turn"
    stage.aws.knobs(attached_seconds=0)
    [new] = stage.aws.launch(HOME, HttpTokens="optional")
    stage.wait_for([new], HttpTokens="required")
    assert stage.invoke({})["outcomes"] == {"SKIPPED": 1}
    assert stage.writes() == 1
    stage.set_policy({"rollout_percent": 100})
    stage.wait_for([existing], HttpTokens="required")
