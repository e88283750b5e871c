"""From the text of the two parameters to a policy, or to an error that says what to fix."""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NoReturn

import fastjsonschema

from imds_enforcer.model import HttpTokens, Switch
from imds_enforcer.model.wording import shown
from imds_enforcer.policy.account_defaults import AccountDefaults
from imds_enforcer.policy.policy import Exemption, Match, Mode, Policy, PolicyVersions, RegionSelection
from imds_enforcer.policy.problems import compiled, problems
from imds_enforcer.policy.safeguards import CountedBy, Gate, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_CONTAINER_HOP_LIMIT = 2
"""One hop to the host, one more into a container."""

MAX_POLICY_BYTES = 8192
"""The most that an advanced parameter of Parameter Store holds (Systems Manager User Guide)."""


_NAMED = 3
"""How many problems a message names; it counts the rest."""


class PolicyInvalidError(ValueError):
    """The policy is invalid. Each of the `problems` names the field, the value received and the values allowed."""

    def __init__(self, *problems: str) -> None:
        more = len(problems) - _NAMED
        super().__init__("; also ".join(problems[:_NAMED]) + (f"; and {more} more" if more > 0 else ""))
        self.problems = problems


def parse_policy(http_tokens: str | None, document: str | None, versions: PolicyVersions) -> Policy:
    """The policy that the two parameters hold; None stands for a parameter that does not exist.

    Raises:
        PolicyInvalidError: with everything in the two parameters that is missing or not allowed.
    """
    found: list[str] = []
    fields: dict[str, Any] = {}
    if http_tokens not in tuple(HttpTokens):
        is_what = "is missing" if http_tokens is None else f"is {shown(http_tokens)}"
        found.append(f"http-tokens {is_what}; allowed: required or optional")
    try:
        fields = _parse_document(document)
    except PolicyInvalidError as error:
        found += error.problems
    if found:
        raise PolicyInvalidError(*found)
    return _policy(HttpTokens(str(http_tokens)), fields, versions)


def _policy(tokens: HttpTokens, fields: Mapping[str, Any], versions: PolicyVersions) -> Policy:
    ipv6, tags = fields.get("http_protocol_ipv6"), fields.get("instance_metadata_tags")
    hop_limit = fields.get("http_put_response_hop_limit")
    container_hop_limit = fields.get("container_hop_limit", DEFAULT_CONTAINER_HOP_LIMIT)
    max_changes = fields.get("max_changes_per_sweep")
    regions = fields.get("regions", {})
    return Policy(
        http_tokens=tokens,
        mode=Mode(fields.get("mode", Mode.ENFORCE)),
        # JSON Schema accepts 2.0 as an integer; EC2 does not.
        http_put_response_hop_limit=None if hop_limit is None else int(hop_limit),
        container_hop_limit=None if container_hop_limit is None else int(container_hop_limit),
        container_host_tags=_parse_tags(fields.get("container_host_tags", ())),
        http_protocol_ipv6=None if ipv6 is None else Switch(ipv6),
        instance_metadata_tags=None if tags is None else Switch(tags),
        regions=RegionSelection(tuple(regions.get("include", ())), tuple(regions.get("exclude", ()))),
        exemptions=tuple(map(_parse_exemption, fields.get("exemptions", ()))),
        rollout_percent=int(fields.get("rollout_percent", 100)),
        launch_grace_seconds=int(fields.get("launch_grace_seconds", 0)),
        max_changes_per_sweep=None if max_changes is None else int(max_changes),
        gate=_parse_gate(fields.get("legacy_calls")),
        watch=_parse_watch(fields.get("watch", {})),
        account_defaults=_parse_account_defaults(fields.get("account_defaults")),
        versions=versions,
    )


def _parse_document(text: str | None) -> dict[str, Any]:
    if text is None:
        _refuse("policy", "is missing", allowed="a JSON object, {} at least")
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_POLICY_BYTES:
        _refuse("policy", f"is {size:,} bytes long", allowed=f"up to {MAX_POLICY_BYTES:,} bytes")
    twice: list[str] = []

    def fields_of(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        try:
            return without_duplicates(pairs)
        except PolicyInvalidError as error:
            twice.extend(error.problems)
            return dict(pairs)

    try:
        document = json.loads(text, object_pairs_hook=fields_of)
    except ValueError as error:  # not only JSONDecodeError: a number with thousands of digits raises another
        _refuse("policy", f"is not JSON: {error}, in {shown(text)}", allowed="a JSON object")
    except RecursionError:
        _refuse("policy", f"is nested too deeply: {shown(text)}", allowed="a JSON object")
    if found := [*twice, *_problems(document)]:
        raise PolicyInvalidError(*found)
    assert isinstance(document, dict)
    return document


def _problems(document: Any) -> list[str]:
    try:
        _schema_validator()(document)
        json.dumps(document, ensure_ascii=False).encode()
    except (fastjsonschema.JsonSchemaValueException, UnicodeEncodeError) as error:
        # The validator stops at the first problem; the reader gets all of them.
        return problems(schema(), document) or [str(error)]
    return []


def without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a JSON object, for `json.loads`; a field given twice is refused, as either value may be meant.

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
    last_day = _parse_day(fields.get("enforce_after"))
    return Gate(**numbers, enforce_after=last_day, by=CountedBy(fields.get("by", CountedBy.INSTANCE)))


def _parse_watch(fields: Mapping[str, Any] | None) -> Watch | None:
    if fields is None:
        return None
    numbers = {name: int(fields[name]) for name in ("hours", "rejected_calls") if name in fields}
    return Watch(**numbers)


def _parse_account_defaults(fields: Mapping[str, Any] | None) -> AccountDefaults | None:
    if fields is None:
        return None
    hop_limit, tags = fields.get("http_put_response_hop_limit"), fields.get("instance_metadata_tags")
    return AccountDefaults(
        http_put_response_hop_limit=None if hop_limit is None else int(hop_limit),
        instance_metadata_tags=None if tags is None else Switch(tags),
        enforce_tokens=fields.get("enforce_tokens"),
    )


def _parse_day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _parse_tags(tags: Sequence[Mapping[str, str]]) -> tuple[Match, ...]:
    return tuple(Match(tag_key=tag["key"], tag_value=tag.get("value", "*")) for tag in tags)


def _parse_exemption(fields: Mapping[str, Any]) -> Exemption:
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
        expires=_parse_day(fields.get("expires")),
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
    return compiled(schema())


def _refuse(field: str, problem: str, *, allowed: str) -> NoReturn:
    raise PolicyInvalidError(f"{field} {problem}; allowed: {allowed}")
