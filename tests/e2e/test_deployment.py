"""Deploying again."""

import pytest

from infra.local.deployment import HTTP_TOKENS
from tests.e2e.stage import FORWARDED, HOME, Stage


@pytest.mark.however_deployed
def test_a_second_deployment_changes_nothing_and_keeps_the_toggle(stage: Stage) -> None:
    """A toggle that was set by hand keeps its value and version."""
    version = stage.set_http_tokens("optional")
    stage.settle(http_tokens=version)
    before = _stack_events(stage)
    stage.aws.enforce_iam(enforced=False)  # see conftest
    stage.deploy_again(stage.aws)
    assert _stack_events(stage) == before
    parameter = stage.aws.client("ssm").get_parameter(Name=HTTP_TOKENS)["Parameter"]
    assert (parameter["Value"], parameter["Version"]) == ("optional", version)


def _stack_events(stage: Stage) -> dict[str, list[str]]:
    stacks = {"ImdsEnforcer": HOME, f"ImdsEnforcerForwarder-{FORWARDED}": FORWARDED}
    return {
        stack: [
            event["EventId"]
            for page in stage.aws.client("cloudformation", region)
            .get_paginator("describe_stack_events")
            .paginate(StackName=stack)
            for event in page["StackEvents"]
        ]
        for stack, region in stacks.items()
    }
