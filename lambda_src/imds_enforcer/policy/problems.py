"""Everything that is wrong with a policy document, each problem in the reader's terms: X is Y; allowed: Z."""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any

import fastjsonschema

from imds_enforcer.model.wording import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_PARTS = frozenset({"$ref", "properties", "items", "required", "additionalProperties"})
"""The keywords with which a definition describes the parts of a value. The parts are checked one by one."""

_NUMBER_OF_FIELDS = frozenset({"minProperties", "maxProperties"})


def compiled(schema: dict[str, Any]) -> Callable[[Any], Any]:
    """A function that validates a value by a JSON Schema, and raises fastjsonschema's error at the first problem."""
    validate: Callable[[Any], Any] = fastjsonschema.compile(schema, formats={"date": _is_day})
    return validate


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_half(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def problems(schema: Mapping[str, Any], document: Any) -> list[str]:
    """Everything in a document that its schema does not allow, in the order of the schema's fields."""
    return [*_within(schema["definitions"], schema, document, "policy")]


def _within(definitions: Mapping[str, Any], definition: Mapping[str, Any], value: Any, name: str) -> Iterator[str]:
    """The problems of a value, and then those of each part of it."""
    if "$ref" in definition:
        definition = definitions[definition["$ref"].rpartition("/")[2]]
    fields = definition.get("properties", {})
    unknown = sorted(value.keys() - fields.keys()) if isinstance(value, dict) else []
    # An unknown field is most likely a known one misspelt, so the number of known fields says nothing.
    if rule := _broken_rule(definition, value, passed_over=_PARTS | (_NUMBER_OF_FIELDS if unknown else set())):
        yield f"{name} is {shown(value)}; allowed: {_allowed(definition, rule)}"
    elif isinstance(value, str) and (half := next(filter(_is_half, value), None)):
        # Text with one could be neither logged nor mailed.
        yield f"{name} has an unpaired surrogate: {shown(half)}; allowed: valid Unicode text"
    if isinstance(value, dict) and fields:
        inside = "" if name == "policy" else f"{name}."
        yield from _wrong_fields(definition, value, unknown, name)
        for field in [each for each in fields if each in value]:
            yield from _within(definitions, fields[field], value[field], f"{inside}{field}")
    elif isinstance(value, list) and "items" in definition:
        for index, each in enumerate(value):
            yield from _within(definitions, definition["items"], each, f"{name}[{index}]")


def _wrong_fields(definition: Mapping[str, Any], value: dict[str, Any], unknown: list[str], name: str) -> Iterator[str]:
    removed, names = definition.get("removed", {}), ", ".join(definition["properties"])
    for field in [each for each in removed if each in unknown]:
        yield f"{name} has the removed field {field}: {removed[field]}; remove it"
    for field in [each for each in unknown if each not in removed]:
        yield f"{name} has the unknown field {shown(field)}; allowed: {names}"
    for field in definition.get("required", ()):
        if field not in value:
            yield f"{name} lacks the field {field}: {shown(value)}; allowed: {names}"


def _broken_rule(definition: Mapping[str, Any], value: Any, *, passed_over: frozenset[str]) -> str | None:
    """The first rule that the value itself breaks; None if it follows all rules."""
    rules = {rule: limit for rule, limit in definition.items() if rule not in passed_over}
    try:
        _compiled_once(json.dumps(rules))(value)
    except fastjsonschema.JsonSchemaValueException as error:
        return str(error.rule)
    return None


@cache
def _compiled_once(text: str) -> Callable[[Any], Any]:
    return compiled(json.loads(text))


def _allowed(definition: Mapping[str, Any], rule: str) -> str:
    """The values that a schema's definition allows, in words."""
    if rule in _NUMBER_OF_FIELDS:
        number = "exactly one" if "maxProperties" in definition else "at least one"
        return f"{number} of {', '.join(definition['properties'])}"
    if "enum" in definition:
        return ", ".join(each if isinstance(each, str) else json.dumps(each) for each in definition["enum"])
    types = definition["type"] if isinstance(definition["type"], list) else [definition["type"]]
    kind = "a calendar date as YYYY-MM-DD" if rule == "format" else _allowed_type(definition, types[0])
    return kind + (", or null" if "null" in types else "")


def _allowed_type(definition: Mapping[str, Any], kind: str) -> str:
    if kind == "integer":
        return f"a whole number from {definition['minimum']} to {definition['maximum']}"
    if kind == "object":
        return f"an object with the fields {', '.join(definition['properties'])}"
    if kind == "array":
        return "a list with at least one entry" if "minItems" in definition else "a list"
    if "pattern" in definition:
        return f"text that matches {definition['pattern']}"
    return "non-empty text" if "minLength" in definition else "text"
