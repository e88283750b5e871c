"""IAM enforcement where ministack's stops short: lists, batches, condition keys, and roles that AWS itself uses."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator, router
from ministack.core.responses import get_account_id, get_region
from ministack.services import dynamodb, iam

Handler = Callable[..., Awaitable[tuple[int, dict[str, str], Any]]]
LISTING = "ssm:GetParameters"
OPTIONS_CHANGES = ("ec2:ModifyInstanceMetadataOptions", "ec2:ModifyInstanceMetadataDefaults")


def first_parameter(original: Callable[..., str]) -> Callable[..., str]:
    """The resource of a request; for GetParameters, which names several, the first."""

    def resource(service: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any) -> str:
        names = _listed_names(headers, body) if service == "ssm" else []
        return _arn(names[0]) if names else original(service, method, path, headers, body, *rest)

    return resource


def batches_as_singles(original: Callable[..., str | None]) -> Callable[..., str | None]:
    """The action that a request needs; SQS's batch calls need the same as the single ones."""

    def action(*request: Any) -> str | None:
        name = original(*request)
        return name.removesuffix("Batch") if name and name.startswith("sqs:") else name

    return action


def with_attributes(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The condition keys of a request; `ec2:Attribute/…` are the options or defaults that a change names.

    EC2 User Guide, "Example policies to control access to the Amazon EC2 API".
    """

    def context(service: str, action: str, body: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
        keys = original(service, action, body, parameters)
        if action in OPTIONS_CHANGES:
            named = {name: iam_actions._query_param(parameters, name) for name in parameters}
            keys |= {f"ec2:Attribute/{name}": value for name, value in named.items()}
        return keys

    return context


def with_leading_keys(original: Callable[[bytes], dict[str, Any]]) -> Callable[[bytes], dict[str, Any]]:
    """The condition keys of a request to DynamoDB; for PutItem, `dynamodb:LeadingKeys` is the item's partition key.

    DynamoDB Developer Guide, "Using IAM policy conditions for fine-grained access control".
    """

    def context(body: bytes) -> dict[str, Any]:
        keys, request = original(body), json.loads(body or b"{}")
        table = dynamodb._tables.get(dynamodb._normalize_table_name(request.get("TableName")))
        if table and "Item" in request:
            keys["dynamodb:LeadingKeys"] = [*request["Item"][table["pk_name"]].values()]
        return keys

    return context


def with_roles(original: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """The value of a condition key; for `aws:PrincipalArn` in a role's session, it is the role's ARN."""

    def value(key: str, context: Any) -> Any:
        if key.lower() == "aws:principalarn" and ":assumed-role/" in context.principal_arn:
            role = iam._roles.get_scoped(context.principal_account, None, context.principal_arn.split("/")[1])
            return role["Arn"]
        return original(key, context)

    return value


def every_parameter(original: Handler) -> Handler:
    """Parameter Store, which checks GetParameters for each of the names in a request."""

    async def handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]
    ) -> tuple[int, dict[str, str], Any]:
        key = router.extract_access_key_id(headers, query)
        for arn in map(_arn, _listed_names(headers, body) if app.AUTH else []):
            denied = iam_evaluator.enforce(key, LISTING, "ssm", get_region(), resource_arn=arn)
            if denied:
                refusal: tuple[int, dict[str, str], bytes] = iam_actions.access_denied_response(
                    "ssm", LISTING, denied.principal_arn, "", headers=headers, resource_arn=arn
                )
                return refusal
        return await original(method, path, headers, body, query)

    return handle


def role_may(role_arn: str, action: str, resource: str) -> bool:
    """Whether a role that AWS itself assumes may do something; always, unless IAM is enforced."""
    if not app.AUTH:
        return True
    account = get_account_id()
    context = iam_evaluator.EvalContext(
        principal_arn=role_arn,
        principal_type="AssumedRole",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=get_region(),
    )
    policies = iam_evaluator._gather_role_policies(role_arn.rsplit("/", 1)[-1], account)
    return bool(iam_evaluator.evaluate(context, policies).decision == "Allow")


def install() -> None:
    """Complete the checks."""
    pin_origin = app.pin_request_origin
    # Loopback requests are not encrypted; tell policies that require TLS that they are.
    app.pin_request_origin = lambda address, _secure: pin_origin(address, secure_transport=True)
    iam_actions.extract_iam_action = batches_as_singles(iam_actions.extract_iam_action)
    iam_actions.extract_resource_arn = first_parameter(iam_actions.extract_resource_arn)
    iam_actions.request_tag_context = with_attributes(iam_actions.request_tag_context)
    iam_actions.dynamodb_service_context = with_leading_keys(iam_actions.dynamodb_service_context)
    iam_evaluator._resolve_condition_key = with_roles(iam_evaluator._resolve_condition_key)
    app.SERVICE_HANDLERS["ssm"] = every_parameter(app.SERVICE_HANDLERS["ssm"])


def _listed_names(headers: dict[str, str], body: bytes) -> list[str]:
    if not headers.get("x-amz-target", "").endswith(".GetParameters"):
        return []
    names: list[str] = json.loads(body).get("Names", [])
    return names


def _arn(name: str) -> str:
    return f"arn:aws:ssm:{get_region()}:{get_account_id()}:parameter/{name.lstrip('/')}"
