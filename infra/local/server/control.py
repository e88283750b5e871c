"""The control path: knobs, faults, counts and schedules as JSON under /_local/."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ministack import app
from ministack.services import scheduler

from infra.local.server import gateway
from infra.local.server.faults import Fault
from infra.local.server.knobs import KNOBS, ControlError

PREFIX = "/_local/"
Send = Callable[[dict[str, Any]], Any]
Receive = Callable[[], Any]


def ready(_wish: Mapping[str, Any]) -> object:
    """An answer means that the server is ready."""
    return {"ready": True}


def read_knobs(_wish: Mapping[str, Any]) -> object:
    """The value of every knob."""
    return asdict(KNOBS)


def turn_knobs(wish: Mapping[str, Any]) -> object:
    """Set some knobs."""
    KNOBS.turn(wish)
    app.AUTH = KNOBS.enforce_iam
    return asdict(KNOBS)


def read_calls(_wish: Mapping[str, Any]) -> object:
    """The calls since the last reset of the counts."""
    return gateway.ledger.rows()


def forget_calls(_wish: Mapping[str, Any]) -> object:
    """Count from zero again."""
    gateway.ledger.reset()
    return {}


def add_fault(wish: Mapping[str, Any]) -> object:
    """Add a fault."""
    gateway.faults.append(Fault.of(wish))
    return {}


def clear_faults(_wish: Mapping[str, Any]) -> object:
    """Remove all faults."""
    gateway.faults.clear()
    return {}


def reset(wish: Mapping[str, Any]) -> object:
    """Reset knobs, faults, buckets and counts to the start; resources stay."""
    KNOBS.reset()
    gateway.buckets.reset()
    clear_faults(wish)
    forget_calls(wish)
    return turn_knobs({})


def fire_schedule(wish: Mapping[str, Any]) -> object:
    """Make an enabled schedule due, and run it now: its target gets its input."""
    place = (wish.get("account"), wish.get("region"))
    due = [
        key
        for key, schedule in scheduler._schedules._data.items()
        if key[:2] == place and schedule["Name"] == wish.get("name") and schedule["State"] == "ENABLED"
    ]
    if not due:
        raise ControlError(f"there is no enabled schedule {wish.get('name')!r} in {place}")
    scheduler._schedule_last_fired.update(dict.fromkeys(due, 0))
    scheduler._tick_schedules()
    return {}


ROUTES: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], object]] = {
    ("GET", "ready"): ready,
    ("GET", "knobs"): read_knobs,
    ("POST", "knobs"): turn_knobs,
    ("GET", "calls"): read_calls,
    ("DELETE", "calls"): forget_calls,
    ("POST", "faults"): add_fault,
    ("DELETE", "faults"): clear_faults,
    ("POST", "reset"): reset,
    ("POST", "schedules"): fire_schedule,
}


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The control path in front of ministack."""
    if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
        await app.app(scope, receive, send)
        return
    status, answer = _answer(scope["method"], scope["path"].removeprefix(PREFIX), await _body(receive))
    content = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _answer(method: str, name: str, body: bytes) -> tuple[int, object]:
    route = ROUTES.get((method, name))
    if route is None:
        known = ", ".join(f"{verb} {path}" for verb, path in ROUTES)
        return 404, {"error": f"the control path is {method} {name}; allowed: {known}"}
    try:
        return 200, route(json.loads(body or b"{}"))
    except ValueError as error:  # bad JSON, or a ControlError
        return 400, {"error": str(error)}


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body
