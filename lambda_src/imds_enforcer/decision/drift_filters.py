"""The instances that a policy changes, as filters of EC2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.model import HttpTokens, Switch

if TYPE_CHECKING:
    from imds_enforcer.policy import Policy

HOP_LIMITS = range(1, 65)
"""The hop limits that EC2 accepts."""

Filters = dict[str, list[str]]
"""Filters of DescribeInstances: values of one are OR-ed, filters are AND-ed."""


def drift_filters(policy: Policy) -> tuple[Filters, ...]:
    """Filters that make EC2 itself pick the instances which differ from the policy.

    One set for each option that the policy names. A set asks for instances that agree in
    the options before it, so that no instance is found by two of them. Container hosts with more
    hops than the policy names are found as well: EC2 cannot tell them from others.
    """
    wanted = {
        "metadata-options.http-tokens": (str(policy.http_tokens), list(map(str, HttpTokens))),
        "metadata-options.http-put-response-hop-limit": (
            _text(policy.http_put_response_hop_limit),
            list(map(str, HOP_LIMITS)),
        ),
        "metadata-options.http-protocol-ipv6": (_text(policy.http_protocol_ipv6), list(map(str, Switch))),
        "metadata-options.instance-metadata-tags": (
            _text(policy.instance_metadata_tags),
            list(map(str, Switch)),
        ),
    }
    agreeing: Filters = {"metadata-options.http-endpoint": [Switch.ENABLED]}
    sets: list[Filters] = []
    for name, (value, values) in wanted.items():
        if value is not None:
            sets.append({**agreeing, name: [other for other in values if other != value]})
            agreeing[name] = [value]
    return tuple(sets)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
