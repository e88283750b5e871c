"""Only options that the policy names change."""

from typing import Any

from tests.e2e.stage import HOME, Stage

PLAIN = {
    "HttpTokens": "required",
    "HttpEndpoint": "enabled",
    "HttpPutResponseHopLimit": 1,
    "HttpProtocolIpv6": "disabled",
    "InstanceMetadataTags": "disabled",
    "State": "applied",
}
UNLIKE: dict[str, Any] = {
    "HttpPutResponseHopLimit": 3,
    "InstanceMetadataTags": "enabled",
    "HttpProtocolIpv6": "enabled",
}


def test_an_option_that_the_policy_does_not_name_is_kept(stage: Stage) -> None:
    """Even if EC2 accepts no option without HttpEndpoint=enabled."""
    stage.aws.knobs(strict_options=True)
    kept = {
        stage.aws.launch(HOME, HttpTokens="optional", **{name: value})[0]: {name: value}
        for name, value in UNLIKE.items()
    }
    stage.wait_for([*kept], HttpTokens="required")
    assert stage.options([*kept]) == {instance: PLAIN | options for instance, options in kept.items()}


def test_only_options_that_the_policy_names_are_set(stage: Stage) -> None:
    """On an instance that also allows IMDSv1 and on one that differs in nothing else; several policies in turn."""
    with stage.unseen():
        ids = [
            instance
            for tokens in ("optional", "required")
            for instance in stage.aws.launch(HOME, HttpTokens=tokens, **UNLIKE)
        ]
    expected = PLAIN | UNLIKE
    for policy, options in (
        ({"http_put_response_hop_limit": 2}, {"HttpPutResponseHopLimit": 2}),
        (
            {"instance_metadata_tags": "disabled", "http_protocol_ipv6": "disabled"},
            {"InstanceMetadataTags": "disabled", "HttpProtocolIpv6": "disabled"},
        ),
    ):
        report = stage.settle(policy=stage.set_policy(policy))
        assert report["outcomes"] == {"REMEDIATED": 2}
        expected |= options
        assert list(stage.options(ids).values()) == [expected] * 2
