"""What EC2 refused to instances: noted, so that it is not asked for again at each sweep."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imds_enforcer.model import Refusal

NOTED_FOR = timedelta(days=30)
"""How long a refusal is believed: the instance may get another type meanwhile, or EC2 other rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalNote:
    """The options that EC2 refused to one instance, which had tags with these keys.

    It is good for the values that were refused, so another value in the policy is tried; and only while the tag
    keys are the same: they are what EC2 looks at (EC2 User Guide, "Tag restrictions"), whatever the tags' values.
    """

    instance_id: str
    refused: tuple[Refusal, ...]
    tag_keys: str
    until: datetime

    def applies(self, tags: Iterable[str], now: datetime) -> bool:
        """True for the instance with these tags at this moment."""
        return now < self.until and self.tag_keys == digest(tags)


def digest(tag_keys: Iterable[str]) -> str:
    """What tells the keys of an instance's tags from others."""
    return hashlib.sha256("\0".join(sorted(tag_keys)).encode()).hexdigest()[:16]
