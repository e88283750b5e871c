"""What decides must not depend on what talks to AWS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PURE = [
    "allowance",
    "breaker",
    "clock",
    "cancellation",
    "decision",
    "events",
    "failures",
    "items",
    "ledger",
    "legacy_calls",
    "limits",
    "model",
    "pacing",
    "plan",
    "policy",
    "policy_parser",
    "records",
    "recovery",
    "report",
    "retry",
    "safeguards",
    "settings",
    "undo",
    "verification",
    "wording",
]
WITH_AWS = ["aws", "call_metrics", "clients", "dynamodb", "ec2", "event_queue", "notifications", "parameters"]
WITH_POWERTOOLS = ["telemetry"]
SHELL = [
    "application",
    "attempt",
    "batch",
    "call_history",
    "context",
    "enforcer",
    "gate",
    "handler",
    "hold_check",
    "ledger_writer",
    "mails",
    "remediation",
    "revert",
    "run",
    "sweep",
    "watch",
    "watcher",
]

LAMBDA_SRC = Path(__file__).parents[2] / "lambda_src"

REFUSING = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"boto3", "botocore", "aws_lambda_powertools"}:
            raise ImportError(f"refused: {name}")

sys.meta_path.insert(0, Refuse())
for module in sys.argv[1:]:
    importlib.import_module(f"imds_enforcer.{module}")
"""


def _import_without_aws(*modules: str) -> subprocess.CompletedProcess[str]:
    """Import the modules in a process of its own, where neither boto3 nor Powertools can be had."""
    command = [sys.executable, "-c", REFUSING, *modules]
    return subprocess.run(  # noqa: S603  # this interpreter, the text above
        command, cwd=LAMBDA_SRC, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_pure_modules_need_neither_boto3_nor_powertools() -> None:
    """All in one process: what one has imported could not help another."""
    run = _import_without_aws(*PURE)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("module", [*WITH_AWS, *WITH_POWERTOOLS])
def test_the_check_can_fail(module: str) -> None:
    """The adapters do not import without what they adapt."""
    run = _import_without_aws(module)
    assert run.returncode != 0
    assert "ImportError: refused: " in run.stderr


def test_every_module_is_pure_or_known_not_to_be() -> None:
    """A new one has to be put on a list."""
    known = [*PURE, *WITH_AWS, *WITH_POWERTOOLS, *SHELL]
    modules = [path.stem for path in (LAMBDA_SRC / "imds_enforcer").glob("*.py") if path.stem != "__init__"]
    assert sorted(modules) == sorted(known)
