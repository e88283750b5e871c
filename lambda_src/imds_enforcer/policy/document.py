"""A policy by its fields, under the names of the policy document: as JSON, as text, and compared with another."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

from imds_enforcer.policy.account_defaults import AccountDefaults
from imds_enforcer.policy.parser import schema
from imds_enforcer.policy.policy import Exemption, Match, RegionSelection
from imds_enforcer.policy.safeguards import Gate, Watch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from imds_enforcer.policy.policy import Policy

_AS_IT_IS = "each instance keeps its own"
_NULL = {
    "container_hop_limit": "no hops are added",
    "max_changes_per_sweep": "no limit",
    "legacy_calls": "no gate",
    "watch": "off",
    "account_defaults": "each region keeps its own",
}


def _fields(policy: Policy) -> dict[str, Any]:
    """Every field of the document, in the order of its schema. The functions below go by the types of the values."""
    return {
        "mode": policy.mode,
        "http_put_response_hop_limit": policy.http_put_response_hop_limit,
        "container_hop_limit": policy.container_hop_limit,
        "container_host_tags": policy.container_host_tags,
        "http_protocol_ipv6": policy.http_protocol_ipv6,
        "instance_metadata_tags": policy.instance_metadata_tags,
        "regions": policy.regions,
        "exemptions": policy.exemptions,
        "rollout_percent": policy.rollout_percent,
        "launch_grace_seconds": policy.launch_grace_seconds,
        "max_changes_per_sweep": policy.max_changes_per_sweep,
        "legacy_calls": policy.gate,
        "watch": policy.watch,
        "account_defaults": policy.account_defaults,
    }


def as_document(policy: Policy, now: datetime | None = None) -> dict[str, Any]:
    """The policy as JSON, with the defaults filled in; `regions` is null for all regions.

    With `now`, each exemption says whether it has expired.
    """
    return {name: _json(value, now) for name, value in _fields(policy).items()}


def as_words(policy: Policy, now: datetime | None = None) -> dict[str, list[str]]:
    """Each field for people, one list entry a line. With `now`, expired exemptions are marked."""
    return {name: _words(name, value, now) for name, value in _fields(policy).items()}


def as_text(policy: Policy) -> str:
    """The toggle and the policy with their versions, and each field, as text for a mail."""
    versions = policy.versions
    lines = [
        f"HttpTokens: {policy.http_tokens} (version {versions.http_tokens})",
        f"Policy (version {versions.policy}):",
    ]
    return "\n".join([*lines, *(f"{name}: {words}" for name, entry in as_words(policy).items() for words in entry)])


def columns() -> list[str]:
    """The columns of the fields in a table: an object has one column for each of its own fields."""
    fields: Mapping[str, Any] = schema()["properties"]
    return [
        f"{name}.{inner}" if inner else name
        for name, field in fields.items()
        for inner in field.get("properties", [""])
    ]


def differences(old: Policy, new: Policy) -> list[str]:
    """The names of the fields in which the policies differ."""
    before, after = _fields(old), _fields(new)
    return [name for name in before if before[name] != after[name]]


def _words(name: str, value: Any, now: datetime | None) -> list[str]:
    if value is None:
        return [_NULL.get(name, _AS_IT_IS)]
    if not isinstance(value, tuple):
        return [str(value)]
    return [_exempt(each, now) if isinstance(each, Exemption) else str(each) for each in value] or ["none"]


def _exempt(exemption: Exemption, now: datetime | None) -> str:
    return exemption.named() + (" (expired)" if now and exemption.expired(now) else "")


def _json(value: Any, now: datetime | None) -> Any:
    match value:
        case tuple():
            return [_json(each, now) for each in value]
        case RegionSelection():
            return {name: list(regions) for name, regions in asdict(value).items() if regions} or None
        case Match():
            return {"key": value.tag_key or "", "value": value.tag_value}
        case Exemption():
            return _exemption(value, now)
        case Gate() | Watch() | AccountDefaults():
            return {name: _json(each, now) for name, each in asdict(value).items()}
        case _:
            return str(value) if isinstance(value, str | date) else value


def _exemption(exemption: Exemption, now: datetime | None) -> dict[str, Any]:
    match = exemption.match
    return _given(
        match=_given(
            instance_id=match.instance_id,
            image_id=match.image_id,
            auto_scaling_group=match.auto_scaling_group,
            launch_template=match.launch_template,
            region=match.region,
            tag=None if match.tag_key is None else _json(match, now),
            tags=_json(match.tags, now) or None,
        ),
        reason=exemption.reason,
        owner=exemption.owner,
        expires=_json(exemption.expires, now),
        expired=None if now is None else exemption.expired(now),
    )


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
