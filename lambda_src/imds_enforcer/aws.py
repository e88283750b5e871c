"""What the adapters share: clients that give up in time, and errors in the project's own terms."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError

from imds_enforcer.failures import AwsError, Failure, Kind, classify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_CONNECTIONS = 16
"""Connections of one client, which is also how many changes a region has under way at once."""

CLIENT_CONFIG = Config(
    # Set here because boto3's defaults differ by version: four attempts in all, with backoff.
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=3,
    read_timeout=15,
    max_pool_connections=MAX_CONNECTIONS,
    user_agent_extra="imds-enforcer",
)

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
        # No answer, or one that was cut short, may come whole next time; anything else that
        # botocore raises (no credentials, a bad parameter) stays wrong.
        lost = isinstance(error, HTTPClientError | ResponseParserError)
        kind = Kind.UNAVAILABLE if lost else Kind.FINAL
        raise AwsError(Failure(type(error).__name__, str(error), kind)) from error


def batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Lists of up to `size` items (itertools.batched comes with Python 3.12)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
