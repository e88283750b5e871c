"""Requiring tokens cuts containers off from the metadata service, unless their host's hop limit lets them reach it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.decision.decision import Verdict, decide
from imds_enforcer.decision.drift_filters import drift_filters
from imds_enforcer.model import HttpTokens
from imds_enforcer.policy import Match
from imds_enforcer.policy.container_hosts import CONTAINER_HOSTS
from tests.fakes.clock import START
from tests.fakes.examples import V1_ALLOWED, V2_ONLY, a_policy, an_instance
from tests.fakes.filter_evaluator import fits

if TYPE_CHECKING:
    from imds_enforcer.decision.decision import Decision
    from imds_enforcer.model import MetadataOptions
    from imds_enforcer.policy import Policy
    from imds_enforcer.policy.container_hosts import ContainerHostTag

EKS = {"kubernetes.io/cluster/prod": "owned"}
NEEDED = 2


def _decide(options: MetadataOptions, policy: Policy, tags: dict[str, str] | None = None) -> Decision:
    return decide(an_instance(options=options, tags=EKS if tags is None else tags), policy, START)


@pytest.mark.parametrize(
    "tags",
    [
        EKS,
        {"eks:cluster-name": "prod"},
        {"aws:eks:cluster-name": "prod"},
        {"karpenter.sh/nodepool": "default"},
        {"karpenter.k8s.aws/ec2nodeclass": "default"},
        {"KubernetesCluster": "prod.example.com"},
        {"k8s.io/role/node": "1"},
        {"kops.k8s.io/instancegroup": "nodes"},
        {"sigs.k8s.io/cluster-api-provider-aws/cluster/prod": "owned"},
        {"AmazonECSManaged": ""},
        {"aws:ecs:clusterName": "prod"},
        {"AWSBatchServiceTag": "batch"},
        {"eks:nodegroup-name": "workers"},
        {"eks:eks-cluster-name": "prod"},
        {"AmazonECSCreated": ""},
        {"red-hat-managed": "true"},
    ],
)
def test_a_container_host_gets_the_hops_that_it_needs_with_the_same_change(tags: dict[str, str]) -> None:
    """And the reason says so."""
    decision = _decide(V1_ALLOWED, a_policy(), tags)
    assert decision.change is not None
    assert decision.change.applied_to(V1_ALLOWED) == replace(V2_ONLY, http_put_response_hop_limit=2)
    assert decision.reason == (
        "HttpTokens is optional, not required, HttpPutResponseHopLimit is 1, not 2; "
        "a container host, which needs 2 hops"
    )


@pytest.mark.parametrize("row", CONTAINER_HOSTS, ids=lambda row: row.key)
def test_each_tag_of_the_table_marks_a_container_host(row: ContainerHostTag) -> None:
    """By its key, whatever its value; and the table names the service that sets it, and a source."""
    key = row.key.replace("*", "prod")
    host, other = (_decide(V1_ALLOWED, a_policy(), {tag: ""}) for tag in (key, f"x{key}"))
    assert host.change is not None
    assert host.change.http_put_response_hop_limit == NEEDED
    assert other.change is not None
    assert other.change.http_put_response_hop_limit is None
    assert row.service
    assert row.source


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"Name": "eks:cluster-name"},
        {"team": "kubernetes.io/cluster/prod"},
        {"elasticbeanstalk:environment-name": "web"},
        {"aws:elasticmapreduce:job-flow-id": "j-1"},
    ],
)
def test_any_other_instance_keeps_its_hop_limit(tags: dict[str, str]) -> None:
    """The value of a tag does not matter."""
    decision = _decide(V1_ALLOWED, a_policy(), tags)
    assert decision.change is not None
    assert decision.change.http_put_response_hop_limit is None


def test_the_policy_can_mark_more_container_hosts() -> None:
    """By tags, with patterns for key and value."""
    policy = a_policy(container_host_tags=(Match(tag_key="role", tag_value="docker-*"),))
    docker, other = (_decide(V1_ALLOWED, policy, {"role": role}) for role in ("docker-build", "web"))
    assert docker.change is not None
    assert docker.change.http_put_response_hop_limit == NEEDED
    assert other.change is not None
    assert other.change.http_put_response_hop_limit is None


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_a_sweep_finds_every_container_host_that_is_to_be_changed(hops: int) -> None:
    """EC2 selects by options and not by tags: it may find more instances, but none fewer."""
    for named, tokens in product((None, 1, 2, 3), HttpTokens):
        policy = a_policy(http_put_response_hop_limit=named, container_hop_limit=2)
        options = replace(V1_ALLOWED, http_tokens=tokens, http_put_response_hop_limit=hops)
        instance = an_instance(options=options, tags=EKS)
        found = [filters for filters in drift_filters(policy) if fits(instance, filters)]
        if decide(instance, policy, START).verdict is Verdict.REMEDIATE:
            assert len(found) == 1


def test_null_adds_no_hops() -> None:
    """A container host is then like any other instance."""
    decision = _decide(V1_ALLOWED, a_policy(container_hop_limit=None))
    assert decision.change is not None
    assert decision.change.http_put_response_hop_limit is None


def test_a_container_host_that_already_requires_tokens_is_left_as_it_is() -> None:
    """Whatever its containers need, it was not the enforcer that cut them off."""
    assert _decide(V2_ONLY, a_policy()).verdict is Verdict.COMPLIANT


def test_allowing_imdsv1_needs_no_more_hops() -> None:
    """It cuts no container off."""
    decision = _decide(V2_ONLY, a_policy(HttpTokens.OPTIONAL))
    assert decision.change is not None
    assert decision.change.http_put_response_hop_limit is None


@pytest.mark.parametrize(
    ("tokens", "hops", "named", "needed"), list(product(HttpTokens, (1, 2, 3, 64), (None, 1, 2, 3), (2, 3)))
)
def test_a_container_host_never_loses_a_hop_that_it_needs(
    tokens: HttpTokens, hops: int, named: int | None, needed: int
) -> None:
    """For any options and policy: it has at least max(policy or observed, needed), and one change is enough."""
    options = replace(V1_ALLOWED, http_tokens=tokens, http_put_response_hop_limit=hops)
    policy = a_policy(http_put_response_hop_limit=named, container_hop_limit=needed)
    change = _decide(options, policy).change
    after = change.applied_to(options) if change else options
    assert _decide(after, policy).verdict is Verdict.COMPLIANT
    if tokens is HttpTokens.OPTIONAL or named not in {None, hops}:
        assert after.http_put_response_hop_limit >= max(named or hops, needed)
    else:
        assert after == options, "it already was as the policy says"
    if named is None or named < needed:
        assert after.http_put_response_hop_limit >= hops


def test_a_hop_limit_in_the_policy_applies_if_it_is_just_what_containers_need() -> None:
    """Even if the container host has more hops now: the policy decides."""
    options = replace(V1_ALLOWED, http_put_response_hop_limit=3)
    change = _decide(options, a_policy(http_put_response_hop_limit=NEEDED, container_hop_limit=NEEDED)).change
    assert change is not None
    assert change.applied_to(options) == replace(V2_ONLY, http_put_response_hop_limit=NEEDED)
