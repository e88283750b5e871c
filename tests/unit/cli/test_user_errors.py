"""An error that the user can fix is one line with exit code 2, in every command."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from imds_enforcer_cli.main import app
from tests.fakes.command_tree import listed
from tests.fakes.examples import an_id

ARGUMENTS: dict[str, list[str]] = {
    "set": ["--version-2-state", "required", "--instance-id", an_id()],
    "verify": [an_id()],
    "audit": [],
    "launches": [],
    "enforce": ["--yes"],
    "history": [],
    "revert": [an_id(), "--yes"],
    "hold": [an_id(), "--reason", "under repair"],
    "release": [an_id()],
    "policy show": [],
    "toggle": ["required"],
    "status": [],
    "sweep": [],
    "redrive": [],
    "guardrails scp": ["--operator-role", "arn:aws:iam::*:role/ops"],
}
"""The arguments with which each command gets as far as AWS; one command stands for each group."""

COMMANDS = [pytest.param([*name.split(), *arguments], id=name) for name, arguments in ARGUMENTS.items()]


def test_every_command_is_here() -> None:
    """A new command must be added to the list."""
    assert listed().keys() == {name.partition(" ")[0] for name in ARGUMENTS}


@pytest.mark.parametrize("arguments", COMMANDS)
def test_without_credentials(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is boto3's; `account/test_connection.py` has the other errors of access."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "imds-enforcer: NoCredentialsError: Unable to locate credentials\n"
