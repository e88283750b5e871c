"""What an account's own rules require of every deployment: tags, names, a boundary, a bootstrap of its own.

Read from the CDK context without the CDK, so that `make deploy` can check it before it starts anything.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BOUNDARY = "@aws-cdk/core:permissionsBoundary"
QUALIFIER = "@aws-cdk/core:bootstrapQualifier"
KEYS = ("tags", "role_name", "role_path", "termination_protection", BOUNDARY, QUALIFIER)
DEFAULT_QUALIFIER = "hnb659fds"
"""The CDK's default."""

# CloudFormation API reference, CreateStack and Tag.
_MOST_TAGS = 50
_LONGEST_KEY = 128
_LONGEST_VALUE = 256
# IAM API reference, CreateRole.
_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_ROLE_PATH = re.compile(r"/|/[!-~]+/")
_LONGEST_PATH = 512
# The bootstrap's template: with a longer qualifier, its roles' names would be too long.
_QUALIFIER = re.compile(r"[A-Za-z0-9_-]{1,10}")


class ContextError(ValueError):
    """An invalid context value; the message names the key, the value received and the values allowed."""

    def __init__(self, key: str, received: object, allowed: str) -> None:
        super().__init__(f"context {key!r}: received {received!r}; allowed: {allowed}")


@dataclass(frozen=True, kw_only=True)
class AccountRules:
    """The validated rules.

    `role_name` and `role_path` are those of the function's role; without them CloudFormation generates the name, and
    the path is `/`. `boundary` has the form that the CDK reads: the `name` or the `arn` of a policy. `qualifier`
    selects the bootstrap whose roles deploy.
    """

    tags: Mapping[str, str]
    role_name: str | None
    role_path: str | None
    termination_protection: bool
    boundary: Mapping[str, str] | None
    qualifier: str

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "AccountRules":
        """Check `values`, as the CDK's files and `-c` give them.

        Raises:
            ContextError: naming the invalid value.
        """
        return cls(
            tags=checked_tags(_unpacked(values.get("tags"))),
            role_name=_role_name(values.get("role_name")),
            role_path=_role_path(values.get("role_path")),
            termination_protection=flag("termination_protection", values.get("termination_protection")),
            boundary=_boundary(_unpacked(values.get(BOUNDARY))),
            qualifier=_qualifier(values.get(QUALIFIER)),
        )


def checked_tags(received: object) -> Mapping[str, str]:
    """The tags, if CloudFormation accepts them.

    Raises:
        ContextError: if it does not.
    """
    if received in (None, ""):
        return {}
    if not isinstance(received, dict) or not all(isinstance(value, str) for value in received.values()):
        raise ContextError("tags", received, """an object of strings, as in {"team": "x"}""")
    if len(received) > _MOST_TAGS:
        raise ContextError("tags", f"{len(received)} tags", f"{_MOST_TAGS} at most")
    for key, value in received.items():
        if not 1 <= len(key) <= _LONGEST_KEY or key.lower().startswith("aws:"):
            raise ContextError("tags", key, f"keys of 1 to {_LONGEST_KEY} characters that do not begin with aws:")
        if not 1 <= len(value) <= _LONGEST_VALUE:
            raise ContextError("tags", value, f"for {key!r} a value of 1 to {_LONGEST_VALUE} characters")
    return received


def flag(key: str, received: object) -> bool:
    """True or false, given as JSON or as text; false if omitted.

    Raises:
        ContextError: if the value is neither.
    """
    value = str(False if received is None else received).lower()
    if value not in ("true", "false"):
        raise ContextError(key, received, "true | false")
    return value == "true"


def _unpacked(received: object) -> object:
    """The value behind a text given with `-c`: the CDK passes the text on unparsed."""
    if not isinstance(received, str):
        return received
    try:
        return json.loads(received)
    except ValueError:
        return received


def _role_name(received: object) -> str | None:
    if received in (None, ""):
        return None
    if isinstance(received, str) and _ROLE_NAME.fullmatch(received):
        return received
    raise ContextError("role_name", received, "1 to 64 letters, digits and _+=,.@-; empty for a generated name")


def _role_path(received: object) -> str | None:
    # IAM supplies the default: in the template, it would replace the role of earlier deployments.
    if received in (None, "", "/"):
        return None
    if isinstance(received, str) and _ROLE_PATH.fullmatch(received) and len(received) <= _LONGEST_PATH:
        return received
    raise ContextError(
        "role_path", received, f"a path from / to /, without spaces, of {_LONGEST_PATH} characters at most"
    )


def _boundary(received: object) -> Mapping[str, str] | None:
    if received in (None, ""):
        return None
    if isinstance(received, dict) and len(received) == 1:
        match received:
            case {"name": str(name)} if name:
                return {"name": name}
            case {"arn": str(arn)} if arn.startswith("arn:"):
                return {"arn": arn}
    # The CDK would silently deploy without a boundary.
    raise ContextError(BOUNDARY, received, """{"name": "<policy>"} | {"arn": "<its ARN>"}""")


def _qualifier(received: object) -> str:
    if received in (None, ""):
        return DEFAULT_QUALIFIER
    if isinstance(received, str) and _QUALIFIER.fullmatch(received):
        return received
    raise ContextError(QUALIFIER, received, "1 to 10 letters, digits, _ and -")
