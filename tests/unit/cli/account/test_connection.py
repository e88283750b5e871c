from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError
from typer.testing import CliRunner

from imds_enforcer_cli.account import connection
from imds_enforcer_cli.account.connection import connect, reach
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.main import app
from tests.fakes.examples import AWAY, HOME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.transport import FakeTransport

OUTPUTS = {
    "FunctionName": "enforcer",
    "EventQueueUrl": "https://sqs.eu-west-1.amazonaws.com/111122223333/events",
    "NotificationTopicArn": "arn:aws:sns:eu-west-1:111122223333:topic",
    "LedgerTableName": "ledger",
}


def a_stack(outputs: dict[str, str]) -> str:
    """CloudFormation's description of a stack with these outputs."""
    members = "".join(
        f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
        for key, value in outputs.items()
    )
    stack = f"<member><StackName>ImdsEnforcer</StackName><Outputs>{members}</Outputs></member>"
    result = f"<DescribeStacksResult><Stacks>{stack}</Stacks></DescribeStacksResult>"
    return f"<DescribeStacksResponse>{result}</DescribeStacksResponse>"


def an_error(code: str, message: str) -> str:
    """An error from CloudFormation."""
    return f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"


@pytest.fixture
def cloud(transport: FakeTransport, monkeypatch: pytest.MonkeyPatch) -> FakeTransport:
    """The network that every session uses."""

    def make(service: str, **options: Any) -> Any:
        return transport.client(service, options["config"])

    monkeypatch.setattr(connection, "Session", lambda **_: SimpleNamespace(region_name=HOME, client=make))
    return transport


def refused(*arguments: str) -> str:
    """The command's one-line error."""
    result = CliRunner().invoke(app, ["history", *arguments], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    return str(line)


def test_names_come_from_the_stack(cloud: FakeTransport) -> None:
    """The user need not know the table's name."""
    cloud.answer(a_stack(OUTPUTS))
    connection = connect(None, HOME)
    assert cloud.requests == [{"Action": "DescribeStacks", "StackName": "ImdsEnforcer"}]
    cloud.answer('{"Items": []}')
    assert connection.clients.ledger_table.entries.of("i-1") == []
    assert cloud.requests[-1]["TableName"] == "ledger"


def test_the_caller_is_the_arn_from_sts(cloud: FakeTransport) -> None:
    """It is the operator's own ARN, as in CloudTrail."""
    cloud.answer(a_stack(OUTPUTS))
    connection = connect(None, HOME)
    identity = "<GetCallerIdentityResult><Arn>arn:aws:iam::111122223333:user/ann</Arn></GetCallerIdentityResult>"
    cloud.answer(f"<GetCallerIdentityResponse>{identity}</GetCallerIdentityResponse>")
    assert connection.caller() == "arn:aws:iam::111122223333:user/ann"


@pytest.mark.parametrize(
    ("given", "environment", "region"),
    [(AWAY, HOME, AWAY), (None, AWAY, AWAY), (None, None, HOME)],
)
def test_the_home_region_is_named_or_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: str | None, environment: str | None, region: str
) -> None:
    """AWS_REGION takes precedence over AWS_DEFAULT_REGION, as in other AWS tools."""
    asked: list[str] = []

    def ask(session: boto3.Session, *_: object, **__: object) -> object:
        asked.append(session.region_name)
        raise NoCredentialsError

    monkeypatch.setattr(boto3.Session, "client", ask)
    if environment:
        monkeypatch.setenv("AWS_REGION", environment)
    with pytest.raises(NoCredentialsError):
        connect(None, given)
    assert asked == [region]


