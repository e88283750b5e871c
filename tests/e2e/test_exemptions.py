"""Who is left alone: the exempt while that lasts, and those that cannot or must not be changed."""

import json
from typing import Any

import pytest

from tests.e2e.stage import HOME, Stage

EXEMPTIONS = {
    "exemptions": [
        {
            "match": {"tag": {"key": "imds", "value": "v1"}},
            "reason": "vendor appliance",
            "owner": "network team",
            "expires": "2999-12-31",
        },
        {"match": {"auto_scaling_group": "legacy-*", "region": HOME}, "reason": "old fleet"},
        {"match": {"tag": {"key": "migrating"}}, "reason": "moves in January", "expires": "2020-01-31"},
    ]
}


@pytest.mark.policy(EXEMPTIONS)
@pytest.mark.parametrize(
    ("launch", "reason"),
    [
        ({"tags": {"imds": "v1"}}, "exempt: vendor appliance, owner network team, until 2999-12-31"),
        ({"auto_scaling_group": "legacy-web"}, "exempt: old fleet"),
    ],
)
def test_an_exempt_instance_is_left_as_it_is(stage: Stage, launch: dict[str, Any], reason: str) -> None:
    """By events, and by the sweep, which counts it and writes no line."""
    [instance] = stage.aws.launch(HOME, HttpTokens="optional", **launch)
    assert stage.wait_for_outcome(instance, "EXEMPT")["reason"] == reason
    stage.drain()
    stage.forget_log()
    assert stage.invoke({})["outcomes"] == {"EXEMPT": 1}
    assert stage.outcomes(instance) == []
    assert stage.options([instance])[instance]["HttpTokens"] == "optional"
    assert stage.writes() == 0


@pytest.mark.policy(EXEMPTIONS)
@pytest.mark.parametrize("launch", [{"tags": {"imds": "v2"}}, {"auto_scaling_group": "web"}])
def test_an_exemption_that_does_not_fit_protects_nobody(stage: Stage, launch: dict[str, Any]) -> None:
    """Another value of the tag, another group."""
    [instance] = stage.aws.launch(HOME, HttpTokens="optional", **launch)
    stage.wait_for([instance], HttpTokens="required")


@pytest.mark.policy(EXEMPTIONS)
def test_an_expired_exemption_protects_nobody_and_is_reported(stage: Stage) -> None:
    """In the reason of the change, and in every sweep's report until it is removed."""
    [instance] = stage.aws.launch(HOME, HttpTokens="optional", tags={"migrating": "yes"})
    line = stage.wait_for_outcome(instance, "REMEDIATED")
    assert line["reason"].endswith("its exemption (moves in January, until 2020-01-31) has expired")
    assert stage.invoke({})["expired_exemptions"] == ["(tag migrating=*) moves in January, until 2020-01-31"]


def test_an_exemption_may_name_an_instance_by_a_pattern(stage: Stage) -> None:
    """The sweep that the new exemption starts passes it by, and changes its neighbour."""
    with stage.unseen():
        exempt, other = stage.aws.launch(HOME, 2, HttpTokens="optional")
    exemption = {"match": {"instance_id": f"{exempt[:-3]}*"}, "reason": "under investigation"}
    report = stage.settle(policy=stage.set_policy({"exemptions": [exemption]}))
    assert report["outcomes"] == {"REMEDIATED": 1, "EXEMPT": 1}
    assert {i: o["HttpTokens"] for i, o in stage.options([exempt, other]).items()} == {
        exempt: "optional",
        other: "required",
    }


@pytest.mark.parametrize(
    ("launch", "reason"),
    [
        ({"HttpEndpoint": "disabled"}, "the metadata service is off, which satisfies every policy"),
        ({"managed_by": "eks.amazonaws.com"}, "managed by eks.amazonaws.com: the account cannot change it"),
    ],
)
def test_what_must_not_be_changed_is_never_written_to(stage: Stage, launch: dict[str, Any], reason: str) -> None:
    """IMDS off would have to be turned on; a service's instance is the service's. By events, sweep and inventory."""
    [instance] = stage.aws.launch(HOME, HttpTokens="optional", **launch)
    assert stage.wait_for_outcome(instance, "SKIPPED")["reason"] == reason
    stage.drain()
    assert set(stage.invoke({})["outcomes"]) <= {"SKIPPED"}
    assert stage.invoke({"inventory": True})["outcomes"] == {"SKIPPED": 1}
    assert stage.writes() == 0
    options = stage.options([instance])[instance]
    assert (options["HttpTokens"], options["HttpEndpoint"]) == ("optional", launch.get("HttpEndpoint", "enabled"))


def test_a_policy_of_more_than_four_kilobytes_is_stored_and_followed(stage: Stage) -> None:
    """The tier of the parameter grows with it."""
    exemptions = [{"match": {"instance_id": f"i-{number:017x}"}, "reason": "x" * 60} for number in range(50)]
    with stage.unseen():
        [instance] = stage.aws.launch(HOME, HttpTokens="optional", tags={"last": "one"})
    policy = {"exemptions": [*exemptions, {"match": {"tag": {"key": "last"}}, "reason": "at the end"}]}
    assert 4096 < len(json.dumps(policy)) < 8192
    report = stage.settle(policy=stage.set_policy(policy))
    assert report["outcomes"] == {"EXEMPT": 1}
    assert stage.options([instance])[instance]["HttpTokens"] == "optional"
