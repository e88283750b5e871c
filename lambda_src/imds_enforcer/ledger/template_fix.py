"""What was done about a launch template: written down before it is changed and after, so that there is a way back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class FixState(StrEnum):
    """How far it is; `OPEN` from before the first change, until more is known."""

    OPEN = "open"
    FIXED = "fixed"
    WITHDRAWN = "withdrawn"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFix:
    """A version was made from `source`, and is the default in its place if `moves_default`; by whom, and when.

    `version` is its number, empty while that is not known. A fix that was withdrawn has left no version behind.
    """

    run_id: str
    region: str
    template_id: str
    name: str
    source: str
    moves_default: bool
    at: datetime
    by: str | None = None
    version: str = ""
    state: FixState = FixState.OPEN

    @property
    def key(self) -> tuple[str, str]:
        """What a later writing of the same fix has in common with an earlier one."""
        return self.run_id, self.template_id

    @property
    def to_undo(self) -> bool:
        """True if something of it may be there."""
        return self.state in {FixState.OPEN, FixState.FIXED}

    def as_json(self) -> dict[str, Any]:
        """The fix in a document."""
        return {**asdict(self), "at": self.at.isoformat(timespec="microseconds"), "state": str(self.state)}

    @classmethod
    def parsed(cls, document: Mapping[str, Any]) -> TemplateFix:
        """The fix of a document.

        Raises:
            KeyError, TypeError, ValueError: if it is not one.
        """
        at = datetime.fromisoformat(document["at"])
        return cls(**{**document, "at": at, "state": FixState(document["state"])})
