"""What the adapters share: clients that give up in time, and errors in the project's own terms."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    LoginError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError

from imds_enforcer.model import AwsError, Failure, Kind
from imds_enforcer.model.failures import classify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_CONNECTIONS = 16
"""Connections of one client, and so the number of changes that a region has under way at once."""

CLIENT_CONFIG = Config(
    # Set here because boto3's defaults differ by version: three attempts in all, with backoff,
    # so that a service which hangs takes half of a batch's minute and not all of it.
    retries={"mode": "standard", "total_max_attempts": 3},
    connect_timeout=3,
    read_timeout=10,
    max_pool_connections=MAX_CONNECTIONS,
    user_agent_extra="imds-enforcer",
)

WRITE_CONFIG = CLIENT_CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))
"""For changes of instances: a retry by the client could act on an observation that is too old."""

LISTING_CONFIG = WRITE_CONFIG.merge(Config(read_timeout=60))
"""For listing a region, which may take EC2 long: `Listing` makes its own retries, with smaller pages."""

BULK_CONFIG = CLIENT_CONFIG.merge(Config(parameter_validation=False))
"""For requests about many items at once, which only our own code builds: botocore takes longer to validate them than
to send them."""

_NO_CREDENTIALS = (
    CredentialRetrievalError,
    LoginError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
)
"""What botocore raises when it has no credentials to sign a request."""

_MAX_MESSAGE = 500
"""Characters kept of botocore's message."""

_T = TypeVar("_T")


@contextmanager
def aws_errors() -> Iterator[None]:
    """Turn botocore's exceptions into `AwsError`, with the service's own code."""
    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
        code = answer.get("Code", "Unknown")
        raise AwsError(Failure(code, answer.get("Message", ""), classify(code, status))) from error
    except (BotoCoreError, ResponseParserError) as error:
        # After no answer, or a truncated one, the next may be whole; any other error of
        # botocore (a bad parameter) stays an error.
        lost = isinstance(error, NoConnectionError | HTTPClientError | ResponseParserError)
        kind = Kind.UNAVAILABLE if lost else Kind.CREDENTIALS if isinstance(error, _NO_CREDENTIALS) else Kind.FINAL
        # A parser's error quotes the whole answer, which may be a proxy's page.
        raise AwsError(Failure(type(error).__name__, str(error)[:_MAX_MESSAGE], kind)) from error


def expected(answer: Mapping[str, Any], name: str) -> Any:
    """The part of an answer with this name. An answer without it was truncated, and counts as a failed call.

    Raises:
        AwsError: if the answer has no part with this name.
    """
    if name not in answer:
        raise AwsError(Failure("IncompleteAnswer", f"the answer has no {name}", Kind.UNAVAILABLE))
    return answer[name]


def batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Lists of up to `size` items (itertools.batched comes with Python 3.12)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
