"""The function in a process that a test can kill: `python -m tests.integration.enforcer_worker`.

It imports the deployed handler as Lambda does, and invokes it with the event on its standard input.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from infra.local.process import ROOT
from tests.integration.guarded_fleet import settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from infra.local.client import LocalAws


class Worker:
    """A process that handles one event, for a `with` block, which ends the process.

    Args:
        aws: the account it works in.
        event: the event of the invocation.
        run_id: the run id of the invocation.
    """

    def __init__(self, aws: LocalAws, event: Mapping[str, Any], run_id: str = "run-1") -> None:
        shown = settings(aws)
        environment = {
            **aws.environment(),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "lambda_src"), str(ROOT))),
            "HTTP_TOKENS_PARAMETER": shown.http_tokens_parameter,
            "POLICY_PARAMETER": shown.policy_parameter,
            "EVENT_QUEUE_URL": shown.event_queue_url,
            "NOTIFICATION_TOPIC_ARN": shown.notification_topic_arn,
            "LEDGER_TABLE": shown.ledger_table,
        }
        self._process = subprocess.Popen(  # noqa: S603  # this very interpreter and this very module
            [sys.executable, "-m", __name__, aws.account, run_id],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(event))
        self._process.stdin.close()
        self._written = ""

    def __enter__(self) -> Self:
        """Enter the `with` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the process if it still runs."""
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL; a second call does nothing."""
        self._process.kill()
        self.wait()

    def wait(self) -> str:
        """Wait for its end; returns its output."""
        assert self._process.stdout is not None
        if not self._process.stdout.closed:
            with self._process.stdout as stdout:
                self._written = stdout.read()
            print(self._written)  # noqa: T201  # pytest shows it beside a failure
        self._process.wait()
        return self._written


def main(account: str, run_id: str) -> None:
    """Handle the event on the standard input."""
    context = SimpleNamespace(
        aws_request_id=run_id,
        invoked_function_arn=f"arn:aws:lambda:eu-west-1:{account}:function:imds-enforcer",
        get_remaining_time_in_millis=lambda: 900_000,
    )
    importlib.import_module("imds_enforcer.handler").handler(json.load(sys.stdin), context)


if __name__ == "__main__":
    main(*sys.argv[1:])
