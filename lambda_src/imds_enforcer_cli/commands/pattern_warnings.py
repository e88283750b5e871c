"""Patterns in a valid policy that probably do not match what their author meant."""

import re
from collections.abc import Iterator
from typing import Any

from imds_enforcer.model.wording import shown
from imds_enforcer.policy import Policy
from imds_enforcer.policy.document import as_document

_CLASS = re.compile(r"\[!?+\]?+[^\]]*\]")
"""A character class of `fnmatch`, which matches one character; an unclosed `[` is a literal."""

_LITERAL = "[[]"
_IDS = {"instance_id": "i-", "image_id": "ami-", "launch_template": "lt-"}


def pattern_warnings(policy: Policy) -> list[str]:
    """The warnings for the author, one sentence each; empty if there are none."""
    document = as_document(policy)
    patterns = [*_texts("container_host_tags", document["container_host_tags"])]
    for index, exemption in enumerate(document["exemptions"]):
        patterns += _texts(f"exemptions[{index}].match", exemption["match"])
    return [f"{path} is {shown(pattern)}: {why}" for path, pattern in patterns for why in _warnings(path, pattern)]


def _warnings(path: str, pattern: str) -> Iterator[str]:
    classes = [each for each in _CLASS.findall(pattern) if each != _LITERAL]
    if classes:
        yield f"{classes[0]} matches one character; write {_LITERAL} for a literal ["
    if pattern != pattern.strip():
        yield "the white space at its beginning or end must match too"
    begins, literal = _IDS.get(path.rpartition(".")[2], ""), re.split(r"[*?[]", pattern)[0]
    if not literal.startswith(begins) and not begins.startswith(literal):
        yield f"it matches no instance, because these ids begin with {begins}"


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Each text in this part of the document, with its path."""
    match value:
        case str():
            yield path, value
        case dict():
            for name, inner in value.items():
                yield from _texts(f"{path}.{name}", inner)
        case list():
            for index, inner in enumerate(value):
                yield from _texts(f"{path}[{index}]", inner)
