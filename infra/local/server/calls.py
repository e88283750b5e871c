"""API calls: action, caller, region, and outcome."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from xml.sax.saxutils import unescape

from ministack import app
from ministack.core import iam_actions
from ministack.core.responses import get_account_id, get_region

from infra.local.server.identity import Caller, caller_of

_XML_ERROR = re.compile(rb"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", re.DOTALL)


@dataclass(frozen=True)
class Call:
    """One request to one service."""

    service: str
    name: str
    region: str
    account: str
    caller: Caller
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    request_id: str
    time: datetime

    @property
    def action(self) -> str:
        """The action as IAM names it: `ec2:RunInstances`."""
        return f"{self.service}:{self.name}"


@dataclass(frozen=True)
class Answer:
    """A service's answer; `error` is its code, empty if the call succeeded."""

    status: int
    body: bytes
    error: str = ""
    message: str = ""


def read_call(  # as ministack hands a request on
    method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]], request_id: str
) -> Call:
    """The call that a request makes; `service:unknown` if the request has no known action."""
    merged = app._routing_params(method, path, headers, body, query)
    service = app.detect_service(method, path, headers, merged)
    action = iam_actions.extract_iam_action(service, method, path, headers, body, merged)
    namespace, _, name = (action or f"{service}:unknown").partition(":")
    return Call(
        service=namespace,
        name=name,
        region=get_region(),
        account=get_account_id(),
        caller=caller_of(headers, query),
        parameters={key: values[0] for key, values in merged.items()},
        headers=headers,
        body=body,
        request_id=request_id,
        time=datetime.now(UTC),
    )


def read_answer(status: int, headers: Mapping[str, str], body: Any) -> Answer:
    """How a call ended, whatever protocol the service speaks."""
    content = body if isinstance(body, bytes) else b""
    if status < HTTPStatus.BAD_REQUEST:
        return Answer(status, content)
    if match := _XML_ERROR.search(content):
        code, message = match.groups()
        return Answer(status, content, code.decode(), unescape(message.decode()))
    try:
        error = json.loads(content)
    except ValueError:
        error = {}
    code = headers.get("x-amzn-errortype") or error.get("__type", str(status))
    return Answer(status, content, str(code), str(error.get("message", error.get("Message", ""))))


class Ledger:
    """Counts of calls by account, action, region, caller and outcome."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()

    def count(self, call: Call, answer: Answer) -> None:
        """Count an answered call."""
        self._counts[call.account, call.action, call.region, call.caller.name, answer.error] += 1

    def rows(self) -> list[dict[str, Any]]:
        """The counts, one row for each combination of fields."""
        fields = ("account", "action", "region", "caller", "error")
        return [{**dict(zip(fields, key, strict=True)), "count": n} for key, n in sorted(self._counts.items())]

    def reset(self) -> None:
        """Start again at zero."""
        self._counts.clear()
