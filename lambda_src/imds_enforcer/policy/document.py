"""A policy by its fields: under the names of the policy document, with the defaults filled in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from imds_enforcer.policy import Exemption, Gate, Match, Policy, RegionSelection, Watch

FIELD_COLUMNS = (
    *("mode", "http_put_response_hop_limit", "container_hop_limit", "container_host_tags", "http_protocol_ipv6"),
    *("instance_metadata_tags", "regions.include", "regions.exclude", "exemptions", "rollout_percent"),
    *("launch_grace_seconds", "max_changes_per_sweep", "legacy_calls.lookback_days", "legacy_calls.tolerate"),
    *("legacy_calls.enforce_after", "watch.hours", "watch.rejected_calls"),
)

_NULL = {
    "container_hop_limit": "none are added",
    "regions": "all",
    "max_changes_per_sweep": "any number",
    "legacy_calls": "nobody is held back",
    "watch": "off",
}


def fields_of(policy: Policy, now: datetime | None = None) -> dict[str, Any]:
    """The policy as a document that says everything; `regions` is null for all of them.

    With `now`, each exemption says whether it has expired.
    """
    return {
        "mode": policy.mode.value,
        "http_put_response_hop_limit": policy.http_put_response_hop_limit,
        "container_hop_limit": policy.container_hop_limit,
        "container_host_tags": [_tag(match) for match in policy.container_host_tags],
        "http_protocol_ipv6": policy.http_protocol_ipv6 and policy.http_protocol_ipv6.value,
        "instance_metadata_tags": policy.instance_metadata_tags and policy.instance_metadata_tags.value,
        "regions": _regions(policy.regions),
        "exemptions": [_exemption(each, now) for each in policy.exemptions],
        "rollout_percent": policy.rollout_percent,
        "launch_grace_seconds": policy.launch_grace_seconds,
        "max_changes_per_sweep": policy.max_changes_per_sweep,
        "legacy_calls": policy.gate and _gate(policy.gate),
        "watch": policy.watch and _watch(policy.watch),
    }


def phrases(name: str, value: Any) -> Sequence[str]:
    """The value of a field for people."""
    if value is None:
        return [_NULL.get(name, "as each instance has it")]
    if name == "exemptions":
        return [_exempt(each) for each in value] or ["none"]
    if isinstance(value, list):
        return [_phrase(each) for each in value] or ["none"]
    return [_phrase(value)]


def differences(old: Policy, new: Policy) -> list[dict[str, Any]]:
    """The fields in which the policies differ, each with its value now and then."""
    before, after = fields_of(old), fields_of(new)
    return [{"field": name, "now": before[name], "then": after[name]} for name in before if before[name] != after[name]]


def _phrase(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_phrase(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_phrase, value))
    return value if isinstance(value, str) else json.dumps(value)


def _exempt(fields: Mapping[str, Any]) -> str:
    match = dict(fields["match"])
    if tag := match.get("tag"):
        match["tag"] = f"{tag['key']}={tag['value']}"
    owner = f", owner {fields['owner']}" if "owner" in fields else ""
    until = f", until {fields['expires']}" if "expires" in fields else ""
    return f"({_phrase(match)}) {fields['reason']}{owner}{until}{' (expired)' if fields.get('expired') else ''}"


def _regions(selection: RegionSelection) -> dict[str, list[str]] | None:
    if selection.include:
        return {"include": [*selection.include]}
    return {"exclude": [*selection.exclude]} if selection.exclude else None


def _tag(match: Match) -> dict[str, str]:
    return {"key": match.tag_key or "", "value": match.tag_value}


def _exemption(exemption: Exemption, now: datetime | None) -> dict[str, Any]:
    match = exemption.match
    names = ("instance_id", "image_id", "auto_scaling_group", "region")
    fits: dict[str, Any] = {name: value for name in names if (value := getattr(match, name)) is not None}
    fields: Mapping[str, Any] = {
        "match": fits | ({} if match.tag_key is None else {"tag": _tag(match)}),
        "reason": exemption.reason,
        "owner": exemption.owner,
        "expires": exemption.expires and exemption.expires.isoformat(),
        "expired": None if now is None else exemption.expired(now),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _gate(gate: Gate) -> dict[str, Any]:
    return {
        "lookback_days": gate.lookback_days,
        "tolerate": gate.tolerate,
        "enforce_after": gate.enforce_after and gate.enforce_after.isoformat(),
    }


def _watch(watch: Watch) -> dict[str, Any]:
    return {"hours": watch.hours, "rejected_calls": watch.rejected_calls}
