"""The tag keys that exempt instances, as IAM writes patterns."""

import re
from collections.abc import Iterator
from datetime import datetime

from imds_enforcer.policy import Match, Policy

_PART = re.compile(r"\[(!?+\]?+[^\]]*)\]|.", re.DOTALL)
"""One character of an `fnmatch` pattern, or a class of characters; a `[` that is not closed is a character itself."""

_ESCAPED = {"*": "${*}", "?": "${?}", "$": "${$}"}
"""What IAM reads as a pattern or a variable (IAM User Guide, "IAM policy elements: Variables and tags")."""


def exempting_tag_keys(policy: Policy, now: datetime) -> tuple[list[str], list[str]]:
    """The keys that a statement can protect, as IAM's patterns; and those that fit every key, as in the policy.

    IAM knows no classes of characters: `?` stands for them, so that the pattern fits a few more keys.
    """
    keys = {key for each in policy.exemptions if not each.expired(now) for key in _keys(each.match)}
    protected = {_iam_pattern(key) for key in keys if _has_literal(key)}
    return sorted(protected), sorted(key for key in keys if not _has_literal(key))


def _keys(match: Match) -> Iterator[str]:
    if match.tag_key is not None:
        yield match.tag_key
    for each in match.tags:
        yield from _keys(each)


def _has_literal(pattern: str) -> bool:
    """True if the pattern names at least one character: one that fits every key would stop all tagging."""
    return any(part not in {"*", "?"} for part in map(_iam_part, _PART.finditer(pattern)))


def _iam_pattern(pattern: str) -> str:
    return "".join(map(_iam_part, _PART.finditer(pattern)))


def _iam_part(part: re.Match[str]) -> str:
    text, characters = part[0], part[1]
    if characters is None:
        return text if text in {"*", "?"} else _ESCAPED.get(text, text)
    return _ESCAPED.get(characters, characters) if len(characters) == 1 else "?"
