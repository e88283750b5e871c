"""What an SCP denies, for the operators that ours uses; the tests with the simulator check this evaluator."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Request = dict[str, Any]
"""Action, resource, and the keys of the conditions by name."""


def refusing(document: str, request: Request) -> list[str]:
    """The ids of the statements that deny a request."""
    return [each["Sid"] for each in json.loads(document)["Statement"] if _refuses(each, request)]


def _refuses(statement: Mapping[str, Any], request: Request) -> bool:
    assert statement["Effect"] == "Deny"
    return (
        any(_fits(pattern.lower(), request["action"].lower()) for pattern in _many(statement["Action"]))
        and any(_fits(pattern, request["resource"]) for pattern in _many(statement["Resource"]))
        and all(
            _OPERATORS[operator](request["context"].get(key), _many(values))
            for operator, keys in statement["Condition"].items()
            for key, values in keys.items()
        )
    )


_OPERATORS: dict[str, Callable[[Any, list[str]], bool]] = {
    "StringEquals": lambda value, named: value in named,
    "StringNotEquals": lambda value, named: value not in named,
    "ArnNotLike": lambda value, named: value is None or not any(_fits(each, value) for each in named),
    "ForAnyValue:StringLike": lambda values, named: any(_fits(each, key) for each in named for key in values or ()),
    "Bool": lambda value, named: value in named,
    "Null": lambda value, named: [str(value is None).lower()] == named,
    "NumericLessThan": lambda value, named: value is not None and float(value) < float(named[0]),
}


def _many(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values


def _fits(pattern: str, value: str) -> bool:
    """`*` and `?` are wildcards, unless written `${*}` and `${?}`."""
    parts = re.findall(r"\$\{[*?$]\}|.", pattern, re.DOTALL)
    wild = {"*": ".*", "?": "."}
    regex = "".join(wild.get(part) or re.escape(part[2] if len(part) > 1 else part) for part in parts)
    return re.fullmatch(regex, value, re.DOTALL) is not None
