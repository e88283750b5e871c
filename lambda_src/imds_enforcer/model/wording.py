"""How messages count, name what launched an instance, and show a value received."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CREDENTIALS_REFUSED = "AWS does not accept the credentials: the run has ended"

_MAX_LENGTH = 120


def shown(value: object) -> str:
    """The value as JSON in plain ASCII, cut to a length that fits a log line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"


def count(number: int, noun: str, separator: str = "") -> str:
    """The number and its noun, in the plural unless it is 1; `separator` separates thousands."""
    return f"{number:{separator}} {noun if number == 1 else f'{noun}s'}"


def each_count(counts: Mapping[str, int]) -> list[str]:
    """A phrase for each name that was counted."""
    return [f"{number} {name}" for name, number in counts.items() if number]


def regions_unlisted(refusal: object, regions: Sequence[str]) -> str:
    """What to say if EC2 does not list the account's regions."""
    return (
        f"EC2 does not list the account's regions ({refusal}). This covers only {', '.join(regions)}; "
        "name others in the policy's regions.include."
    )


def launched_by(group: str | None, template: object, image: str | None, missing: str = "") -> list[str]:
    """What launched an instance: a phrase each for its group, template and image.

    A phrase without a known name is left out or, with `missing`, has this text for the name.
    """
    parts = {"Auto Scaling group": group, "launch template": template, "image": image}
    return [f"{kind} {name or missing}" for kind, name in parts.items() if name or missing]
