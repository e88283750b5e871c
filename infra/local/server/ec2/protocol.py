"""EC2's requests and answers: query parameters in, XML out."""

from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import ec2

from infra.local.server.errors import AwsError

Parameters = Mapping[str, list[str]]
Response = tuple[int, dict[str, str], bytes]
Action = Callable[[Parameters], Response]


def flat(parameters: Parameters) -> dict[str, str]:
    """A request's parameters, each with its one value."""
    return {name: values[0] if isinstance(values, list) else values for name, values in parameters.items()}


def listed(parameters: Mapping[str, str], name: str) -> list[str]:
    """The values of a list: `InstanceId.1`, `InstanceId.2` and so on."""
    values: list[str] = ec2._parse_member_list(parameters, name)
    return values


def reply(action: str, inner: str) -> Response:
    """An action's answer."""
    response: Response = ec2._xml(200, f"{action}Response", inner)
    return response


def elements(values: Mapping[str, Any]) -> str:
    """One XML element for each value, by EC2's names: HttpTokens becomes httpTokens."""
    return "".join(
        f"<{name[0].lower()}{name[1:]}>{value}</{name[0].lower()}{name[1:]}>" for name, value in values.items()
    )


def answering_errors(action: Action) -> Action:
    """An action whose AwsError becomes EC2's answer."""

    def answer(parameters: Parameters) -> Response:
        try:
            return action(parameters)
        except AwsError as error:
            response: Response = ec2._error(error.code, escape(error.message), error.status)
            return response

    return answer


def add_actions(actions: Mapping[str, Action]) -> None:
    """Add actions to EC2, or replace them."""
    ec2._ACTION_MAP.update({name: answering_errors(action) for name, action in actions.items()})
