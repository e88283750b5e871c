"""Deploys and removes the stack of `infra.state` through CloudFormation's API, without the CDK CLI.

The CLI takes tags and other options from the user's files and the environment, and any of them could make
CloudFormation write the parameters again. Here only what this module sends reaches the stack.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from infra import state
from infra.account import Account, DeniedError, denials, described
from infra.arguments import DeployError

_CHANGE_SET = "imds-enforcer"
_WAIT = {"Delay": 1, "MaxAttempts": 1800}
_AT_REST = frozenset(
    {
        *("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"),
        *("IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"),
    }
)
_NOTHING_TO_DO = ("didn't contain changes", "No updates are to be performed")


def find(account: Account) -> dict[str, Any] | None:
    """The stack as CloudFormation describes it; None if it does not exist, or if its creation was rolled back."""
    stack = described(account.cloudformation(), state.STACK)
    return None if stack and stack["StackStatus"] == "ROLLBACK_COMPLETE" else stack


def deploy(account: Account, first_values: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Create the stack, or update it if its template differs; then protect it.

    Args:
        account: where to deploy.
        first_values: of the template's parameters; those that the stack has already keep their values.
        tags: to create it with.

    Raises:
        DeployError: if CloudFormation fails, or would write one of the parameters.
    """
    cloudformation = account.cloudformation()
    stack = find(account)
    if stack is None:
        _create(account, cloudformation, first_values, tags)
    elif stack["StackStatus"] not in _AT_REST:
        raise DeployError(
            f"the stack {state.STACK} is {stack['StackStatus']}; allowed: {', '.join(sorted(_AT_REST))}. Wait "
            "until its operation ends, or repair it in CloudFormation; `make destroy-state` removes it with everything "
            "in it"
        )
    elif _deployed_template(cloudformation) != state.template():
        _update(account, cloudformation, stack, first_values)
    _protect(account, cloudformation)


def remove(account: Account) -> list[str]:
    """Delete the stack and each resource that it retains; returns what was deleted.

    Raises:
        DeployError: if CloudFormation fails; or if deleting a resource is denied, after all others are deleted.
    """
    cloudformation = account.cloudformation()
    deleted: list[str] = []
    if stack := described(cloudformation, state.STACK):
        if stack["EnableTerminationProtection"]:
            cloudformation.update_termination_protection(StackName=state.STACK, EnableTerminationProtection=False)
        _delete(account, cloudformation)
        deleted.append(state.STACK)
    denied: list[str] = []
    for what, delete in (
        (f"{state.HTTP_TOKENS}, {state.POLICY}", _delete_parameters),
        (state.LOG_GROUP, _delete_log_group),
        (state.TABLE, _delete_table),
    ):
        try:
            with denials(), _missing_is_fine():
                deleted += delete(account)
        except DeniedError as error:
            denied.append(f"{what}: {error}")
    if denied:
        done = f"deleted in {account.region}: {', '.join(deleted) or 'nothing'}. Denied with these credentials:"
        ways = "With other credentials, `make destroy-state` deletes the rest; `make deploy` prints how to adopt it"
        raise DeployError("\n  ".join([done, *denied, ways]))
    return deleted


def _delete_parameters(account: Account) -> list[str]:
    answer = account.client("ssm").delete_parameters(Names=[state.HTTP_TOKENS, state.POLICY])
    return list(answer["DeletedParameters"])


def _delete_log_group(account: Account) -> list[str]:
    account.client("logs").delete_log_group(logGroupName=state.LOG_GROUP)
    return [state.LOG_GROUP]


def _delete_table(account: Account) -> list[str]:
    dynamodb = account.client("dynamodb")
    if dynamodb.describe_table(TableName=state.TABLE)["Table"].get("DeletionProtectionEnabled"):
        dynamodb.update_table(TableName=state.TABLE, DeletionProtectionEnabled=False)
        dynamodb.get_waiter("table_exists").wait(TableName=state.TABLE, WaiterConfig=_WAIT)
    dynamodb.delete_table(TableName=state.TABLE)
    dynamodb.get_waiter("table_not_exists").wait(TableName=state.TABLE, WaiterConfig=_WAIT)
    return [state.TABLE]


def _create(account: Account, cloudformation: Any, values: Mapping[str, str], tags: Mapping[str, str]) -> None:
    if described(cloudformation, state.STACK):
        # The creation was rolled back: only the stack's name is left.
        cloudformation.update_termination_protection(StackName=state.STACK, EnableTerminationProtection=False)
        _delete(account, cloudformation)
    sys.stdout.write(f"{state.STACK}: creating\n")
    cloudformation.create_stack(
        StackName=state.STACK,
        TemplateBody=json.dumps(state.template()),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
        Tags=[{"Key": name, "Value": value} for name, value in tags.items()],
        RoleARN=account.role_arn,
    )
    _wait(cloudformation, "stack_create_complete")


