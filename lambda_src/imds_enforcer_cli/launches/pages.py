"""Reads boto3 listings page by page, with errors in the project's own terms."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imds_enforcer.aws.boto import aws_errors, expected
from imds_enforcer.model import AwsError, Failure, Kind

Ask = Callable[..., Mapping[str, Any]]


def asked(ask: Ask, **request: Any) -> Mapping[str, Any]:
    """Make one call.

    Raises:
        AwsError: if it failed.
    """
    with aws_errors():
        return ask(**request)


def listed(ask: Ask, what: str, *, token: str = "NextToken", **request: Any) -> Iterator[Any]:  # noqa: S107  # a name
    """The items of all pages; an answer has the items under `what` and the next page's token under `token`.

    Raises:
        AwsError: if a page could not be read, or names itself as the next page.
    """
    while True:
        answer = asked(ask, **request)
        yield from expected(answer, what)
        following = answer.get(token)
        if not following:
            return
        if following == request.get(token):
            problem = f"the page {following} of {what} names itself as the next page"
            raise AwsError(Failure("EndlessListing", problem, Kind.UNAVAILABLE))
        request[token] = following
