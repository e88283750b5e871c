from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from imds_enforcer.model import HttpTokens, InstanceState, MetadataOptions, OptionsState, Outcome, Result, Switch
from tests.fakes.examples import HOME, IMDS_OFF, V1_ALLOWED, V2_ONLY, an_id, an_instance

NOT_YET = replace(V2_ONLY, state=OptionsState.PENDING)


@pytest.mark.parametrize("state", InstanceState)
def test_only_a_terminated_or_terminating_instance_has_ended(state: InstanceState) -> None:
    """Shutting down always leads to terminated."""
    assert state.ended == (state in {"shutting-down", "terminated"})


@pytest.mark.parametrize("state", InstanceState)
def test_changes_wait_for_the_next_start_of_an_instance_at_rest(state: InstanceState) -> None:
    """A stopping instance stops before EC2 could apply a change."""
    assert state.at_rest == (state in {"stopping", "stopped"})


def test_the_auto_scaling_group_is_read_from_the_tag_that_aws_sets() -> None:
    """And from no other tag."""
    tagged = an_instance(tags={"aws:autoscaling:groupName": "web", "Name": "web-1"})
    assert tagged.auto_scaling_group == "web"
    assert an_instance(tags={"autoscaling:groupName": "web"}).auto_scaling_group is None


def test_the_launch_template_version_is_read_from_the_tags_that_aws_sets() -> None:
    """Without a version tag it is the default version."""
    tags = {"aws:ec2launchtemplate:id": "lt-1", "aws:ec2launchtemplate:version": "7"}
    assert str(an_instance(tags=tags).launch_template) == "lt-1 version 7"
    assert str(an_instance(tags={"aws:ec2launchtemplate:id": "lt-1"}).launch_template) == "lt-1 version $Default"
    assert an_instance(tags={"aws:ec2launchtemplate:version": "7"}).launch_template is None


def test_options_are_logged_under_their_names_in_ec2() -> None:
    """So the log can be compared with `aws ec2 describe-instances`."""
    assert V1_ALLOWED.as_log() == {
        "HttpTokens": "optional",
        "HttpEndpoint": "enabled",
        "HttpPutResponseHopLimit": 1,
        "HttpProtocolIpv6": "disabled",
        "InstanceMetadataTags": "disabled",
        "State": "applied",
    }


@pytest.mark.parametrize("state", OptionsState)
def test_options_agree_whether_they_are_applied_yet_or_not(state: OptionsState) -> None:
    """Their state is a separate question."""
    assert V2_ONLY.agree_with(replace(V2_ONLY, state=state))
    assert replace(V2_ONLY, state=state).agree_with(V2_ONLY)


@pytest.mark.parametrize(
    "other",
    [
        {"http_tokens": HttpTokens.OPTIONAL},
        {"http_endpoint": Switch.DISABLED},
        {"http_put_response_hop_limit": 2},
        {"http_protocol_ipv6": Switch.ENABLED},
        {"instance_metadata_tags": Switch.ENABLED},
    ],
)
def test_options_differ_if_any_of_them_does(other: dict[str, Any]) -> None:
    """Including those that a policy cannot name."""
    assert not V2_ONLY.agree_with(replace(V2_ONLY, **other))


@pytest.mark.parametrize(
    ("outcome", "after", "compliant"),
    [
        (Outcome.COMPLIANT, V2_ONLY, True),
        (Outcome.REMEDIATED, V2_ONLY, True),
        (Outcome.COMPLIANT, NOT_YET, False),
        (Outcome.REMEDIATED, NOT_YET, False),
        (Outcome.COMPLIANT, None, False),
        (Outcome.REMEDIATED, None, False),
        (Outcome.SKIPPED, IMDS_OFF, True),
        (Outcome.SKIPPED, replace(IMDS_OFF, state=OptionsState.PENDING), True),
        (Outcome.SKIPPED, V2_ONLY, False),
        (Outcome.SKIPPED, V1_ALLOWED, False),
        (Outcome.SKIPPED, None, False),
        (Outcome.PENDING, V2_ONLY, False),
        (Outcome.EXEMPT, V1_ALLOWED, False),
        (Outcome.WOULD_REMEDIATE, V2_ONLY, False),
        (Outcome.DEFERRED, None, False),
        (Outcome.GONE, None, False),
        (Outcome.FAILED, V1_ALLOWED, False),
    ],
)
def test_only_an_instance_known_to_follow_the_policy_now_is_compliant(
    outcome: Outcome, after: MetadataOptions | None, *, compliant: bool
) -> None:
    """One whose options are not yet applied is not; one whose metadata service is off is."""
    result = Result(instance_id=an_id(), region=HOME, outcome=outcome, reason="", after=after)
    assert result.compliant is compliant
