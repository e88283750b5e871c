"""Converts the tag keys that exempt instances into IAM patterns."""

import re
from collections.abc import Iterator
from datetime import datetime

from imds_enforcer.policy import Match, Policy

_PART = re.compile(r"\[(!?+\]?+[^\]]*)\]|.", re.DOTALL)
"""One character of an `fnmatch` pattern, or a character class; an unclosed `[` is a plain character."""

_ESCAPED = {"*": "${*}", "?": "${?}", "$": "${$}"}
"""What IAM would read as a pattern or a variable (IAM User Guide, "IAM policy elements: Variables and tags")."""


def exempting_tag_keys(policy: Policy, now: datetime) -> tuple[list[str], list[str]]:
    """The keys that a statement can protect, as IAM patterns; and those that match every key, as in the policy.

    IAM has no character classes: `?` replaces them, so that the pattern matches a few more keys.
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
    """True if the pattern has at least one literal: a pattern that matches every key would stop all tagging."""
    return any(part not in {"*", "?"} for part in map(_iam_part, _PART.finditer(pattern)))


def _iam_pattern(pattern: str) -> str:
    return "".join(map(_iam_part, _PART.finditer(pattern)))


def _iam_part(part: re.Match[str]) -> str:
    text, characters = part[0], part[1]
    if characters is None:
        return text if text in {"*", "?"} else _ESCAPED.get(text, text)
    return _ESCAPED.get(characters, characters) if len(characters) == 1 else "?"
