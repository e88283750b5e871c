"""Roles of a template with their permissions boundary, which ministack passes over."""

from collections.abc import Callable
from typing import Any

from ministack.services import iam
from ministack.services.cloudformation import provisioners

Properties = dict[str, Any]
Created = tuple[str, dict[str, Any]]


def with_boundary(original: Callable[..., Created]) -> Callable[..., Created]:
    """The creation or the update of a role, which sets the boundary of the template or takes it away."""

    def provision(*arguments: Any, **named: Any) -> Created:
        # What is wanted are the last properties: an update has the old ones before them.
        wanted: Properties = [each for each in arguments if isinstance(each, dict)][-1]
        name, attributes = original(*arguments, **named)
        iam._roles[name]["PermissionsBoundary"] = wanted.get("PermissionsBoundary")
        return name, attributes

    return provision


def install() -> None:
    """Put this around ministack's provisioning of roles."""
    role = provisioners._RESOURCE_HANDLERS["AWS::IAM::Role"]
    for operation in ("create", "update"):
        role[operation] = with_boundary(role[operation])
