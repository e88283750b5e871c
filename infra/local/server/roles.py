"""CloudFormation and roles: the boundaries of roles in templates, and the role that CloudFormation assumes."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import cloudformation, iam
from ministack.services.cloudformation import changesets, handlers, helpers, provisioners

Properties = dict[str, Any]
Created = tuple[str, dict[str, Any]]
Response = tuple[int, dict[str, str], bytes]
Action = Callable[[Properties], Response]

_ROLE = "_local_role"


def with_boundary(original: Callable[..., Created]) -> Callable[..., Created]:
    """Create or update a role, with the template's boundary, or without one."""

    def provision(*arguments: Any, **named: Any) -> Created:
        # The last properties are the new ones: an update has the old ones before them.
        wanted: Properties = [each for each in arguments if isinstance(each, dict)][-1]
        name, attributes = original(*arguments, **named)
        iam._roles[name]["PermissionsBoundary"] = wanted.get("PermissionsBoundary")
        return name, attributes

    return provision


def noting_role(original: Action, subject: Callable[[Properties], Properties]) -> Action:
    """An action that may name a role, which is stored in its stack or change set."""

    def act(request: Properties) -> Response:
        response = original(request)
        if (role := helpers._p(request, "RoleARN")) and response[0] < 400:  # noqa: PLR2004
            subject(request)[_ROLE] = role
        return response

    return act


def taking_role(original: Action) -> Action:
    """ExecuteChangeSet, with which the stack takes over the role of the change set."""

    def execute(request: Properties) -> Response:
        if (change_set := _change_set(request)) and (role := change_set.get(_ROLE)):
            cloudformation._stacks[change_set["StackName"]][_ROLE] = role
        return original(request)

    return execute


def showing_role(original: Action) -> Action:
    """DescribeStacks, with the last role given for each stack."""

    def describe(request: Properties) -> Response:
        status, headers, body = original(request)
        roles = {stack["StackId"]: stack[_ROLE] for stack in cloudformation._stacks.values() if _ROLE in stack}

        def with_role(found: re.Match[str]) -> str:
            role = roles.get(found[1])
            return f"{found[0]}<RoleARN>{role}</RoleARN>" if role else found[0]

        return status, headers, re.sub("<StackId>([^<]+)</StackId>", with_role, body.decode()).encode()

    return describe


def install() -> None:
    """Wrap ministack's actions and its handler of roles."""
    role = provisioners._RESOURCE_HANDLERS["AWS::IAM::Role"]
    for operation in ("create", "update"):
        role[operation] = with_boundary(role[operation])
    actions = handlers._ACTION_HANDLERS
    for name, subject in (("CreateStack", _stack), ("UpdateStack", _stack), ("CreateChangeSet", _change_set)):
        actions[name] = noting_role(actions[name], subject)
    actions["ExecuteChangeSet"] = taking_role(actions["ExecuteChangeSet"])
    actions["DescribeStacks"] = showing_role(actions["DescribeStacks"])


def _stack(request: Mapping[str, Any]) -> Any:
    return handlers._resolve_stack(helpers._p(request, "StackName"))


def _change_set(request: Mapping[str, Any]) -> Any:
    _, found = changesets._find_change_set(helpers._p(request, "ChangeSetName"), helpers._p(request, "StackName"))
    return found
