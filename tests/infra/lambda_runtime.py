"""The part of Lambda's Runtime API that one function under the real runtime client needs."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Any, Self

RUNTIME_CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")
ANSWER_SECONDS = 20.0


class LambdaRuntime:
    """A process with only the package and the runtime client on its path, without the tests' libraries."""

    def __init__(self, package: Path, scratch: Path, environment: Mapping[str, str], arn: str) -> None:
        self._invocations: Queue[Any] = Queue()
        self._answers: Queue[Any] = Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._invocations, self._answers, arn))
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._command = [sys.executable, "-S", "-m", "awslambdaric", "imds_enforcer.handler.handler"]
        self._environment = dict(environment) | {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "enforcer",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "LAMBDA_TASK_ROOT": str(package),
            # Without site-packages (-S): what the package lacks is missing here as it is in Lambda.
            "PYTHONPATH": f"{package}:{_runtime_client(scratch)}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def __enter__(self) -> Self:
        self._thread.start()
        self._process = subprocess.Popen(self._command, env=self._environment)  # noqa: S603
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._server.shutdown()
        self._server.server_close()

    def invoke(self, event: object) -> Any:
        """The function's answer, or the error that it ended with."""
        self._invocations.put(event)
        try:
            return self._answers.get(timeout=ANSWER_SECONDS)
        except Empty:
            raise RuntimeError(f"no answer; exit code so far: {self._process.poll()}") from None


def _runtime_client(scratch: Path) -> Path:
    """A folder with the runtime client and what it imports, linked from the tests' own libraries."""
    for name in RUNTIME_CLIENT:
        for file in distribution(name).files or ():
            if ".." not in file.parts:
                link = scratch / file
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(Path(str(file.locate())))
    return scratch


def _handler(invocations: Queue[Any], answers: Queue[Any], arn: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """The next invocation, as soon as there is one."""
            self._answer(
                200,
                json.dumps(invocations.get()).encode(),
                {
                    "Content-Type": "application/json",  # without it the runtime client crashes
                    "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                    "Lambda-Runtime-Deadline-Ms": str(int((time.time() + 900) * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": arn,
                },
            )

        def do_POST(self) -> None:
            """An answer or an error, of an invocation or of the start."""
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(202, b"{}", {})

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows enough."""

    return Handler
