"""What every API call passes through: delay, limits and faults before it, counts and CloudTrail after it."""

import asyncio
import contextvars
import json
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from hypercorn.asyncio.tcp_server import TCPServer
from ministack import app
from ministack.core import iam_actions

from infra.local.server import cloudtrail, functions, identity
from infra.local.server.calls import Call, Ledger, read_answer, read_call
from infra.local.server.ec2 import describe, instances
from infra.local.server.errors import AwsError
from infra.local.server.faults import Fault, RequestBuckets
from infra.local.server.knobs import KNOBS

Response = tuple[int, dict[str, str], Any]
Dispatch = Callable[..., Awaitable[Response]]

OPERATOR_HEADER = "x-local-operator"
"""Sent with RunInstances by `client.LocalAws.launch`: the service that manages the new instances, as JSON."""

ledger = Ledger()
buckets = RequestBuckets()
faults: list[Fault] = []

_connection: contextvars.ContextVar[asyncio.StreamWriter] = contextvars.ContextVar("connection")
_connections: weakref.WeakSet[asyncio.StreamWriter] = weakref.WeakSet()


def passing(original: Dispatch) -> Dispatch:
    """The dispatcher of ministack, with everything that happens before and after a call."""

    async def dispatch(*request: Any) -> Response:
        call = read_call(*request)
        if latency := _latency(call):
            await asyncio.sleep(latency)
        striking = [each for each in faults if each.strikes(call)]
        fault = striking[0] if striking else None
        try:
            await _before(call, fault)
        except AwsError as error:
            response = error_response(call, error)
        else:
            identity.answer_to(call.caller)
            instances.operator.set(json.loads(call.headers.get(OPERATOR_HEADER, "null")))
            functions.asked_for.set(call.request_id if call.service == "lambda" else "")
            response = await original(*request)
        answer = read_answer(*response)
        ledger.count(call, answer)
        cloudtrail.record(call, answer)
        if fault and fault.kind == "truncate":
            status, answered, content = response
            return status, {**answered, "Content-Length": str(len(content))}, content[: len(content) // 2]
        return response

    return dispatch


def error_response(call: Call, error: AwsError) -> Response:
    """An error in the service's protocol."""
    status, headers, body = iam_actions.access_denied_response(
        "monitoring" if call.service == "cloudwatch" else call.service,
        call.action,
        "",
        call.request_id,
        error_code=error.code,
        message=error.message,
        headers=call.headers,
    )
    # For an error about credentials, ministack chooses the service's own code and status.
    return status if error.code in iam_actions._AUTH_FAILURES else error.status, headers, body


def remembering_connection(original: Callable[[TCPServer], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Serve a connection, and remember it so that it can be cut."""

    async def run(server: TCPServer) -> None:
        _connection.set(server.writer)
        _connections.add(server.writer)
        await original(server)

    return run


def cut_connections() -> None:
    """Cut off every waiting client: the end must not wait for a call that a fault makes hang."""
    for each in list(_connections):
        each.transport.abort()


def install() -> None:
    """Put this module between the HTTP server and the services."""
    app._dispatch_service_request = passing(app._dispatch_service_request)
    TCPServer.run = remembering_connection(TCPServer.run)


def _latency(call: Call) -> float:
    if call.service == "dynamodb" and KNOBS.table_latency_seconds is not None:
        return KNOBS.table_latency_seconds
    return KNOBS.latency_seconds


async def _before(call: Call, fault: Fault | None) -> None:
    if call.service == "ec2" and call.region in _disabled_regions():
        raise AwsError("AuthFailure", "AWS was not able to validate the provided access credentials", status=401)
    buckets.take(call)
    if fault is None:
        return
    if fault.kind == "error":
        raise AwsError(fault.code, fault.message, fault.status)
    if fault.kind == "hang":
        await asyncio.sleep(fault.seconds or 3600)
    if fault.kind == "reset":
        _connection.get().transport.abort()
        raise AwsError("ConnectionReset", "cut off by a fault", 500)


def _disabled_regions() -> set[str]:
    return {name for name, status in describe.region_statuses() if status == "not-opted-in"}
