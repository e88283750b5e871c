"""Runs AWS CLI commands as printed, without the CLI: the commands in a message must work."""

import json
import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import jmespath  # type: ignore[import-untyped]  # comes with botocore, and has no types
from botocore import xform_name
from botocore.model import Shape

from infra.local.client import LocalAws

_ASSIGNMENT = re.compile(r"(\w+)=\$\((.*)\)")


def run(lines: Iterable[str], aws: LocalAws, *, regions: Collection[str] = ()) -> None:
    """Run each line, which may store its answer in a variable or a file, and may end with a comment.

    Each command must name its region: the account's home region, or one of `regions`.
    """
    variables: dict[str, str] = {}
    for line in lines:
        assignment = _ASSIGNMENT.fullmatch(line)
        words = shlex.split(assignment[2] if assignment else line, comments=True)
        *words, file = words if words[-2] == ">" else [*words, ""]
        words = [variables.get(word.removeprefix("$"), word) for word in words if word != ">"]
        answer = _call(words, aws, {aws.region, *regions})
        if assignment:
            variables[assignment[1]] = answer
        if file:
            Path(file).write_text(answer, "utf-8")


def _call(words: list[str], aws: LocalAws, regions: Collection[str]) -> str:
    program, service, operation, *rest = words
    assert program == "aws"
    service = service.removesuffix("api")  # `aws s3api` is S3's API
    if operation == "wait":
        operation, *rest = rest
    options = _options(rest)
    region = options.pop("region")
    assert region in regions
    client = aws.client(service, region)
    if words[2] == "wait":
        names = {"stack-name": "StackName", "change-set-name": "ChangeSetName", "table-name": "TableName"}
        named = {names[option]: value for option, value in options.items()}
        client.get_waiter(operation.replace("-", "_")).wait(**named, WaiterConfig={"Delay": 1})
        return ""
    query, _format = options.pop("query", "@"), options.pop("output", "")
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
    answer = jmespath.search(query, answer)
    return answer if isinstance(answer, str) else json.dumps(answer, default=str)


def _options(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            name = word.removeprefix("--").removeprefix("no-")
            options[name] = "false" if word.startswith("--no-") else "true"
            first = True
        else:
            options[name] = word if first else f"{options[name]} {word}"
            first = False
    return options


def _value(shape: Shape, value: str) -> Any:
    text = _text(value)
    match shape.type_name:
        case "boolean":
            return text == "true"
        case "blob":
            return Path(text).read_bytes()
        case "structure" if "=" in text:
            return _pairs(text)
        case "list" if text[0] != "[":
            return [_pairs(word) if "=" in word else word for word in text.split()]
        case "structure" | "list":
            return json.loads(text)
        case _:
            return text


def _pairs(text: str) -> dict[str, Any]:
    pairs = dict(pair.split("=") for pair in text.split(","))
    return {name: {"true": True, "false": False}.get(each, each) for name, each in pairs.items()}


def _text(value: str) -> str:
    return Path(value.removeprefix("file://")).read_text("utf-8") if value.startswith("file://") else value
