"""The command in a process of its own, with the streams that the locale gives it, in an account in memory.

`python -m tests.fakes.command_process '[["history"], …]'` runs one command after the other. What each writes to
standard output ends with `MARK`.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.ledger.template_fix import TemplateFix
from imds_enforcer.reporting import telemetry
from imds_enforcer_cli import __main__ as start
from tests.fakes.clients import FakeClients
from tests.fakes.clock import FakeClock
from tests.fakes.command import Command
from tests.fakes.examples import HOME, V1_ALLOWED, an_instance

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
MARK = b"\0"
NAME = "Größe → 计数"
"""A name of the instance, of which Latin 1 can write a part, ASCII nothing and UTF-8 everything."""

FOREIGN_LINE_ENDS = "FOREIGN_LINE_ENDS"
"""If this variable is set, the process writes text with the line ends of Windows."""


def written(commands: Sequence[Sequence[str]], **environment: str) -> list[bytes]:
    """What each command writes to standard output, in an environment with these variables alone."""
    command = [sys.executable, "-W", "error", "-m", "tests.fakes.command_process", json.dumps(commands)]
    ended = subprocess.run(  # noqa: S603  # itself
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        env={"PYTHONPATH": "lambda_src", "AWS_EC2_METADATA_DISABLED": "true", **environment},
        check=False,
    )
    *texts, rest = ended.stdout.split(MARK)
    assert (ended.returncode, len(texts), rest) == (0, len(commands), b""), ended.stderr.decode(errors="replace")
    return texts


def _main(commands: Sequence[Sequence[str]]) -> None:
    if FOREIGN_LINE_ENDS in os.environ:
        assert isinstance(sys.stdout, io.TextIOWrapper)
        sys.stdout.reconfigure(newline="\r\n")
    handler: Any = telemetry.logger.registered_handler
    handler.setStream(io.StringIO())
    with pytest.MonkeyPatch.context() as patch:
        clients = FakeClients(FakeClock())
        clients.ec2(HOME).launch(an_instance(1, V1_ALLOWED, tags={"Name": NAME}))
        with redirect_stdout(io.StringIO()):
            Command(clients, patch).sweep("run-1")
        clients.ec2(HOME).launch(an_instance(2, V1_ALLOWED, tags={"Name": NAME}))
        fix = TemplateFix(
            run_id="run-2",
            region=HOME,
            template_id="lt-1",
            name=NAME,
            source="1",
            moves_default=True,
            at=clients.clock.now(),
        )
        clients.ledger_table.template_fixes.write(fix)
        for arguments in commands:
            patch.setattr(sys, "argv", ["imds-enforcer", *arguments])
            with suppress(SystemExit):
                start.main()
            sys.stdout.flush()
            sys.stdout.buffer.write(MARK)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
