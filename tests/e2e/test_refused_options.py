"""An option that EC2 cannot give an instance."""

import pytest

from tests.e2e.stage import HOME, Stage

BAD_KEY = "Patch Group"


@pytest.mark.policy({"instance_metadata_tags": "enabled", "http_put_response_hop_limit": 2})
def test_tokens_are_required_even_if_ec2_refuses_another_option(stage: Stage) -> None:
    """Later sweeps do not try the option again until its obstacle is gone; then it is set."""
    [instance] = stage.aws.launch(HOME, tags={BAD_KEY: "linux"}, HttpTokens="optional")
    line = stage.wait_for_outcome(instance, "REMEDIATED")
    assert f"EC2 refused InstanceMetadataTags=enabled (InvalidParameterValue: '{BAD_KEY}' is not" in line["reason"]
    shown = stage.options([instance])[instance]
    assert (shown["HttpTokens"], shown["HttpPutResponseHopLimit"]) == ("required", 2)
    assert shown["InstanceMetadataTags"] == "disabled"
    stage.drain()
    writes = stage.writes()
    assert writes == 2
    report = stage.invoke({"inventory": True})
    assert report["outcomes"] == {"SKIPPED": 1}
    assert report["compliant_instances"] == 0
    assert [each["instance_id"] for each in report["refused"]] == [instance]
    assert stage.writes() == writes
    stage.aws.client("ec2").delete_tags(Resources=[instance], Tags=[{"Key": BAD_KEY}])
    assert stage.invoke({})["outcomes"] == {"REMEDIATED": 1}
    assert stage.options([instance])[instance]["InstanceMetadataTags"] == "enabled"
    assert stage.writes() == writes + 1
