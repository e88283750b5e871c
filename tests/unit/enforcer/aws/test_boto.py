from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    LoginRefreshRequired,
    LoginTokenLoadError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    RefreshWithMFAUnsupportedError,
    SSLError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from imds_enforcer.aws.boto import CLIENT_CONFIG, MAX_CONNECTIONS, WRITE_CONFIG, aws_errors, batched, expected
from imds_enforcer.model import AwsError, Failure, Kind
from tests.fakes.examples import an_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tests.fakes.transport import FakeTransport

URL = "https://ec2.eu-west-1.amazonaws.com/"


def _failure(error: Exception) -> Failure:
    with pytest.raises(AwsError) as raised, aws_errors():
        raise error
    assert raised.value.__cause__ is error
    return raised.value.failure


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (
            {"Error": {"Code": "UnauthorizedOperation", "Message": "not you"}},
            Failure("UnauthorizedOperation", "not you", Kind.FINAL),
        ),
        (
            {
                "Error": {"Code": "RequestLimitExceeded", "Message": "slow down"},
                "ResponseMetadata": {"HTTPStatusCode": 503},
            },
            Failure("RequestLimitExceeded", "slow down", Kind.THROTTLED),
        ),
        (
            {"Error": {"Code": "Strange", "Message": "?"}, "ResponseMetadata": {"HTTPStatusCode": 502}},
            Failure("Strange", "?", Kind.UNAVAILABLE),
        ),
        ({"Error": {"Code": "IncorrectState"}}, Failure("IncorrectState", "", Kind.WRONG_STATE)),
        ({}, Failure("Unknown", "", Kind.FINAL)),
    ],
)
def test_a_refusal_keeps_its_code_and_message(answer: Mapping[str, Any], failure: Failure) -> None:
    """The code, or else the HTTP status, says what kind of failure it is."""
    assert _failure(ClientError(answer, "Action")) == failure  # type: ignore[arg-type]  # as AWS may send it


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url=URL),
        ConnectionClosedError(endpoint_url=URL),
        HTTPClientError(error="reset by peer"),
        ResponseParserError("cut short"),
    ],
)
def test_a_lost_answer_may_arrive_next_time(error: Exception) -> None:
    """The request was right."""
    failure = _failure(error)
    assert failure == Failure(type(error).__name__, str(error), Kind.UNAVAILABLE)


def test_an_answer_that_cannot_be_parsed_is_not_quoted_whole() -> None:
    """It may be a proxy's page, and a message should be one line."""
    assert len(_failure(ResponseParserError("invalid XML received: " + 10_000 * "<p>")).message) == 500


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url=URL),
        ConnectTimeoutError(endpoint_url=URL),
        ProxyConnectionError(proxy_url=URL),
        SSLError(endpoint_url=URL, error=EOFError()),
    ],
)
def test_a_failed_connection_may_succeed_next_time(error: Exception) -> None:
    """The network may recover."""
    assert _failure(error) == Failure(type(error).__name__, str(error), Kind.UNAVAILABLE)


def test_a_wrong_request_stays_wrong() -> None:
    """A retry would not help."""
    error = ParamValidationError(report="Invalid type")
    assert _failure(error) == Failure(type(error).__name__, str(error), Kind.FINAL)


@pytest.mark.parametrize(
    "error",
    [
        NoCredentialsError(),
        PartialCredentialsError(provider="env", cred_var="aws_secret_access_key"),
        CredentialRetrievalError(provider="process", error_msg="no JSON"),
        NoAuthTokenError(),
        TokenRetrievalError(provider="sso", error_msg="expired"),
        RefreshWithMFAUnsupportedError(),
        UnauthorizedSSOTokenError(),
        SSOTokenLoadError(error_msg="no token"),
        LoginRefreshRequired(),
        LoginTokenLoadError(error_msg="no token"),
    ],
)
def test_without_credentials_no_call_can_be_made(error: BotoCoreError) -> None:
    """The message is botocore's own, which says how to get some."""
    assert _failure(error) == Failure(type(error).__name__, str(error), Kind.CREDENTIALS)


def test_errors_of_this_program_are_not_errors_of_aws() -> None:
    """They must reach the alarm for errors of the function."""
    with pytest.raises(KeyError), aws_errors():
        raise KeyError


def test_no_error_no_problem() -> None:
    """The call's answer is used as it is."""
    with aws_errors():
        answer = 5
    assert answer == 5


def test_an_answer_without_a_required_field_is_a_failed_call() -> None:
    """Some truncated answers can still be parsed, without the lost part."""
    assert expected({"Regions": []}, "Regions") == []
    with pytest.raises(AwsError) as raised:
        expected({"NextToken": "t"}, "Regions")
    assert raised.value.failure == Failure("IncompleteAnswer", "the answer has no Regions", Kind.UNAVAILABLE)


def test_a_throttled_call_is_sent_three_times_in_all(transport: FakeTransport, backoffs: list[float]) -> None:
    """The number is the project's own, whatever the next version of boto3 does."""
    ec2 = transport.client("ec2")
    transport.refuse("RequestLimitExceeded", status=503, times=3)
    with pytest.raises(ClientError):
        ec2.describe_regions()
    assert len(transport.requests) == 3
    assert len(backoffs) == 2


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "InternalError"])
def test_the_client_for_changes_sends_each_once(transport: FakeTransport, backoffs: list[float], code: str) -> None:
    """The code that knows the age of the observation decides about a retry."""
    ec2 = transport.client("ec2", WRITE_CONFIG)
    transport.refuse(code, status=503)
    with pytest.raises(ClientError, match=code):
        ec2.modify_instance_metadata_options(InstanceId=an_id())
    assert len(transport.requests) == 1
    assert backoffs == []


def test_the_client_for_changes_differs_in_nothing_else() -> None:
    """Time-outs, connections and name are the same."""
    differing: Any = Config(retries={"mode": "standard", "total_max_attempts": 1})
    reader, writer = vars(CLIENT_CONFIG), vars(WRITE_CONFIG)
    assert {name: value for name, value in writer.items() if reader[name] != value and name[0] != "_"} == {
        "retries": differing.retries
    }


def test_a_call_gives_up_long_before_the_function_does() -> None:
    """And a client has a connection for every change under way."""
    config: Any = CLIENT_CONFIG
    assert config.connect_timeout == 3
    assert config.read_timeout == 10
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}
    assert config.max_pool_connections == MAX_CONNECTIONS == 16


@pytest.mark.parametrize(
    ("count", "batches"), [(0, []), (1, [[0]]), (3, [[0, 1, 2]]), (4, [[0, 1, 2], [3]]), (6, [[0, 1, 2], [3, 4, 5]])]
)
def test_batches_are_full_but_for_the_last(count: int, batches: list[list[int]]) -> None:
    """In order, and never empty."""
    assert list(batched(range(count), 3)) == batches
