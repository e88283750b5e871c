"""Runs the operator's command `imds-enforcer`, installed as an operator would, against a local AWS."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from infra.local.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.local.client import LocalAws

COMMAND = ROOT / ".venv" / "command" / "bin" / "imds-enforcer"
"""`make` installs it there."""


def run(
    aws: LocalAws, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as the account's root, or in the given environment; it may fail."""
    return subprocess.run(  # noqa: S603  # our own command
        [str(COMMAND), *arguments],
        env=environment or aws.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def answer(aws: LocalAws, *arguments: str) -> Any:
    """The command's output, parsed from JSON.

    Raises:
        RuntimeError: with what the command wrote, if its exit code is not 0.
    """
    done = run(aws, *arguments, "--output", "json")
    if done.returncode != 0:
        raise RuntimeError(f"imds-enforcer {' '.join(arguments)} exited with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)
