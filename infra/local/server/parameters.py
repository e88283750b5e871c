"""Parameter Store: allowed patterns and sizes are enforced, and changes become events."""

import json
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from ministack.services import ssm

from infra.local.server import events

Request = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
Action = Callable[[Request], Response]

STANDARD_BYTES = 4096
ADVANCED_BYTES = 8192


def put(original: Action) -> Action:
    """PutParameter; if an overwriting request omits the pattern, the old one stays in force."""

    def put_parameter(request: Request) -> Response:
        name, value = request.get("Name", ""), request.get("Value", "")
        existing = ssm._parameters.get(name, {})
        request = {"AllowedPattern": existing.get("AllowedPattern", ""), **request}
        if refusal := _refusal(request, value):
            return refusal
        if request.get("Tier") == "Intelligent-Tiering":
            advanced = len(value.encode()) > STANDARD_BYTES or existing.get("Tier") == "Advanced"
            request["Tier"] = "Advanced" if advanced else "Standard"
        response = original(request)
        if response[0] == HTTPStatus.OK:
            _changed(ssm._parameters[name], "Update" if existing else "Create")
        return response

    return put_parameter


def delete(original: Action, names: Callable[[Request], Iterable[str]]) -> Action:
    """DeleteParameter or DeleteParameters, with an event for each parameter that existed."""

    def delete_parameters(request: Request) -> Response:
        present = [ssm._parameters[name] for name in names(request) if name in ssm._parameters]
        response = original(request)
        for parameter in present:
            _changed(parameter, "Delete")
        return response

    return delete_parameters


def label(original: Action) -> Action:
    """LabelParameterVersion, with an event."""

    def label_version(request: Request) -> Response:
        response = original(request)
        if response[0] == HTTPStatus.OK and not json.loads(response[2]).get("InvalidLabels"):
            _changed(ssm._parameters[request["Name"]], "LabelParameterVersion")
        return response

    return label_version


def install() -> None:
    """Wrap Parameter Store's writes; CloudFormation's go through them too."""
    ssm._put_parameter = put(ssm._put_parameter)
    ssm._delete_parameter = delete(ssm._delete_parameter, lambda request: [request.get("Name", "")])
    ssm._delete_parameters = delete(ssm._delete_parameters, lambda request: request.get("Names", []))
    ssm._label_parameter_version = label(ssm._label_parameter_version)


def _refusal(request: Request, value: str) -> Response | None:
    pattern = request["AllowedPattern"]
    if pattern and not re.search(pattern, value):
        return _error(
            "ParameterPatternMismatchException",
            f"Parameter value, {value}, failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {pattern}",
        )
    size = len(value.encode())
    limit = ADVANCED_BYTES if request.get("Tier") in ("Advanced", "Intelligent-Tiering") else STANDARD_BYTES
    if size > limit:
        return _error(
            "ValidationException",
            f"{request.get('Tier', 'Standard')} tier parameters support a maximum parameter value of "
            f"{limit} characters; this one has {size}.",
        )
    return None


def _error(code: str, message: str) -> Response:
    response: Response = ssm.error_response_json(code, message, 400)
    return response


def _changed(parameter: Request, operation: str) -> None:
    detail = {"operation": operation, "name": parameter["Name"], "type": parameter["Type"]}
    if parameter.get("Description"):
        detail["description"] = parameter["Description"]
    events.put("aws.ssm", "Parameter Store Change", detail, resources=[parameter["ARN"]])
