from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.decision.decision import Decision, Verdict, decide
from imds_enforcer.model import Change, HttpTokens, InstanceState, MetadataOptions, OptionsState, Switch
from tests.fakes.clock import START
from tests.fakes.examples import IMDS_OFF, V1_ALLOWED, V2_ONLY, a_policy, an_exemption, an_instance

if TYPE_CHECKING:
    from imds_enforcer.policy import Policy

EVERY_OPTIONS = [
    MetadataOptions(
        http_tokens=tokens,
        http_endpoint=Switch.ENABLED,
        http_put_response_hop_limit=hops,
        http_protocol_ipv6=ipv6,
        instance_metadata_tags=tags,
    )
    for tokens, hops, ipv6, tags in product(HttpTokens, (1, 2, 64), Switch, Switch)
]
EVERY_POLICY = [
    a_policy(tokens, http_put_response_hop_limit=hops, http_protocol_ipv6=ipv6, instance_metadata_tags=tags)
    for tokens, hops, ipv6, tags in product(HttpTokens, (None, 1, 2), (None, *Switch), (None, *Switch))
]

UNREADABLE = Decision(Verdict.UNREADABLE, "EC2 returned unrecognized metadata options")


def _decide(options: MetadataOptions, policy: Policy) -> Decision:
    return decide(an_instance(options=options), policy, START)


@pytest.mark.parametrize("state", [InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED])
@pytest.mark.parametrize("options", [V1_ALLOWED, V2_ONLY, IMDS_OFF, None])
def test_an_instance_that_has_ended_is_left_alone_whatever_else_is_true(
    state: InstanceState, options: MetadataOptions | None
) -> None:
    """Its options can no longer be changed."""
    instance = an_instance(options=options, state=state, managed_by="eks.amazonaws.com")
    policy = a_policy(exemptions=(an_exemption(),))
    assert decide(instance, policy, START) == Decision(Verdict.ENDED, f"the instance is {state}")


@pytest.mark.parametrize("policy", [a_policy(tokens) for tokens in HttpTokens])
@pytest.mark.parametrize("state", [state for state in InstanceState if not state.ended])
def test_nothing_is_decided_about_unrecognized_options(policy: Policy, state: InstanceState) -> None:
    """They may or may not differ, so the decision claims neither, and nothing is written."""
    decision = decide(an_instance(options=None, state=state), policy, START)
    assert decision == UNREADABLE


def test_an_exemption_and_a_manager_come_before_unrecognized_options() -> None:
    """No one need look at an instance that would be left alone in any case."""
    instance = an_instance(options=None, managed_by="eks.amazonaws.com")
    assert decide(instance, a_policy(exemptions=(an_exemption(),)), START).verdict is Verdict.EXEMPT
    assert decide(instance, a_policy(), START).verdict is Verdict.MANAGED
    assert decide(an_instance(options=None), a_policy(), START) == UNREADABLE


@pytest.mark.parametrize("policy", [replace(p, exemptions=(an_exemption(),)) for p in EVERY_POLICY])
def test_an_instance_whose_metadata_service_is_off_is_never_changed(policy: Policy) -> None:
    """Any change would have to switch it on, and a service that is off satisfies every policy."""
    instance = an_instance(options=IMDS_OFF, managed_by="eks.amazonaws.com")
    decision = decide(instance, policy, START)
    assert decision == Decision(Verdict.IMDS_OFF, "the metadata service is off, which satisfies every policy")


def test_compliance_comes_before_an_exemption_and_a_manager() -> None:
    """An instance that follows the policy needs no excuse."""
    instance = an_instance(options=V2_ONLY, managed_by="eks.amazonaws.com")
    decision = decide(instance, a_policy(exemptions=(an_exemption(),)), START)
    assert decision == Decision(Verdict.COMPLIANT, "HttpTokens is required, all options match the policy")


def test_the_reason_says_if_compliant_options_are_not_yet_applied() -> None:
    """The options match the policy, but the metadata service may not follow them yet."""
    decision = _decide(replace(V2_ONLY, state=OptionsState.PENDING), a_policy())
    assert decision == Decision(
        Verdict.COMPLIANT, "HttpTokens is required, all options match the policy, not yet applied"
    )


