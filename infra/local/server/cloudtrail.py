"""CloudTrail's record of a call to EC2, delivered as an event."""

import json
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from xml.etree import ElementTree as ET

from infra.local.server import events
from infra.local.server.calls import Answer, Call
from infra.local.server.knobs import KNOBS

RECORDED = frozenset(
    {
        "RunInstances",
        "StartInstances",
        "StopInstances",
        "TerminateInstances",
        "ModifyInstanceMetadataOptions",
        "ModifyInstanceMetadataDefaults",
    }
)
# Calls whose whole request and response CloudTrail wraps in an element of their name.
WRAPPED = frozenset({"ModifyInstanceMetadataOptions", "ModifyInstanceMetadataDefaults"})
ACCOUNT_DIGITS = 12  # as many digits may be an account's id, which is not a number
NUMBERS = frozenset({"MinCount", "MaxCount", "HttpPutResponseHopLimit"})


def record(call: Call, answer: Answer) -> None:
    """Send the event of a call that a trail records; it records no reads."""
    if not (KNOBS.cloudtrail_events and call.service == "ec2" and call.name in RECORDED):
        return
    detail: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": call.caller.user_identity,
        "eventTime": call.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": "ec2.amazonaws.com",
        "eventName": call.name,
        "awsRegion": call.region,
        "sourceIPAddress": call.caller.user_identity.get("invokedBy", "127.0.0.1"),
        "userAgent": call.headers.get("user-agent", ""),
        "requestParameters": _request_parameters(call),
        "responseElements": None,
        "requestID": call.request_id,
        "eventID": call.request_id,
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": call.account,
        "eventCategory": "Management",
    }
    if answer.error:
        origin = "Client" if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR else "Server"
        detail |= {"errorCode": f"{origin}.{answer.error}", "errorMessage": answer.message}
    else:
        detail["responseElements"] = _response_elements(call, answer)
    events.put("aws.ec2", "AWS API Call via CloudTrail", detail, after=KNOBS.cloudtrail_seconds)


def _request_parameters(call: Call) -> dict[str, Any]:
    given = {k: v for k, v in call.parameters.items() if k not in ("Action", "Version", "ClientToken")}
    if call.name in WRAPPED:
        request = {name: _number(value) if name in NUMBERS else value for name, value in given.items()}
        return {f"{call.name}Request": request}
    parameters = _tree(given)
    if call.name != "RunInstances":
        ids = parameters.get("instanceId", {"items": []})["items"]
        return {"instancesSet": {"items": [{"instanceId": each} for each in ids]}}
    counts = {name: parameters.pop(name, 1) for name in ("minCount", "maxCount")}
    image = {"imageId": parameters.pop("imageId", None)}
    if specifications := parameters.pop("tagSpecification", None):
        # Public reports of records show tags under another name than in the request.
        tagged = [
            {"resourceType": each["resourceType"], "tags": each["tag"]["items"]} for each in specifications["items"]
        ]
        parameters["tagSpecificationSet"] = {"items": tagged}
    return {"instancesSet": {"items": [image | counts]}, **parameters}


def _tree(flat: Mapping[str, str]) -> dict[str, Any]:
    """Query parameters as a tree: `Tag.1.Key` becomes `tag.items[0].key`."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, leaf = path.split(".")
        node = tree
        for part in parents:
            node = node.setdefault(_member(part), {})
        node[_member(leaf)] = _number(value) if leaf in NUMBERS else value
    return {name: _listed(node) for name, node in tree.items()}


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    children: Iterable[tuple[str, Any]] = ((name, _listed(child)) for name, child in node.items())
    if all(name.isdigit() for name in node):
        return {"items": [child for _, child in children]}
    return dict(children)


def _response_elements(call: Call, answer: Answer) -> dict[str, Any]:
    root = ET.fromstring(answer.body)  # noqa: S314  # written by this very process
    elements: dict[str, Any] = _element(root)
    if call.name in WRAPPED:
        elements = {f"{call.name}Response": elements}
    size = len(json.dumps(elements))
    if size > KNOBS.response_elements_limit:
        return {"omitted": "true", "originalSize": size, "reason": "responseElements too large"}
    return elements


def _element(node: ET.Element) -> Any:
    children = list(node)
    if not children:
        text = node.text or ""
        return text == "true" if text in ("true", "false") else _number(text)
    names = [re.sub(r"\{.*\}", "", child.tag) for child in children]
    if set(names) == {"item"}:
        return {"items": [_element(child) for child in children]}
    pairs = zip(names, children, strict=True)
    return {name: _element(child) for name, child in pairs if len(child) or child.text}  # no empty sets


def _number(text: str) -> str | int:
    return int(text) if text.isdigit() and len(text) < ACCOUNT_DIGITS else text


def _member(name: str) -> str:
    return name[:1].lower() + name[1:]
