"""The operator's command `imds-enforcer`, installed as an operator installs it, against a local AWS."""

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
    """Run the command, in another environment than that of the account's root if one is given; it may fail."""
    return subprocess.run(  # noqa: S603  # our own command
        [str(COMMAND), *arguments],
        env=environment or aws.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def answer(aws: LocalAws, *arguments: str) -> Any:
    """What the command answers as JSON.

    Raises:
        RuntimeError: with what it wrote, if it did not end with 0.
    """
    done = run(aws, *arguments, "--output", "json")
    if done.returncode != 0:
        raise RuntimeError(f"imds-enforcer {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)
