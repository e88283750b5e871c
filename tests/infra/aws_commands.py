"""Commands of the AWS CLI, carried out as printed, without the CLI: what a message names has to work."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.model import Shape

from infra.local.client import LocalAws

_ASSIGNMENT = re.compile(r"(\w+)=\$\((.*)\)")


def run(lines: Iterable[str], aws: LocalAws, region: str = "") -> None:
    """Run each line, which has to name this region; a variable may hold an answer, and comments end lines."""
    variables: dict[str, str] = {}
    for line in lines:
        assignment = _ASSIGNMENT.fullmatch(line)
        words = shlex.split(assignment[2] if assignment else line, comments=True)
        answer = _call([variables.get(word.removeprefix("$"), word) for word in words], aws, region or aws.region)
        if assignment:
            variables[assignment[1]] = answer


def _call(words: list[str], aws: LocalAws, region: str) -> str:
    program, service, operation, *rest = words
    assert program == "aws"
    if operation == "wait":
        operation, *rest = rest
    options = _options(rest)
    assert options.pop("region") == region
    client = aws.client(service, region)
    if words[2] == "wait":
        names = {"stack-name": "StackName", "change-set-name": "ChangeSetName", "table-name": "TableName"}
        named = {names[option]: value for option, value in options.items()}
        client.get_waiter(operation.replace("-", "_")).wait(**named, WaiterConfig={"Delay": 1})
        return ""
    query, _format = options.pop("query", ""), options.pop("output", "")
    method = operation.replace("-", "_")
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
    members: Mapping[str, Shape] = model.input_shape.members
    request: dict[str, Any] = json.loads(_text(options.pop("cli-input-json", "{}")))
    for name, shape in members.items():
        option = xform_name(name, "-")
        if option in options:
            request[name] = _value(shape, options.pop(option))
        elif options.pop(f"no-{option}", ""):
            request[name] = False
    assert not options, f"unknown options {options}"
    answer: Any = getattr(client, method)(**request)
    for key in filter(None, query.split(".")):
        answer = answer[key]
    return str(answer)


def _options(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            name = word.removeprefix("--")
            options[name] = "true"
        else:
            options[name] = word
    return options


def _value(shape: Shape, value: str) -> Any:
    text = _text(value)
    match shape.type_name:
        case "boolean":
            return text == "true"
        case "structure" if "=" in text:
            pairs = dict(pair.split("=") for pair in text.split(","))
            return {name: {"true": True, "false": False}.get(each, each) for name, each in pairs.items()}
        case "structure" | "list":
            return json.loads(text)
        case _:
            return text


def _text(value: str) -> str:
    return Path(value.removeprefix("file://")).read_text("utf-8") if value.startswith("file://") else value
