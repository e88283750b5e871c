"""CloudFormation: stack policies, change sets that revert drift, and failures for taken names and protected tables."""

import fnmatch
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from ministack.services import cloudformation, cloudwatch_logs, dynamodb, eventbridge, scheduler, ssm
from ministack.services.cloudformation import changesets, handlers, helpers, provisioners, stacks

Properties = dict[str, Any]
Created = tuple[str, Properties]
Create = Callable[[str, Properties, str], Created]
Response = tuple[int, dict[str, str], bytes]

PARAMETER = "AWS::SSM::Parameter"
TABLES = ("AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable")


def named_once(original: Create, name: str, exists: Callable[[str], bool]) -> Create:
    """Create a resource; fail if one with its literal name exists already."""

    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        if name in properties and exists(properties[name]):
            raise ValueError(f"{properties[name]} already exists")
        return original(logical_id, properties, stack)

    return create


def unless_protected(original: Callable[[str, Properties], None]) -> Callable[[str, Properties], None]:
    """Delete a table; fail while it has deletion protection."""

    def delete(physical_id: str, properties: Properties) -> None:
        if dynamodb._tables.get(physical_id, {}).get("DeletionProtectionEnabled"):
            raise ValueError(
                f"Resource cannot be deleted as it is currently protected against deletion: table/{physical_id}"
            )
        original(physical_id, properties)

    return delete


def obeying_policy(original: Callable[..., Any]) -> Callable[..., Any]:
    """Update one resource, unless the stack's policy denies it.

    A change of tags alone passes: AWS does not document whether a policy stops it, so no caller may rely on that.
    """

    def update(kind: str, identity: str, old: Properties, new: Properties, *rest: Any) -> Any:
        stack_name, logical_id = rest[0], rest[1]
        if _untagged(old) != _untagged(new):
            _refuse_if_denied(stack_name, logical_id, "Update:Modify")
        if kind == PARAMETER and cloudformation._stacks[stack_name].get(_REVERTING):
            ssm._put_parameter({**provisioners._ssm_put_data(identity, _untagged(new)), "Overwrite": True})
        return original(kind, identity, old, new, *rest)

    return update


