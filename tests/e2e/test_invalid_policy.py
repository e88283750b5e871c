"""An invalid policy stops every change, says what is wrong with it, and loses nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.deployment import HTTP_TOKENS, POLICY
from tests.e2e.stage import HOME, Stage

INVALID = "the policy is invalid, nothing was changed"


def _store(document: Any) -> Callable[[Stage], None]:
    def put(stage: Stage) -> None:
        stage.set_policy(document)

    return put


def _delete(stage: Stage) -> None:
    stage.aws.client("ssm").delete_parameter(Name=POLICY)


def _create(stage: Stage) -> None:
    stage.aws.client("ssm").put_parameter(Name=POLICY, Value="{}", Type="String", Tier="Intelligent-Tiering")


def _toggle(value: str, pattern: str) -> Callable[[Stage], None]:
    def put(stage: Stage) -> None:
        stage.aws.client("ssm").put_parameter(Name=HTTP_TOKENS, Value=value, AllowedPattern=pattern, Overwrite=True)

    return put


@pytest.mark.parametrize(
    ("spoil", "says", "mend"),
    [
        pytest.param(
            _store('{"mode": "audit"'),
            ("policy is not JSON", r'"{\"mode\": \"audit\""', "allowed: a JSON object"),
            _store({}),
            id="bad JSON",
        ),
        pytest.param(
            _store({"hop_limit": 2}),
            ('policy has the unknown field "hop_limit"', "allowed: mode, http_put_response_hop_limit, "),
            _store({}),
            id="unknown field",
        ),
        pytest.param(
            _store({"watch": {"revert": False}}),
            ("watch has the removed field revert", "the watch only reports", "remove it"),
            _store({}),
            id="removed field",
        ),
        pytest.param(
            _store({"exemptions": "none"}),
            ('exemptions is "none"', "allowed: a list"),
            _store({}),
            id="wrong type",
        ),
        pytest.param(
            _store({"http_put_response_hop_limit": 65}),
            ("http_put_response_hop_limit is 65", "allowed: a whole number from 1 to 64, or null"),
            _store({}),
            id="out of range",
        ),
        pytest.param(_delete, ("policy is missing", "allowed: a JSON object"), _create, id="missing"),
        pytest.param(
            _toggle("maybe", ".*"),
            ('http-tokens is "maybe"', "allowed: required or optional"),
            _toggle("required", "^(required|optional)$"),
            id="toggle",
        ),
    ],
)
def test_nothing_is_written_until_the_policy_is_mended_and_then_nothing_was_missed(
    stage: Stage, spoil: Callable[[Stage], None], says: tuple[str, ...], mend: Callable[[Stage], None]
) -> None:
    """Sweep and batch both name field, value and what is allowed; the batch is acknowledged all the same."""
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
        mend(stage)
    stage.wait_for([missed], HttpTokens="required")
    assert stage.wait_for_outcome(missed, "REMEDIATED")["trigger"] == "policy-change"


def test_parameter_store_refuses_a_toggle_that_is_neither(stage: Stage) -> None:
    """The first of two locks: the code refuses it again."""
    with pytest.raises(ClientError, match="ParameterPatternMismatchException"):
        stage.set_http_tokens("maybe")
    assert stage.invoke({})["http_tokens"] == "required"
