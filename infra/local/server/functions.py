"""Lambda functions: a quick start, the whole log, metrics of every invocation, and destinations."""

import contextlib
import contextvars
import hashlib
import queue
import tempfile
import time
import types
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import cloudwatch, lambda_svc

from infra.local.server.permissions import role_may

END_OF_LOG = "<end of this invocation's log>"
LINE_SECONDS = 1.0  # a process that has died writes no end of the log

_CALL = "            result = handler_fn(event, context)\n"
_CALL_AND_END = f"""\
            try:
                result = handler_fn(event, context)
            finally:
                print({END_OF_LOG!r}, flush=True)
"""

asked_for: contextvars.ContextVar[str] = contextvars.ContextVar("asked_for", default="")
"""The id of the request that invokes a function, used as the invocation's id; empty without a request."""


class Package(zipfile.ZipFile):
    """A function's package. It is unpacked once, and every worker gets a link to it.

    So the byte code that Python compiles for the first worker serves the others.
    """

    def extractall(self, path: Any = None, members: Any = None, pwd: bytes | None = None) -> None:
        """Put a link to the unpacked package at the path, an empty folder."""
        digest = hashlib.sha256(Path(str(self.filename)).read_bytes()).hexdigest()
        shared = Path(tempfile.gettempdir(), f"package-{digest}")
        if not shared.exists():
            fresh = Path(tempfile.mkdtemp())
            super().extractall(fresh, members, pwd)
            with contextlib.suppress(OSError):  # another worker was quicker
                fresh.rename(shared)
        Path(path).rmdir()
        Path(path).symlink_to(shared)


def whole_log(worker: Any) -> str:
    """Everything that an invocation has written, to its last line.

    ministack reads only what arrives within a few milliseconds; on a busy machine the rest would be
    lost, and with it metrics and reports.
    """
    lines: list[str] = []
    with contextlib.suppress(queue.Empty):
        while (line := worker._stderr_queue.get(timeout=LINE_SECONDS)) != END_OF_LOG:
            lines.append(line)
    return "\n".join(lines)


def measured(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """An invocation with Lambda's own metrics, and with the id of the request that invoked it."""
    emit = lambda_svc._emit_lambda_metrics

    def dispatch(
        function: Any, config: Mapping[str, Any], event: Any, request_id: str, started: float
    ) -> dict[str, Any]:
        result = original(function, config, event, asked_for.get() or request_id, started)
        milliseconds = (time.time() - started) * 1000
        emit(config["FunctionName"], milliseconds, error=bool(result.get("error")), throttle=False)
        return result

    return dispatch


def if_allowed(original: Callable[..., None]) -> Callable[..., None]:
    """Send a failed invocation to its destination if the function's role allows that; otherwise count it.

    Lambda Developer Guide, "Capturing records of Lambda asynchronous invocations", "Types of metrics for Lambda
    functions".
    """

    def route(target: str, name: str, event: Any, result: Mapping[str, Any]) -> None:
        role = lambda_svc._functions[name]["config"]["Role"]
        if ":sqs:" not in target or role_may(role, "sqs:SendMessage", target):
            original(target, name, event, result)
        else:
            cloudwatch.record_metric("AWS/Lambda", "DestinationDeliveryFailures", 1, "Count", {"FunctionName": name})

    return route


def install() -> None:
    """Change how ministack's workers start and log, and where metrics are emitted."""
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    if _CALL not in script:
        raise RuntimeError("ministack's worker script has changed: this module was written for another version")
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(_CALL, _CALL_AND_END)
    names = {name: getattr(zipfile, name) for name in ("BadZipFile", "LargeZipFile")}
    lambda_runtime.zipfile = types.SimpleNamespace(ZipFile=Package, **names)
    lambda_runtime.Worker._drain_stderr_bounded = whole_log
    lambda_svc._route_async_failure = if_allowed(lambda_svc._route_async_failure)
    lambda_svc._execute_function_dispatch = measured(lambda_svc._execute_function_dispatch)
    # ministack emits metrics for some kinds of invocations only; `measured` covers all.
    lambda_svc._emit_lambda_metrics = lambda *_, **__: None