def keeping_what_is_denied(original: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Run an operation on a stack; an update that would remove a protected resource does nothing."""

    async def deploy(name: str, stack_id: str, template: Properties, *rest: Any, **named: Any) -> None:
        stack = cloudformation._stacks[name]
        previous: Properties = named.get("previous_stack") or {}
        removed = sorted(previous["_resources"].keys() - template["Resources"].keys()) if previous else []
        try:
            for logical_id in removed:
                _refuse_if_denied(name, logical_id, "Update:Delete")
        except ValueError as error:
            stack.update(previous)
            stack.update(StackStatus="UPDATE_ROLLBACK_COMPLETE", StackStatusReason=str(error))
        else:
            await original(name, stack_id, template, *rest, **named)
        stack.pop(_REVERTING, None)
        stack.pop(_POLICY_OF_UPDATE, None)

    return deploy


def with_own_policy(original: Callable[[Properties], Response]) -> Callable[[Properties], Response]:
    """UpdateStack, which may bring a policy that replaces the stack's during the update (API reference)."""

    def update(request: Properties) -> Response:
        response = original(request)
        if response[0] < 400:  # noqa: PLR2004
            # The update itself starts only after this function returns.
            stack = handlers._resolve_stack(helpers._p(request, "StackName"))
            stack[_POLICY_OF_UPDATE] = helpers._p(request, "StackPolicyDuringUpdateBody")
        return response

    return update


def reverting_drift(original: Callable[[Properties], Response]) -> Callable[[Properties], Response]:
    """CreateChangeSet, whose drift-aware change sets also reset parameters to the template's values."""

    def create(request: Properties) -> Response:
        response = original(request)
        if helpers._p(request, "DeploymentMode") == "REVERT_DRIFT" and response[0] < 400:  # noqa: PLR2004
            stack = handlers._resolve_stack(helpers._p(request, "StackName"))
            _, change_set = changesets._find_change_set(helpers._p(request, "ChangeSetName"), stack["StackName"])
            drifted = [*_drifted(stack)]
            if drifted:
                change_set["Changes"] += drifted
                change_set.update({"Status": "CREATE_COMPLETE", "ExecutionStatus": "AVAILABLE", "StatusReason": ""})
                change_set[_REVERTING] = True
        return response

    return create


def executing(original: Callable[[Properties], Response]) -> Callable[[Properties], Response]:
    """ExecuteChangeSet, which notes on the stack that drift is being reverted."""

    def execute(request: Properties) -> Response:
        _, change_set = changesets._find_change_set(
            helpers._p(request, "ChangeSetName"), helpers._p(request, "StackName")
        )
        if change_set and change_set.get(_REVERTING):
            cloudformation._stacks[change_set["StackName"]][_REVERTING] = True
        return original(request)

    return execute


def install() -> None:
    """Wrap ministack's CloudFormation with these rules."""
    for kind, name, exists in (
        ("AWS::Logs::LogGroup", "LogGroupName", lambda name: name in cloudwatch_logs._log_groups),
        ("AWS::Scheduler::Schedule", "Name", lambda name: f"default/{name}" in scheduler._schedules),
        *((table, "TableName", lambda name: name in dynamodb._tables) for table in TABLES),
    ):
        kept = provisioners._RESOURCE_HANDLERS[kind]
        kept["create"] = named_once(kept["create"], name, exists)
    rules = provisioners._RESOURCE_HANDLERS["AWS::Events::Rule"]
    rules["create"] = _new_rule(rules["create"])
    for kind in TABLES:
        tables = provisioners._RESOURCE_HANDLERS[kind]
        tables["delete"] = unless_protected(tables["delete"])
    stacks._update_keeping_seed = obeying_policy(stacks._update_keeping_seed)
    for module in (stacks, handlers, changesets):
        module._deploy_stack_async = keeping_what_is_denied(module._deploy_stack_async)
    handlers._ACTION_HANDLERS["UpdateStack"] = with_own_policy(handlers._update_stack)
    handlers._ACTION_HANDLERS["CreateChangeSet"] = reverting_drift(changesets._create_change_set)
    handlers._ACTION_HANDLERS["ExecuteChangeSet"] = executing(changesets._execute_change_set)


_REVERTING = "_local_reverting_drift"
_POLICY_OF_UPDATE = "_local_policy_of_update"


def _new_rule(original: Create) -> Create:
    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        bus = provisioners._eb_rule_bus_name(properties)
        if "Name" in properties and eventbridge._rule_key(properties["Name"], bus) in eventbridge._rules:
            raise ValueError(f"{properties['Name']} already exists")
        return original(logical_id, properties, stack)

    return create


def _untagged(properties: Properties) -> Properties:
    return {name: value for name, value in properties.items() if name != "Tags"}


def _drifted(stack: Mapping[str, Any]) -> Iterator[Properties]:
    for logical_id, resource in stack["_resources"].items():
        stored = ssm._parameters.get(resource["PhysicalResourceId"])
        if resource["ResourceType"] == PARAMETER and stored and stored["Value"] != resource["Properties"]["Value"]:
            yield {
                "ResourceChange": {
                    "Action": "Modify",
                    "LogicalResourceId": logical_id,
                    "PhysicalResourceId": resource["PhysicalResourceId"],
                    "ResourceType": PARAMETER,
                    "Replacement": "False",
                    "Scope": ["Properties"],
                    "Details": [],
                }
            }


def _refuse_if_denied(stack_name: str, logical_id: str, action: str) -> None:
    """Raise ValueError if the stack's policy does not allow the action on the resource."""
    stack = cloudformation._stacks[stack_name]
    policy = stack.get(_POLICY_OF_UPDATE) or stack.get("_stack_policy")
    if not policy:
        return
    effects = set()
    for statement in json.loads(policy)["Statement"]:
        patterns = {key: _listed(statement[key]) for key in ("Action", "Resource")}
        if _fits(action, patterns["Action"]) and _fits(f"LogicalResourceId/{logical_id}", patterns["Resource"]):
            effects.add(statement["Effect"])
    if effects != {"Allow"}:
        raise ValueError(
            f"Action denied by stack policy: Statement does not allow [{action}] for resource "
            f"[LogicalResourceId/{logical_id}]"
        )


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _fits(value: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)