def test_the_fallback_is_used_only_if_no_region_is_named(cloud: FakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fallback is the region of the instance itself."""
    made: list[str | None] = []

    def session(**options: str | None) -> SimpleNamespace:
        made.append(options["region_name"])
        return SimpleNamespace(region_name=options["region_name"], client=lambda *_, **__: None)

    monkeypatch.setattr(connection, "Session", session)
    assert reach(None, None, fallback=AWAY, asks_for_stack=False).clients.home_region == AWAY
    assert reach(None, HOME, fallback=AWAY, asks_for_stack=False).clients.home_region == HOME
    assert made == [None, AWAY, HOME]
    assert cloud.requests == []


def test_without_asking_for_the_stack_nothing_is_deployed(cloud: FakeTransport) -> None:
    """No instance is held then."""
    reached = reach(None, HOME, asks_for_stack=False)
    assert (reached.deployed, reached.clients.ledger_table.holds.standing().holds) == (False, {})
    assert cloud.requests == []


def test_without_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to name one."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert refused() == "imds-enforcer: no region; name the home region with --region, or set AWS_REGION"


def test_an_unknown_profile() -> None:
    """The message is boto3's."""
    assert refused("--profile", "missing") == "imds-enforcer: The config profile (missing) could not be found"


def test_an_invalid_region() -> None:
    """The message is boto3's."""
    assert refused("--region", "EU West").startswith("imds-enforcer: Provided region_name 'EU West' doesn't match")


def test_an_endpoint_that_is_not_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 raises a ValueError for it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost")
    assert refused() == "imds-enforcer: Invalid endpoint: localhost"


def test_an_endpoint_of_one_service_that_is_not_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client is not the first that is made."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", "localhost")
    reached = reach(None, HOME, asks_for_stack=False)
    with pytest.raises(CommandError, match=r"^Invalid endpoint: localhost$"):
        reached.policy()


MISSING = an_error("ValidationError", "Stack with id ImdsEnforcer does not exist")


def test_without_the_stack(cloud: FakeTransport) -> None:
    """The error says how to name the region with the stack."""
    cloud.answer(MISSING, status=400)
    cloud.answer(MISSING, status=400)
    assert refused() == "imds-enforcer: there is no stack ImdsEnforcer in eu-west-1; name the home region with --region"


def test_with_the_state_stack_alone(cloud: FakeTransport) -> None:
    """The ledger has a fixed name, and its holds count."""
    cloud.answer(MISSING, status=400)
    cloud.answer(a_stack({}))
    connection = connect(None, HOME)
    assert [request["StackName"] for request in cloud.requests] == ["ImdsEnforcer", "ImdsEnforcerState"]
    assert connection.deployed
    cloud.answer('{"Items": []}')
    assert connection.clients.ledger_table.entries.of("i-1") == []
    assert cloud.requests[-1]["TableName"] == "imds-enforcer-ledger"


@pytest.mark.parametrize("command", ["status", "sweep", "redrive"])
def test_commands_that_need_the_function_or_its_queues(cloud: FakeTransport, command: str) -> None:
    """They end with an error if only the state stack exists."""
    cloud.answer(MISSING, status=400)
    cloud.answer(a_stack({}))
    result = CliRunner().invoke(app, [command, "--region", HOME], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "imds-enforcer: there is no stack ImdsEnforcer in eu-west-1, only ImdsEnforcerState, which outlives it; "
        "deploy it first\n"
    )


def test_without_permission(cloud: FakeTransport) -> None:
    """The message is the service's own, on one line."""
    cloud.answer(an_error("AccessDenied", "User: ann\n is not authorized"), status=403)
    assert refused() == "imds-enforcer: AccessDenied: User: ann is not authorized"


def test_with_an_older_stack(cloud: FakeTransport) -> None:
    """An older stack has no ledger."""
    cloud.answer(a_stack({name: value for name, value in OUTPUTS.items() if name != "LedgerTableName"}))
    with pytest.raises(CommandError, match="has no output 'LedgerTableName'; deploy this version of it first"):
        connect(None, HOME)


@pytest.fixture
def _tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An operator far from UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    "text", ["2026-11-22T12:00:00.000Z", "2026-11-22T12:00:00+00:00", "Sun, 22 Nov 2026 12:00:00 GMT", 1_795_348_800]
)
@pytest.mark.usefixtures("_tokyo")
def test_every_timestamp_format_of_aws_is_read(monkeypatch: pytest.MonkeyPatch, text: object) -> None:
    """The result is in UTC wherever the operator is; most formats avoid botocore's slow parser."""
    sessions: list[Any] = []

    def keep(**options: Any) -> object:
        sessions.append(options["botocore_session"])
        raise NoCredentialsError

    monkeypatch.setattr(connection, "Session", keep)
    with pytest.raises(NoCredentialsError):
        connect(None, HOME)
    parser = sessions[0].get_component("response_parser_factory").create_parser("query")
    moment = parser._timestamp_parser(text)  # noqa: SLF001  # as clients use it
    assert (moment, moment.utcoffset()) == (datetime(2026, 11, 22, 12, tzinfo=UTC), timedelta(0))
