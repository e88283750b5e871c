"""The options that EC2 refused to instances, noted so that not every sweep asks for them again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imds_enforcer.model import Refusal

NOTED_FOR = timedelta(days=30)
"""How long a refusal is believed: the instance's type may change meanwhile, or EC2's rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalNote:
    """The options that EC2 refused to one instance, and the keys of the tags that it had then.

    The note holds only for the values that EC2 refused, so the enforcer tries another value in the policy. It holds
    only while the tag keys stay the same: EC2 checks the keys, not the values (EC2 User Guide, "Tag restrictions").
    """

    instance_id: str
    refused: tuple[Refusal, ...]
    tag_keys: str
    until: datetime

    def applies(self, tags: Iterable[str], now: datetime) -> bool:
        """True for the instance with these tags at this moment."""
        return now < self.until and self.tag_keys == digest(tags)


def digest(tag_keys: Iterable[str]) -> str:
    """A digest of an instance's tag keys, which shows whether they have changed."""
    return hashlib.sha256("\0".join(sorted(tag_keys)).encode()).hexdigest()[:16]
