"""Requests and answers by botocore's models of the services, so that no field gets lost."""

import functools
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

import botocore.session
from botocore.model import ListShape, OperationModel, ServiceModel, Shape, StructureShape

FLATTENED = ("ec2",)
"""The protocols that write `Name.1` where the others write `Names.member.1`."""

CARRIAGE_RETURN = {"\r": "&#13;"}
"""A parser would turn a bare one into a line feed."""

_NUMBERS = {"integer": int, "long": int, "double": float, "float": float}


@functools.cache
def service(name: str) -> ServiceModel:
    """The model of a service; loading it takes a moment, the first time."""
    return botocore.session.get_session().get_service_model(name)


def operation(service_name: str, name: str) -> OperationModel:
    """The model of an operation."""
    return service(service_name).operation_model(name)


def request(service_name: str, name: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """An operation's input, as boto3 takes it, from the query parameters of its request."""
    shape = operation(service_name, name).input_shape
    found: dict[str, Any] = _read(shape, parameters, "", flat=service_name in FLATTENED) or {}
    return found


def xml(shape: Shape | None, value: Any) -> str:
    """A value as an answer's XML, without members that the shape does not have."""
    if isinstance(shape, StructureShape):
        members = (
            (member, _name(member, name), value[name]) for name, member in shape.members.items() if name in value
        )
        return "".join(f"<{tag}>{xml(member, each)}</{tag}>" for member, tag, each in members)
    if isinstance(shape, ListShape):
        tag = _name(shape.member, "member")
        return "".join(f"<{tag}>{xml(shape.member, each)}</{tag}>" for each in value)
    return escape(str(value).lower() if isinstance(value, bool) else str(value), CARRIAGE_RETURN)


def answer(service_name: str, name: str, output: Mapping[str, Any]) -> str:
    """An operation's output as XML."""
    return xml(operation(service_name, name).output_shape, output)


def _read(shape: Shape | None, parameters: Mapping[str, str], path: str, *, flat: bool) -> Any:
    """The value of the parameters under this path; None if there are no such parameters."""
    if isinstance(shape, StructureShape):
        found = {
            name: _read(member, parameters, f"{path}.{_wire_name(member, name, flat=flat)}".lstrip("."), flat=flat)
            for name, member in shape.members.items()
        }
        return {name: value for name, value in found.items() if value is not None} or None
    if isinstance(shape, ListShape):
        prefix = path if flat else f"{path}.{_name(shape.member, 'member')}"
        items: list[Any] = []
        while (item := _read(shape.member, parameters, f"{prefix}.{len(items) + 1}", flat=flat)) is not None:
            items.append(item)
        return items or None
    text = parameters.get(path)
    if text is None or shape is None:
        return None
    return text == "true" if shape.type_name == "boolean" else _NUMBERS.get(shape.type_name, str)(text)


def _name(shape: Shape, default: str) -> str:
    return str(shape.serialization.get("name", default))


def _wire_name(shape: Shape, name: str, *, flat: bool) -> str:
    """A member's name in a request; EC2 capitalizes its name in answers."""
    if not flat:
        return _name(shape, name)
    given = str(shape.serialization.get("queryName") or _name(shape, name))
    return given[:1].upper() + given[1:]
