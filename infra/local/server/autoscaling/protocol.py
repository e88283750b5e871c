"""Auto Scaling's requests and answers, by botocore's model."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import autoscaling

from infra.local.server import shapes
from infra.local.server.ec2.protocol import Parameters, Response, flat
from infra.local.server.errors import AwsError

SERVICE = "autoscaling"
PAGE_SIZE, LARGEST_PAGE = 50, 100

Request = dict[str, Any]
Action = Callable[[Request], Mapping[str, Any]]
"""From the input to the output, both as boto3 has them."""


def add_actions(actions: Mapping[str, Action]) -> None:
    """Add actions to Auto Scaling, or replace them."""
    autoscaling._ACTION_MAP.update({name: _answering(name, action) for name, action in actions.items()})


def refused(message: str) -> AwsError:
    """Auto Scaling's error for most invalid requests."""
    return AwsError("ValidationError", message)


def page(name: str, found: Sequence[Mapping[str, Any]], request: Request) -> dict[str, Any]:
    """An output with the requested page under this name, and the token of the next page if there is one."""
    size = request.get("MaxRecords", PAGE_SIZE)
    if not 1 <= size <= LARGEST_PAGE:
        raise refused(f"1 validation error detected: Value '{size}' at 'maxRecords' failed to satisfy constraint")
    begin = int(base64.urlsafe_b64decode(request["NextToken"])) if "NextToken" in request else 0
    end = begin + size
    token = {"NextToken": base64.urlsafe_b64encode(str(end).encode()).decode()} if end < len(found) else {}
    return {name: found[begin:end], **token}


def _answering(name: str, action: Action) -> Callable[[Parameters], Response]:
    def answer(parameters: Parameters) -> Response:
        try:
            output = action(shapes.request(SERVICE, name, flat(parameters)))
        except AwsError as error:
            refusal: Response = autoscaling._error(error.code, escape(error.message), error.status)
            return refusal
        inner = f"<{name}Result>{shapes.answer(SERVICE, name, output)}</{name}Result>" if output else ""
        response: Response = autoscaling._xml(200, f"{name}Response", inner)
        return response

    return answer