def _update(account: Account, cloudformation: Any, stack: Mapping[str, Any], values: Mapping[str, str]) -> None:
    """Apply what the template adds, through a change set that must not change the existing parameters."""
    sys.stdout.write(f"{state.STACK}: updating\n")
    known = {each["ParameterKey"] for each in stack.get("Parameters", ())}
    previous = [{"ParameterKey": name, "UsePreviousValue": True} for name in values if name in known]
    new = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items() if name not in known]
    # Exactly the tags that it has; an empty list would remove tags (API reference, CreateChangeSet).
    tags = {"Tags": stack["Tags"]} if stack.get("Tags") else {}
    cloudformation.delete_change_set(StackName=state.STACK, ChangeSetName=_CHANGE_SET)
    cloudformation.create_change_set(
        StackName=state.STACK,
        ChangeSetName=_CHANGE_SET,
        ChangeSetType="UPDATE",
        TemplateBody=json.dumps(state.template()),
        Parameters=[*previous, *new],
        RoleARN=account.role_arn,
        **tags,
    )
    named = {"StackName": state.STACK, "ChangeSetName": _CHANGE_SET}
    try:
        cloudformation.get_waiter("change_set_create_complete").wait(**named, WaiterConfig=_WAIT)
    except WaiterError as error:
        why = error.last_response.get("StatusReason", str(error))
        cloudformation.delete_change_set(**named)
        if any(phrase in why for phrase in _NOTHING_TO_DO):
            return
        raise DeployError(f"the stack {state.STACK} cannot be updated: {why}") from error
    pages = cloudformation.get_paginator("describe_change_set").paginate(**named)
    changes = [change["ResourceChange"] for page in pages for change in page["Changes"]]
    written = [
        change["LogicalResourceId"]
        for change in changes
        if change["LogicalResourceId"] in state.PARAMETERS and change["Action"] != "Add"
    ]
    if written:
        cloudformation.delete_change_set(**named)
        raise DeployError(
            f"the stack {state.STACK} was not updated: CloudFormation would write {', '.join(written)} again, and a "
            "value set by hand would be lost"
        )
    cloudformation.execute_change_set(**named)
    _wait(cloudformation, "stack_update_complete")


def _protect(account: Account, cloudformation: Any) -> None:
    """Switch on termination protection and set the stack policy; report what is denied."""
    name = {"StackName": state.STACK}
    # The bootstrap's deploy role may switch on the protection, but not set a policy.
    for what, protect in (
        ("termination protection", lambda c: c.update_termination_protection(EnableTerminationProtection=True, **name)),
        ("stack policy", lambda c: c.set_stack_policy(StackPolicyBody=json.dumps(state.PROTECTION), **name)),
    ):
        if denied := _denied((cloudformation, account.client("cloudformation")), protect):
            sys.stderr.write(f"The {what} of {state.STACK} was not set: {denied}\n")


def _denied(clients: tuple[Any, ...], call: Callable[[Any], object]) -> str:
    """Why the call was denied to every client; empty if one of them was allowed to make it."""
    why = ""
    for client in clients:
        try:
            with denials():
                call(client)
        except DeniedError as error:
            why = str(error)
        else:
            return ""
    return why


def _deployed_template(cloudformation: Any) -> object:
    """The template as it was submitted; a string if it was not JSON."""
    return cloudformation.get_template(StackName=state.STACK, TemplateStage="Original")["TemplateBody"]


def _delete(account: Account, cloudformation: Any) -> None:
    cloudformation.delete_stack(StackName=state.STACK, RoleARN=account.role_arn)
    _wait(cloudformation, "stack_delete_complete")


def _wait(cloudformation: Any, waiter: str) -> None:
    try:
        cloudformation.get_waiter(waiter).wait(StackName=state.STACK, WaiterConfig=_WAIT)
    except WaiterError as error:
        events = cloudformation.describe_stack_events(StackName=state.STACK)["StackEvents"]
        reasons = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', event['ResourceStatus'])}"
            for event in reversed(events)
            if event["ResourceStatus"].endswith("_FAILED")
        ]
        raise DeployError("\n  ".join([f"the stack {state.STACK} failed: {error}", *reasons])) from error


@contextmanager
def _missing_is_fine() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
