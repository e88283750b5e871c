"""Which options change: those that the policy names, and no other."""

from typing import Any

import pytest

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


@pytest.mark.parametrize(
    "kept", [{"HttpPutResponseHopLimit": 3}, {"InstanceMetadataTags": "enabled"}, {"HttpProtocolIpv6": "enabled"}]
)
def test_an_option_that_the_policy_does_not_name_is_kept(stage: Stage, kept: dict[str, Any]) -> None:
    """Also where EC2 takes no option without HttpEndpoint=enabled beside it."""
    stage.aws.knobs(strict_options=True)
    [instance] = stage.aws.launch(HOME, HttpTokens="optional", **kept)
    stage.wait_for([instance], HttpTokens="required")
    assert stage.options([instance])[instance] == PLAIN | kept


def test_a_container_host_gets_the_hop_that_its_containers_need(stage: Stage) -> None:
    """With the same change that requires tokens; a plain instance keeps its limit."""
    [host] = stage.aws.launch(HOME, HttpTokens="optional", tags={"kubernetes.io/cluster/prod": "owned"})
    [plain] = stage.aws.launch(HOME, HttpTokens="optional")
    stage.wait_for([host, plain], HttpTokens="required")
    assert stage.options([host])[host] == PLAIN | {"HttpPutResponseHopLimit": 2}
    assert stage.options([plain])[plain] == PLAIN
    assert stage.wait_for_outcome(host, "REMEDIATED")["reason"].endswith("a container host, which needs 2 hops")
    assert stage.writes() == 2


def test_an_option_that_the_policy_names_is_set_and_no_other(stage: Stage) -> None:
    """On an instance that also allows IMDSv1, and on one which differs in nothing else; one option after another."""
    with stage.unseen():
        ids = [
            instance
            for tokens in ("optional", "required")
            for instance in stage.aws.launch(HOME, HttpTokens=tokens, **UNLIKE)
        ]
    expected = PLAIN | UNLIKE
    for policy, option in (
        ({"http_put_response_hop_limit": 2}, {"HttpPutResponseHopLimit": 2}),
        ({"instance_metadata_tags": "disabled"}, {"InstanceMetadataTags": "disabled"}),
        ({"http_protocol_ipv6": "disabled"}, {"HttpProtocolIpv6": "disabled"}),
    ):
        report = stage.settle(policy=stage.set_policy(policy))
        assert report["outcomes"] == {"REMEDIATED": 2}
        expected |= option
        assert list(stage.options(ids).values()) == [expected] * 2
