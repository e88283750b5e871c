from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Tags

from imds_enforcer_cli.account.parameters import TOKENS_PATTERN
from infra import app
from tests.infra.synthesized import HOME, Stack, Synthesize

HTTP_TOKENS: dict[str, Any] = {
    "Type": "AWS::SSM::Parameter",
    "Properties": {
        "Name": "/imds-enforcer/http-tokens",
        "Type": "String",
        "Value": "${ParametersFirstHttpTokens}",
        "AllowedPattern": "^(required|optional)$",
    },
}
POLICY = {
    "Type": "AWS::SSM::Parameter",
    "Properties": {
        "Name": "/imds-enforcer/policy",
        "Type": "String",
        "Value": "${ParametersFirstPolicy}",
        "Tier": "Intelligent-Tiering",
    },
}


def test_the_command_keeps_what_the_toggle_may_hold() -> None:
    """Its writes send the pattern along."""
    assert HTTP_TOKENS["Properties"]["AllowedPattern"] == TOKENS_PATTERN


@pytest.mark.parametrize("context", [{}, {"http_tokens": "optional", "mode": "audit"}])
def test_the_parameters_are_frozen(synthesize: Synthesize, context: dict[str, object]) -> None:
    """CloudFormation resets a toggled value when any property changes: this template must stay as it is."""
    stack = Stack(synthesize(**context).get_stack_by_name("ImdsEnforcer").template)
    assert stack.resources["ParametersHttpTokens"] == HTTP_TOKENS
    assert stack.resources["ParametersPolicy"] == POLICY


def test_tags_of_the_whole_app_do_not_reach_them(default_context: dict[str, object], tmp_path: Path) -> None:
    """A tag is a property too; on the stack itself it would be handed on to them, so it is not there either."""
    tagged = app.build(home_region=HOME, account=None, context=default_context, outdir=str(tmp_path))
    Tags.of(tagged).add("cost-centre", "42")
    artifact = tagged.synth().get_stack_by_name("ImdsEnforcer")
    stack = Stack(artifact.template)
    assert stack.resources["ParametersHttpTokens"] == HTTP_TOKENS
    assert stack.resources["ParametersPolicy"] == POLICY
    assert artifact.tags == {}
    assert stack.properties("EventsQueue")["Tags"] == [{"Key": "cost-centre", "Value": "42"}]


@pytest.mark.parametrize(
    ("context", "toggle", "policy"),
    [
        ({}, "required", "{}"),
        ({"http_tokens": "optional", "mode": "audit"}, "optional", '{"mode": "audit"}'),
    ],
)
def test_the_context_gives_the_first_values(
    synthesize: Synthesize, context: dict[str, object], toggle: str, policy: str
) -> None:
    """As template parameters, which the CLI leaves as they were when it deploys again."""
    template = synthesize(**context).get_stack_by_name("ImdsEnforcer").template
    defaults = {
        parameter["Description"]: parameter["Default"]
        for parameter in template["Parameters"].values()
        if parameter["Type"] == "String"
    }
    assert defaults == {
        "First value of /imds-enforcer/http-tokens, for the first deployment only": toggle,
        "First value of /imds-enforcer/policy, for the first deployment only": policy,
    }
