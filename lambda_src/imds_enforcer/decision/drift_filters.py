"""The instances that a policy changes, as EC2 filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.model import HttpTokens, Switch

if TYPE_CHECKING:
    from imds_enforcer.policy import Policy

HOP_LIMITS = range(1, 65)
"""The hop limits that EC2 accepts."""

Filters = dict[str, list[str]]
"""Filters of DescribeInstances: EC2 ORs the values of one filter, and ANDs the filters."""


def drift_filters(policy: Policy) -> tuple[Filters, ...]:
    """Filters by which EC2 itself selects the instances that differ from the policy.

    There is one set for each option that the policy names. A set selects only instances that agree in the options of
    the sets before it, so that no two sets find the same instance. The sets also find container hosts with more hops
    than the policy names, because EC2 cannot distinguish them from other instances.
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
