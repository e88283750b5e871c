"""What a user can mend is one line that says so, with exit code 2, whichever command it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from imds_enforcer_cli.account import connection
from imds_enforcer_cli.main import app
from tests.fakes.examples import HOME, an_id

if TYPE_CHECKING:
    from tests.fakes.transport import FakeTransport

ARGUMENTS: dict[str, list[str]] = {
    "set": ["--version-2-state", "required", "--instance-id", an_id()],
    "verify": [an_id()],
    "audit": [],
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
}
"""What each command needs to get as far as AWS; of the policy's one stands for all."""

COMMANDS = [pytest.param([*name.split(), *arguments], id=name) for name, arguments in ARGUMENTS.items()]
ASKING_FOR_THE_STACK = [each for each in COMMANDS if each.id != "verify"]


def an_error(code: str, message: str) -> str:
    """A refusal in the words of CloudFormation, which is asked first."""
    return f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"


def refusal(arguments: list[str], *more: str) -> str:
    """The one line that the command says."""
    result = CliRunner().invoke(app, [*arguments, *more], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    return str(line)


@pytest.fixture
def cloud(transport: FakeTransport, monkeypatch: pytest.MonkeyPatch) -> FakeTransport:
    """The network of every session."""

    def make(service: str, **options: Any) -> Any:
        return transport.client(service, options["config"])

    monkeypatch.setattr(connection, "Session", lambda **_: SimpleNamespace(region_name=HOME, client=make))
    return transport


def test_every_command_is_here() -> None:
    """A new one as well."""
    commands = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    groups = {str(each.name) for each in app.registered_groups}
    assert commands | groups == {name.partition(" ")[0] for name in ARGUMENTS}


@pytest.mark.parametrize("arguments", COMMANDS)
def test_without_credentials(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As boto3 says it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert refusal(arguments) == "imds-enforcer: NoCredentialsError: Unable to locate credentials"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("InvalidClientTokenId", "The security token included in the request is invalid."),
        ("ExpiredToken", "The security token included in the request is expired"),
        ("SignatureDoesNotMatch", "The request signature we calculated does not match"),
        ("AccessDenied", "User: ann is not authorized to perform: cloudformation:DescribeStacks"),
    ],
)
@pytest.mark.parametrize("arguments", ASKING_FOR_THE_STACK)
def test_with_credentials_that_do_not_do(arguments: list[str], cloud: FakeTransport, code: str, message: str) -> None:
    """In the words of AWS."""
    cloud.answer(an_error(code, message), status=403)
    assert refusal(arguments) == f"imds-enforcer: {code}: {message}"


@pytest.mark.parametrize("arguments", COMMANDS)
def test_without_a_region(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """How it is named."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    expected = "imds-enforcer: no region; name the home region with --region, or set AWS_REGION"
    assert refusal(arguments) == expected


@pytest.mark.parametrize("arguments", COMMANDS)
def test_without_a_profile_of_that_name(arguments: list[str]) -> None:
    """As boto3 says it."""
    line = refusal(arguments, "--profile", "nobody")
    assert line == "imds-enforcer: The config profile (nobody) could not be found"


@pytest.mark.parametrize("arguments", COMMANDS)
def test_with_a_region_that_cannot_be_one(arguments: list[str]) -> None:
    """As boto3 says it."""
    line = refusal(arguments, "--region", "EU West")
    assert line.startswith("imds-enforcer: Provided region_name 'EU West' doesn't match")


@pytest.mark.parametrize("arguments", COMMANDS)
def test_with_a_format_that_is_none(arguments: list[str]) -> None:
    """Those that are, and where to read on."""
    line = refusal(arguments, "--output", "xml")
    assert "'xml' is not one of" in line
    assert line.endswith(" --help)")
    assert f"(see imds-enforcer {arguments[0]}" in line
