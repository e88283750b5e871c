"""Instances that stay as they are: the exempt until the exemption expires, and those that must not be changed."""

import json

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
        {"match": {"tags": [{"key": "team", "value": "pay*"}, {"key": "stage"}]}, "reason": "two tags"},
        {"match": {"tag": {"key": "migrating"}}, "reason": "moves in January", "expires": "2020-01-31"},
    ]
}


@pytest.mark.policy(EXEMPTIONS)
def test_only_exempt_instances_are_left_as_they_are(stage: Stage) -> None:
    """Events and sweeps leave them alone; a sweep counts them without a log line.

    Another value or group, or only one of two tags, protects no instance.
    """
    reasons = {
        stage.aws.launch(HOME, HttpTokens="optional", tags={"imds": "v1"})[0]: (
            "exempt: vendor appliance, owner network team, until 2999-12-31"
        ),
        stage.aws.launch(HOME, HttpTokens="optional", auto_scaling_group="legacy-web")[0]: "exempt: old fleet",
        stage.aws.launch(HOME, HttpTokens="optional", tags={"team": "payments", "stage": "test"})[
            0
        ]: "exempt: two tags",
    }
    others = [
        *stage.aws.launch(HOME, HttpTokens="optional", tags={"imds": "v2"}),
        *stage.aws.launch(HOME, HttpTokens="optional", auto_scaling_group="web"),
        *stage.aws.launch(HOME, HttpTokens="optional", tags={"team": "payments"}),
    ]
    for instance, reason in reasons.items():
        assert stage.wait_for_outcome(instance, "EXEMPT")["reason"] == reason
    stage.wait_for(others, HttpTokens="required")
    stage.drain()
    stage.forget_log()
    assert stage.invoke({})["outcomes"] == {"EXEMPT": 3}
    assert [stage.outcomes(instance) for instance in reasons] == [[], [], []]
    assert {each["HttpTokens"] for each in stage.options([*reasons]).values()} == {"optional"}
    assert stage.writes() == len(others)


@pytest.mark.policy(EXEMPTIONS)
def test_an_expired_exemption_protects_no_instance_and_is_reported(stage: Stage) -> None:
    """The reason of the change names it, and so does every sweep's report until it is removed."""
    [instance] = stage.aws.launch(HOME, HttpTokens="optional", tags={"migrating": "yes"})
    line = stage.wait_for_outcome(instance, "REMEDIATED")
    assert line["reason"].endswith("its exemption (moves in January, until 2020-01-31) has expired")
    assert stage.invoke({})["expired_exemptions"] == ["(tag migrating=*) moves in January, until 2020-01-31"]


def test_instances_that_must_not_be_changed_never_are(stage: Stage) -> None:
    """A change would switch a disabled IMDS on; a managed instance belongs to its service. Events, sweep and inventory.

    Managed instances are hidden, and the enforcer does not wait for them after their launch; or the account shows them.
    """
    [off] = stage.aws.launch(HOME, HttpTokens="optional", HttpEndpoint="disabled")
    [hidden] = stage.aws.launch(HOME, HttpTokens="optional", managed_by="eks.amazonaws.com")
    stage.aws.knobs(managed_visible=True)
    [managed] = stage.aws.launch(HOME, HttpTokens="optional", managed_by="eks.amazonaws.com")
    for instance, reason in (
        (off, "the metadata service is off, which satisfies every policy"),
        (managed, "managed by eks.amazonaws.com: the account cannot change it"),
    ):
        assert stage.wait_for_outcome(instance, "SKIPPED")["reason"] == reason
    stage.drain()
    assert stage.outcomes(hidden) == []
    assert set(stage.invoke({})["outcomes"]) == {"SKIPPED"}
    stage.aws.knobs(managed_visible=False)
    assert stage.invoke({})["outcomes"] == {}
    assert stage.invoke({"inventory": True})["outcomes"] == {"SKIPPED": 3}
    assert stage.writes() == 0
    options = stage.options([off, hidden, managed])
    assert [(options[each]["HttpTokens"], options[each]["HttpEndpoint"]) for each in (off, hidden, managed)] == [
        ("optional", "disabled"),
        ("optional", "enabled"),
        ("optional", "enabled"),
    ]


def test_a_policy_of_more_than_four_kilobytes_is_stored_and_followed(stage: Stage) -> None:
    """Parameter Store moves the parameter to the tier that holds it."""
    exemptions = [{"match": {"instance_id": f"i-{number:017x}"}, "reason": "x" * 60} for number in range(50)]
    with stage.unseen():
        [instance] = stage.aws.launch(HOME, HttpTokens="optional", tags={"last": "one"})
    policy = {"exemptions": [*exemptions, {"match": {"tag": {"key": "last"}}, "reason": "at the end"}]}
    assert 4096 < len(json.dumps(policy)) < 8192
    report = stage.settle(policy=stage.set_policy(policy))
    assert report["outcomes"] == {"EXEMPT": 1}
    assert stage.options([instance])[instance]["HttpTokens"] == "optional"
