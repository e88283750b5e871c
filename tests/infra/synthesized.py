"""A synthesized stack in a form that tests can compare."""

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from aws_cdk.cx_api import CloudAssembly

HOME = "eu-central-1"
FORWARDED = "eu-west-1"

Synthesize = Callable[..., CloudAssembly]

_HASH = re.compile(r"[0-9A-F]{8}$")


class Stack:
    """A template whose logical ids have lost CDK's hash, and whose intrinsics are written as `${Name.Arn}`."""

    def __init__(self, template: Mapping[str, Any]) -> None:
        self.template = template
        self.resources: dict[str, dict[str, Any]] = {
            _name(logical_id): readable(resource) for logical_id, resource in template["Resources"].items()
        }

    def properties(self, name: str) -> dict[str, Any]:
        """The properties of one resource, to compare and to take apart."""
        properties: dict[str, Any] = deepcopy(self.resources[name]["Properties"])
        return properties

    def of_type(self, resource_type: str) -> dict[str, dict[str, Any]]:
        """The properties of all resources of one type, by name."""
        return {
            name: resource["Properties"]
            for name, resource in self.resources.items()
            if resource["Type"] == resource_type
        }

    def outputs(self) -> dict[str, Any]:
        """The outputs' values."""
        return {name: readable(output["Value"]) for name, output in self.template.get("Outputs", {}).items()}


def readable(value: Any) -> Any:
    """The value with its intrinsics as text."""
    match value:
        case {"Ref": logical_id}:
            return f"${{{_name(logical_id)}}}"
        case {"Fn::GetAtt": [logical_id, attribute]}:
            return f"${{{_name(logical_id)}.{attribute}}}"
        case {"Fn::Join": [separator, parts]}:
            return separator.join(map(readable, parts))
        case dict():
            return {key: readable(item) for key, item in value.items()}
        case list():
            return [readable(item) for item in value]
        case _:
            return value


def _name(logical_id: str) -> str:
    return _HASH.sub("", logical_id)
