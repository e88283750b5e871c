"""From the text of the two parameters to a policy, or to an error that says what to mend."""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NoReturn

import fastjsonschema

from imds_enforcer.model import HttpTokens, Switch
from imds_enforcer.model.wording import shown
from imds_enforcer.policy.policy import Exemption, Match, Mode, Policy, PolicyVersions, RegionSelection
from imds_enforcer.policy.safeguards import CountedBy, Gate, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_CONTAINER_HOP_LIMIT = 2
"""One hop to the host, one more into a container."""

MAX_POLICY_BYTES = 8192
"""The most that an advanced parameter of Parameter Store holds (Systems Manager User Guide)."""


class PolicyInvalidError(ValueError):
    """The policy cannot be read as one. The message names the field, its value and what is allowed."""


def parse_policy(http_tokens: str | None, document: str | None, versions: PolicyVersions) -> Policy:
    """The policy that the two parameters hold; None stands for a parameter that does not exist.

    Raises:
        PolicyInvalidError: if either is missing or says anything that is not allowed.
    """
    tokens = _parse_http_tokens(http_tokens)
    fields = _parse_document(document)
    ipv6, tags = fields.get("http_protocol_ipv6"), fields.get("instance_metadata_tags")
    hop_limit = fields.get("http_put_response_hop_limit")
    container_hop_limit = fields.get("container_hop_limit", DEFAULT_CONTAINER_HOP_LIMIT)
    max_changes = fields.get("max_changes_per_sweep")
    regions = fields.get("regions", {})
    return Policy(
        http_tokens=tokens,
        mode=Mode(fields.get("mode", Mode.ENFORCE)),
        # JSON Schema takes 2.0 for an integer; EC2 does not.
        http_put_response_hop_limit=None if hop_limit is None else int(hop_limit),
        container_hop_limit=None if container_hop_limit is None else int(container_hop_limit),
        container_host_tags=_parse_tags(fields.get("container_host_tags", ())),
        http_protocol_ipv6=None if ipv6 is None else Switch(ipv6),
        instance_metadata_tags=None if tags is None else Switch(tags),
        regions=RegionSelection(tuple(regions.get("include", ())), tuple(regions.get("exclude", ()))),
        exemptions=tuple(
            _parse_exemption(exemption, f"exemptions[{index}]")
            for index, exemption in enumerate(fields.get("exemptions", ()))
        ),
        rollout_percent=int(fields.get("rollout_percent", 100)),
        launch_grace_seconds=int(fields.get("launch_grace_seconds", 0)),
        max_changes_per_sweep=None if max_changes is None else int(max_changes),
        gate=_parse_gate(fields.get("legacy_calls")),
        watch=_parse_watch(fields.get("watch", {})),
        versions=versions,
    )


def _parse_http_tokens(value: str | None) -> HttpTokens:
    if value is None:
        _refuse("http-tokens", "is missing", allowed="required or optional")
    if value not in tuple(HttpTokens):
        _refuse("http-tokens", f"is {shown(value)}", allowed="required or optional")
    return HttpTokens(value)


def _parse_document(text: str | None) -> dict[str, Any]:
    if text is None:
        _refuse("policy", "is missing", allowed="a JSON object, {} at least")
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_POLICY_BYTES:
        _refuse("policy", f"is {size:,} bytes long", allowed=f"up to {MAX_POLICY_BYTES:,} bytes")
    try:
        document = json.loads(text, object_pairs_hook=without_duplicates)
    except PolicyInvalidError:
        raise
    except ValueError as error:  # a number of thousands of digits raises no JSONDecodeError
        _refuse("policy", f"is not JSON: {error}, in {shown(text)}", allowed="a JSON object")
    except RecursionError:
        _refuse("policy", f"is nested too deeply: {shown(text)}", allowed="a JSON object")
    try:
        _schema_validator()(document)
    except fastjsonschema.JsonSchemaValueException as error:
        raise PolicyInvalidError(_explain(error)) from None
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        _refuse("policy", f"has half a character: {shown(error.object[error.start])}", allowed="text in Unicode")
    assert isinstance(document, dict)
    return document


def without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a JSON object, for `json.loads`; one given twice is refused, since nobody knows which was meant.

    Raises:
        PolicyInvalidError: naming the fields.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        _refuse("policy", f"has {', '.join(map(shown, twice))} more than once", allowed="each field once")
    return fields