def test_an_exemption_comes_before_a_manager() -> None:
    """The account's own reason is the one to show."""
    instance = an_instance(managed_by="eks.amazonaws.com")
    decision = decide(instance, a_policy(exemptions=(an_exemption("old SDK"),)), START)
    assert decision == Decision(Verdict.EXEMPT, "exempt: old SDK")


def test_a_managed_instance_that_differs_is_skipped_and_its_manager_named() -> None:
    """EC2 refuses the account's changes to it."""
    decision = decide(an_instance(managed_by="eks.amazonaws.com"), a_policy(), START)
    assert decision == Decision(Verdict.MANAGED, "managed by eks.amazonaws.com: the account cannot change it")


@pytest.mark.parametrize("state", [state for state in InstanceState if not state.ended])
@pytest.mark.parametrize(
    ("policy", "options"),
    [(a_policy(HttpTokens.REQUIRED), V1_ALLOWED), (a_policy(HttpTokens.OPTIONAL), V2_ONLY)],
)
def test_an_instance_that_differs_is_remediated_either_way_and_in_every_live_state(
    state: InstanceState, policy: Policy, options: MetadataOptions
) -> None:
    """`optional` binds as much as `required` does, and a stopped instance is changed for its next start."""
    decision = decide(an_instance(options=options, state=state), policy, START)
    assert decision == Decision(
        Verdict.REMEDIATE,
        f"HttpTokens is {options.http_tokens}, not {policy.http_tokens}",
        Change(http_tokens=policy.http_tokens),
    )


def test_the_reason_names_every_difference() -> None:
    """The log shows what was found and what is wanted."""
    policy = a_policy(
        http_put_response_hop_limit=2,
        http_protocol_ipv6=Switch.ENABLED,
        instance_metadata_tags=Switch.ENABLED,
    )
    assert _decide(V1_ALLOWED, policy).reason == (
        "HttpTokens is optional, not required, HttpPutResponseHopLimit is 1, not 2, "
        "HttpProtocolIpv6 is disabled, not enabled, InstanceMetadataTags is disabled, not enabled"
    )


def test_an_expired_exemption_protects_no_longer_and_is_named_in_the_reason() -> None:
    """The log line says why the instance was changed."""
    policy = a_policy(exemptions=(an_exemption("old SDK", expires=date(2026, 11, 21)),))
    decision = decide(an_instance(), policy, START)
    assert decision.verdict is Verdict.REMEDIATE
    assert decision.reason == (
        "HttpTokens is optional, not required; its exemption (old SDK, until 2026-11-21) has expired"
    )


def test_an_expired_exemption_of_another_instance_is_not_named() -> None:
    """The reason is about this instance."""
    policy = a_policy(exemptions=(an_exemption(expires=date(2026, 11, 21), region="us-east-1"),))
    assert decide(an_instance(), policy, START).reason == "HttpTokens is optional, not required"


@pytest.mark.parametrize("policy", EVERY_POLICY)
def test_every_change_is_the_smallest_that_satisfies_the_policy(policy: Policy) -> None:
    """For any options: once applied it satisfies the policy, and it names no option that already did."""
    for options in EVERY_OPTIONS:
        decision = _decide(options, policy)
        change = decision.change
        if change is None:
            assert decision.verdict is Verdict.COMPLIANT
            continue
        assert decision.verdict is Verdict.REMEDIATE
        assert change.http_tokens is policy.http_tokens, "EC2 has a default for a value left out"
        assert _decide(change.applied_to(options), policy).verdict is Verdict.COMPLIANT
        for name in ("http_put_response_hop_limit", "http_protocol_ipv6", "instance_metadata_tags"):
            observed, wanted = getattr(options, name), getattr(policy, name)
            assert getattr(change, name) == (wanted if wanted not in {None, observed} else None)


def test_options_that_the_policy_does_not_name_stay_as_they_are() -> None:
    """A hop limit of 3 keeps containers working; only the tokens change."""
    options = replace(V1_ALLOWED, http_put_response_hop_limit=3, instance_metadata_tags=Switch.ENABLED)
    change = _decide(options, a_policy()).change
    assert change is not None
    assert change.applied_to(options) == replace(options, http_tokens=HttpTokens.REQUIRED)
