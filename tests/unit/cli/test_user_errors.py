"""What a user can mend is one line that says so, with exit code 2, whichever command it was."""

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
"""What each command needs to get as far as AWS; of the policy's one stands for all."""

COMMANDS = [pytest.param([*name.split(), *arguments], id=name) for name, arguments in ARGUMENTS.items()]


def test_every_command_is_here() -> None:
    """A new one as well."""
    assert listed().keys() == {name.partition(" ")[0] for name in ARGUMENTS}


@pytest.mark.parametrize("arguments", COMMANDS)
def test_without_credentials(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As boto3 says it; the other ways of having no access are in `account/test_connection.py`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "imds-enforcer: NoCredentialsError: Unable to locate credentials\n"
