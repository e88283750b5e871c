"""How a value that was received is shown in a message."""

from __future__ import annotations

import json

_MAX_LENGTH = 120


def shown(value: object) -> str:
    """The value as JSON in plain ASCII, cut to a length that fits a log line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"
