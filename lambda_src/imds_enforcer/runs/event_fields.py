"""Read an event's fields one by one; an error names the field, the value received and the values allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from imds_enforcer.model.instance import INSTANCE_ID
from imds_enforcer.model.wording import shown

_REGION = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-[0-9]+")


class MalformedEventError(ValueError):
    """An event that the function does not handle. The message says what is wrong with it."""


def instance_id(value: object) -> str:
    """The id of an instance."""
    if isinstance(value, str) and INSTANCE_ID.fullmatch(value):
        return value
    raise MalformedEventError(f"instance id is {shown(value)}; allowed: i- and 8 or 17 hexadecimal digits")


def region(event: Mapping[str, Any]) -> str:
    """The region that an event comes from."""
    return matching(event, "region", _REGION, "the name of an AWS region")


def moment(event: Mapping[str, Any]) -> datetime:
    """When an event happened, by AWS's clock."""
    said = text(event, "time")
    try:
        parsed = datetime.fromisoformat(said)
    except ValueError:
        raise MalformedEventError(f"time is {shown(said)}; allowed: a moment as YYYY-MM-DDThh:mm:ssZ") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def matching(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str], allowed: str) -> str:
    """A text that matches the whole pattern."""
    value = text(fields, name)
    if not pattern.fullmatch(value):
        raise MalformedEventError(f"{name} is {shown(value)}; allowed: {allowed}")
    return value


def text(fields: Mapping[str, Any], name: str) -> str:
    """A text."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise MalformedEventError(f"{name} is {shown(value)}; allowed: text")
    return value


def mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object."""
    value = fields.get(name)
    if not isinstance(value, Mapping):
        raise MalformedEventError(f"{name} is {shown(value)}; allowed: an object")
    return value


def list_of(fields: Mapping[str, Any], name: str) -> Sequence[Any]:
    """A list."""
    value = fields.get(name)
    if not isinstance(value, list):
        raise MalformedEventError(f"{name} is {shown(value)}; allowed: a list")
    return value
