"""An invalid policy stops every change, is reported with what is wrong, and loses no event."""

from collections.abc import Callable

import pytest

from infra.local.deployment import POLICY
from tests.e2e.stage import HOME, Stage

INVALID = "the policy is invalid: nothing was changed"


def _store_an_unknown_field(stage: Stage) -> None:
    stage.set_policy({"hop_limit": 2})


def _delete(stage: Stage) -> None:
    stage.aws.client("ssm").delete_parameter(Name=POLICY)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(
            _store_an_unknown_field,
            ('policy has the unknown field "hop_limit"', "allowed: mode, http_put_response_hop_limit, "),
            id="unknown field",
        ),
        pytest.param(_delete, ("policy is missing", "allowed: a JSON object"), id="missing"),
    ],
)
def test_nothing_is_changed_until_the_policy_is_fixed_and_nothing_is_missed(
    stage: Stage, spoil: Callable[[Stage], None], says: tuple[str, ...]
) -> None:
    """Sweep and batch both name the field, the value and the values allowed; the batch is still acknowledged."""
    counted = stage.metric("PolicyInvalid")
    stage.restart()
    spoil(stage)
    try:
        stage.wait_for_lines(message=INVALID)
        stage.aws.knobs(state_change_events=False)
        [missed] = stage.aws.launch(HOME, HttpTokens="optional")
        lines = stage.wait_for_lines(2, message=INVALID)
        for line in lines:
            assert [words for words in says if words not in line["error"]] == []
        stage.drain()
        assert stage.dead_letters(0) == []
        assert stage.metric("PolicyInvalid") == counted + 2
        assert stage.writes() == 0
        assert stage.options([missed])[missed]["HttpTokens"] == "optional"
    finally:
        stage.aws.client("ssm").put_parameter(
            Name=POLICY, Value="{}", Type="String", Tier="Intelligent-Tiering", Overwrite=True
        )
    stage.wait_for([missed], HttpTokens="required")
    assert stage.wait_for_outcome(missed, "REMEDIATED")["trigger"] == "policy-change"
