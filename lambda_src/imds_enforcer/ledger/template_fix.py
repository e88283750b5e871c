"""The fix of a launch template: recorded before and after the change, so that it can be undone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class FixState(StrEnum):
    """How far a fix is. It is `OPEN` from before its first change until its outcome is known."""

    OPEN = "open"
    FIXED = "fixed"
    WITHDRAWN = "withdrawn"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFix:
    """A fix: a new version of a launch template, made from the version `source`; by whom, and when.

    If `moves_default`, the new version becomes the default in place of the source. `version` is the new version's
    number, empty while it is not known. A withdrawn fix has left no version behind.
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
        """What all records of the same fix have in common."""
        return self.run_id, self.template_id

    @property
    def to_undo(self) -> bool:
        """True if the fix may have left something to undo."""
        return self.state in {FixState.OPEN, FixState.FIXED}

    def as_json(self) -> dict[str, Any]:
        """The fix as a document."""
        return {**asdict(self), "at": self.at.isoformat(timespec="microseconds"), "state": str(self.state)}

    @classmethod
    def parsed(cls, document: Mapping[str, Any]) -> TemplateFix:
        """Parse a document.

        Raises:
            KeyError, TypeError, ValueError: if it is not a fix.
        """
        at = datetime.fromisoformat(document["at"])
        return cls(**{**document, "at": at, "state": FixState(document["state"])})
