from __future__ import annotations

import json
from typing import Any

import pytest

from imds_enforcer.policy import PolicyVersions
from imds_enforcer.policy.parser import parse_policy
from imds_enforcer_cli.commands.weakening import TOKENS_OPTIONAL, weakened

EXEMPTION = {"match": {"instance_id": "i-1"}, "reason": "legacy"}
LONGER = EXEMPTION | {"expires": "2030-01-01"}
BOTH = {"match": {"tags": [{"key": "team", "value": "pay"}, {"key": "imds"}]}, "reason": "legacy"}
ONE = {"match": {"tags": [{"key": "team", "value": "pay"}]}, "reason": "legacy"}
GATE: dict[str, Any] = {"legacy_calls": {}}
BY_GROUP: dict[str, Any] = {"legacy_calls": {"by": "group"}}
GATED = "instances with more than 0 IMDSv1 calls in 14 days"
STEPS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"mode": "audit"}, "the enforcer only audits instances, and no longer changes them"),
    (
        {"http_put_response_hop_limit": 1},
        {"http_put_response_hop_limit": 2},
        "http_put_response_hop_limit is 2, not 1",
    ),
    ({"http_put_response_hop_limit": 1}, {}, "http_put_response_hop_limit is no longer set, not 1"),
    ({"http_protocol_ipv6": "disabled"}, {}, "http_protocol_ipv6 is no longer disabled"),
    (
        {"instance_metadata_tags": "disabled"},
        {"instance_metadata_tags": "enabled"},
        "instance_metadata_tags is no longer disabled",
    ),
    ({}, {"regions": {"include": ["eu-west-1"]}}, "the new policy covers only eu-west-1, not all regions"),
    ({}, {"regions": {"exclude": ["eu-west-1"]}}, "the new policy covers all but eu-west-1, not all regions"),
    (
        {"regions": {"include": ["eu-west-1", "eu-west-2"]}},
        {"regions": {"include": ["eu-west-1", "us-east-1"]}},
        "the new policy covers only eu-west-1, us-east-1, not only eu-west-1, eu-west-2",
    ),
    ({}, {"exemptions": [EXEMPTION]}, "the new policy exempts (instance_id i-1) legacy"),
    (
        {"exemptions": [EXEMPTION]},
        {"exemptions": [LONGER]},
        "the new policy exempts (instance_id i-1) legacy, until 2030-01-01",
    ),
    ({"exemptions": [BOTH]}, {"exemptions": [ONE]}, "the new policy exempts (tag team=pay) legacy"),
    ({}, {"rollout_percent": 10}, "the new policy reaches 10 % of the existing instances, not 100 %"),
    ({}, {"launch_grace_seconds": 60}, "the enforcer leaves new instances alone for 60 s, not 0 s"),
    ({}, GATE, f"the gate holds back {GATED}; before, it held back no instances"),
    (GATE, {}, f"the gate holds back no instances; before, it held back {GATED}"),
    # By group it holds back more instances; by instance it no longer protects new ones.
    (GATE, BY_GROUP, f"the gate holds back {GATED}, counted by Auto Scaling group; before, it held back {GATED}"),
    (BY_GROUP, GATE, f"the gate holds back {GATED}; before, it held back {GATED}, counted by Auto Scaling group"),
    ({}, {"watch": None}, "the enforcer no longer watches changed instances for rejected IMDSv1 calls"),
    ({"container_host_tags": [{"key": "nomad"}]}, {}, "tag nomad=* no longer marks container hosts"),
    ({"max_changes_per_sweep": 5}, {}, "one sweep may change any number of instances, not 5"),
    ({"max_changes_per_sweep": 5}, {"max_changes_per_sweep": 6}, "one sweep may change 6 instances, not 5"),
    ({}, {"container_hop_limit": None}, "container_hop_limit is null, not 2"),
    (
        {"account_defaults": {}},
        {},
        "the enforcer no longer sets account_defaults; the regions keep the values that they have",
    ),
    (
        {"account_defaults": {"http_put_response_hop_limit": 2}},
        {"account_defaults": {"http_put_response_hop_limit": 3}},
        "account_defaults.http_put_response_hop_limit is 3, not 2",
    ),
    (
        {"account_defaults": {"http_put_response_hop_limit": 2}},
        {"account_defaults": {}},
        "account_defaults.http_put_response_hop_limit is no longer set, not 2",
    ),
    (
        {"account_defaults": {"instance_metadata_tags": "disabled"}},
        {"account_defaults": {}},
        "account_defaults.instance_metadata_tags is no longer disabled",
    ),
    (
        {"account_defaults": {"enforce_tokens": True}},
        {"account_defaults": {}},
        "account_defaults.enforce_tokens is no longer set",
    ),
]
HARMLESS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"account_defaults": {"enforce_tokens": True}}),
    ({"account_defaults": {}}, {"account_defaults": {"http_put_response_hop_limit": 2}}),
    ({}, {}),
    ({"mode": "audit"}, {"mode": "enforce"}),
    ({"http_put_response_hop_limit": 2}, {"http_put_response_hop_limit": 1}),
    ({}, {"http_put_response_hop_limit": 64}),
    ({}, {"http_protocol_ipv6": "enabled"}),
    ({"regions": {"include": ["eu-west-1"]}}, {}),
    ({"regions": {"include": ["eu-west-1"]}}, {"regions": {"exclude": ["us-east-1"]}}),
    ({"regions": {"exclude": ["eu-west-1", "us-east-1"]}}, {"regions": {"exclude": ["us-east-1"]}}),
    ({"exemptions": [EXEMPTION]}, {}),
    ({"rollout_percent": 10}, {"rollout_percent": 20}),
    ({"watch": None}, {}),
    ({}, {"watch": {"hours": 1, "rejected_calls": 5}}),
    ({}, {"max_changes_per_sweep": 5}),
    ({"container_host_tags": [{"key": "a"}]}, {"container_host_tags": [{"key": "b"}, {"key": "a"}]}),
]


def weaker(old: dict[str, Any], new: dict[str, Any], tokens: str = "required") -> list[str]:
    """What the new document weakens, compared with the old one."""
    versions = PolicyVersions()
    before = parse_policy("required", json.dumps(old), versions)
    return weakened(before, parse_policy(tokens, json.dumps(new), versions))


@pytest.mark.parametrize(("old", "new", "reason"), STEPS)
def test_what_weakens(old: dict[str, Any], new: dict[str, Any], reason: str) -> None:
    """The new policy protects less, allows more, or gives up a safeguard."""
    assert weaker(old, new) == [reason]


@pytest.mark.parametrize(("old", "new"), HARMLESS)
def test_what_does_not_weaken(old: dict[str, Any], new: dict[str, Any]) -> None:
    """No confirmation is needed."""
    assert weaker(old, new) == []


def test_tokens_made_optional() -> None:
    """That always needs a confirmation."""
    assert weaker({}, {}, "optional") == [TOKENS_OPTIONAL]
