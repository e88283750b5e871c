from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.aws.ec2 import FILTER_VALUES
from imds_enforcer.decision.decision import Verdict, decide
from imds_enforcer.decision.drift_filters import drift_filters
from imds_enforcer.model import HttpTokens, Switch
from tests.fakes.clock import START
from tests.fakes.examples import a_policy, an_instance
from tests.fakes.filter_evaluator import fits
from tests.unit.enforcer.decision.test_decision import EVERY_OPTIONS, EVERY_POLICY

if TYPE_CHECKING:
    from imds_enforcer.policy import Policy


@pytest.mark.parametrize("policy", EVERY_POLICY)
def test_each_differing_instance_is_found_by_exactly_one_set(policy: Policy) -> None:
    """A sweep finds every instance that differs, once, and no other."""
    sets = drift_filters(policy)
    for options in EVERY_OPTIONS:
        instance = an_instance(options=options)
        differs = decide(instance, policy, START).verdict is Verdict.REMEDIATE
        assert sum(fits(instance, one_set) for one_set in sets) == differs


@pytest.mark.parametrize("policy", EVERY_POLICY)
def test_no_filter_finds_an_instance_whose_metadata_service_is_off(policy: Policy) -> None:
    """It satisfies every policy."""
    for options in EVERY_OPTIONS:
        instance = an_instance(options=replace(options, http_endpoint=Switch.DISABLED))
        assert not any(fits(instance, one_set) for one_set in drift_filters(policy))


def test_a_policy_about_tokens_alone_costs_one_request() -> None:
    """Most sweeps find that all is well."""
    assert drift_filters(a_policy()) == (
        {"metadata-options.http-endpoint": ["enabled"], "metadata-options.http-tokens": ["optional"]},
    )


def test_one_set_for_each_option_that_the_policy_names() -> None:
    """Each set requires the options before its own to agree with the policy."""
    policy = a_policy(HttpTokens.OPTIONAL, http_put_response_hop_limit=2, instance_metadata_tags=Switch.DISABLED)
    tokens, hops, tags = drift_filters(policy)
    assert tokens["metadata-options.http-tokens"] == ["required"]
    assert hops["metadata-options.http-tokens"] == ["optional"]
    assert hops["metadata-options.http-put-response-hop-limit"] == [str(n) for n in range(1, 65) if n != 2]
    assert tags == {
        "metadata-options.http-endpoint": ["enabled"],
        "metadata-options.http-tokens": ["optional"],
        "metadata-options.http-put-response-hop-limit": ["2"],
        "metadata-options.instance-metadata-tags": ["enabled"],
    }


def test_no_filter_has_more_values_than_ec2_accepts() -> None:
    """Each value is plain text, as EC2's API requires."""
    policy = a_policy(http_put_response_hop_limit=64, http_protocol_ipv6=Switch.ENABLED)
    for values in (values for one_set in drift_filters(policy) for values in one_set.values()):
        assert 0 < len(values) <= FILTER_VALUES
        assert all(type(value) is str or isinstance(value, Switch) for value in values)
