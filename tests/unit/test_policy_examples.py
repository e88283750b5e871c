"""The schema's examples, from which an editor completes a policy: each is one that the enforcer takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.policy import PolicyVersions
from imds_enforcer.policy.parser import parse_policy, schema
from imds_enforcer.policy.problems import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA = schema()
FIELDS: dict[str, Any] = SCHEMA["properties"]


def parts(definition: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The definition with its name, and those within it."""
    yield name, definition
    for kind in ("properties", "definitions"):
        for field, inner in definition.get(kind, {}).items():
            yield from parts(inner, f"{name}.{field}")


EXAMPLES = [
    pytest.param(definition, example, id=f"{name}-{number}")
    for name, definition in parts(SCHEMA, "policy")
    for number, example in enumerate(definition.get("examples", ()))
]


def test_the_schema_has_a_name() -> None:
    """By which editors know it, wherever the file is; another one if what was valid is valid no more."""
    assert SCHEMA["$id"] == "urn:imds-enforcer:policy:1"


@pytest.mark.parametrize(("definition", "example"), EXAMPLES)
def test_an_example_is_allowed_where_it_is(definition: Mapping[str, Any], example: Any) -> None:
    """By the schema, down to its definitions."""
    compiled({"definitions": SCHEMA["definitions"], **definition})(example)


@pytest.mark.parametrize(
    "document", [*SCHEMA["examples"], *({name: each} for name in FIELDS for each in FIELDS[name].get("examples", ()))]
)
def test_an_example_is_a_policy(document: dict[str, Any]) -> None:
    """The whole ones as they are, those of a field as its value."""
    parse_policy("required", json.dumps(document), PolicyVersions())


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_can_be_completed(name: str) -> None:
    """With one of its values, or with an example, of which the first is no null."""
    values = FIELDS[name].get("enum") or FIELDS[name]["examples"]
    assert values[0] is not None