def _parse_gate(fields: Mapping[str, Any] | None) -> Gate | None:
    if fields is None:
        return None
    numbers = {name: int(fields[name]) for name in ("lookback_days", "tolerate") if name in fields}
    last_day = _parse_day(fields.get("enforce_after"), "legacy_calls.enforce_after", or_null=True)
    return Gate(**numbers, enforce_after=last_day, by=CountedBy(fields.get("by", CountedBy.INSTANCE)))


def _parse_watch(fields: Mapping[str, Any] | None) -> Watch | None:
    if fields is None:
        return None
    numbers = {name: int(fields[name]) for name in ("hours", "rejected_calls") if name in fields}
    return Watch(**numbers)


def _parse_day(text: str | None, path: str, *, or_null: bool = False) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        _refuse(
            path, f"is {shown(text)}", allowed=f"a day of the calendar as YYYY-MM-DD{', or null' if or_null else ''}"
        )


def _parse_tags(tags: Sequence[Mapping[str, str]]) -> tuple[Match, ...]:
    return tuple(Match(tag_key=tag["key"], tag_value=tag.get("value", "*")) for tag in tags)


def _parse_exemption(fields: Mapping[str, Any], path: str) -> Exemption:
    match = fields["match"]
    tag = match.get("tag", {})
    return Exemption(
        match=Match(
            instance_id=match.get("instance_id"),
            image_id=match.get("image_id"),
            auto_scaling_group=match.get("auto_scaling_group"),
            launch_template=match.get("launch_template"),
            region=match.get("region"),
            tag_key=tag.get("key"),
            tag_value=tag.get("value", "*"),
            tags=_parse_tags(match.get("tags", ())),
        ),
        reason=fields["reason"],
        owner=fields.get("owner"),
        expires=_parse_day(fields.get("expires"), f"{path}.expires"),
    )


def schema_text() -> str:
    """The JSON Schema of the policy document."""
    return resources.files("imds_enforcer.policy").joinpath("schema.json").read_text("utf-8")


def schema() -> dict[str, Any]:
    """The JSON Schema of the policy document, parsed."""
    parsed: dict[str, Any] = json.loads(schema_text())
    return parsed


@cache
def _schema_validator() -> Callable[[Any], Any]:
    """Compiled on first use only: most invocations of a warm function find the policy unchanged."""
    validator: Callable[[Any], Any] = fastjsonschema.compile(schema())
    return validator


def _explain(error: fastjsonschema.JsonSchemaValueException) -> str:
    """What is wrong with which field, in the reader's terms instead of the schema's."""
    field = str(error.name).removeprefix("data").removeprefix(".") or "policy"
    definition = error.definition
    names = ", ".join(definition.get("properties", ()))
    match error.rule:
        case "additionalProperties":
            unknown = sorted(set(error.value) - set(definition["properties"]))
            for name, why in definition.get("removed", {}).items():
                if name in unknown:
                    return f"{field} has the removed field {name}: {why}; remove it"
            return f"{field} has the unknown field {shown(unknown[0])}; allowed: {names}"
        case "required":
            absent = next(name for name in definition["required"] if name not in error.value)
            return f"{field} lacks the field {absent}: {shown(error.value)}; allowed: {names}"
        case "minProperties" | "maxProperties":
            number = "exactly one" if "maxProperties" in definition else "at least one"
            return f"{field} is {shown(error.value)}; allowed: {number} of {names}"
        case _:
            return f"{field} is {shown(error.value)}; allowed: {_allowed(definition)}"


def _allowed(definition: Mapping[str, Any]) -> str:
    """The values that a schema's definition allows, in words."""
    if "enum" in definition:
        return ", ".join("null" if value is None else str(value) for value in definition["enum"])
    types = definition["type"] if isinstance(definition["type"], list) else [definition["type"]]
    return _allowed_type(definition, types[0]) + (", or null" if "null" in types else "")


def _allowed_type(definition: Mapping[str, Any], kind: str) -> str:
    if kind == "integer":
        return f"a whole number from {definition['minimum']} to {definition['maximum']}"
    if kind == "object":
        return f"an object with the fields {', '.join(definition['properties'])}"
    if kind == "array":
        return "a list with at least one entry" if "minItems" in definition else "a list"
    if "pattern" in definition:
        return f"text that matches {definition['pattern']}"
    return "text, not empty" if "minLength" in definition else "text"


def _refuse(field: str, problem: str, *, allowed: str) -> NoReturn:
    raise PolicyInvalidError(f"{field} {problem}; allowed: {allowed}")
