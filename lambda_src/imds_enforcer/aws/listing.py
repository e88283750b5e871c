"""DescribeInstances, page by page, for a region that may answer slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from imds_enforcer.model import AwsError, Failure, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_ec2.type_defs import DescribeInstancesRequestTypeDef, DescribeInstancesResultTypeDef

    from imds_enforcer.model import Clock, Deadline

    Describe = Callable[[DescribeInstancesRequestTypeDef], DescribeInstancesResultTypeDef]

_TIMED_OUT = "ReadTimeoutError"

_MIN_PAGE_SIZE = 5
"""Instances a page, the least that DescribeInstances accepts (EC2 API Reference)."""

_TRIES = 3
_FIRST_PAUSE_SECONDS = 1.0


class Page(NamedTuple):
    """A page, and the moment of its request on the monotonic clock."""

    asked_at: float
    answer: DescribeInstancesResultTypeDef


def following_pages(
    request: DescribeInstancesRequestTypeDef, ask: Callable[[DescribeInstancesRequestTypeDef], Page]
) -> Iterator[Page]:
    """The first page of the answer, and all pages that follow.

    Raises:
        AwsError: if a page names itself as the next page, or if `ask` raises it.
    """
    while True:
        page = ask(request)
        yield page
        following = page.answer.get("NextToken")
        if not following:
            return
        if following == request.get("NextToken"):
            problem = f"the page {following} of the listing leads to itself"
            raise AwsError(Failure("EndlessListing", problem, Kind.UNAVAILABLE))
        request["NextToken"] = following


class Listing:
    """The pages of one region. A time-out halves the size of all later pages, for as long as the process lives.

    If few of many instances match a filter, EC2 may search long for a page. So the client for listings waits long, and
    does not retry. The listing makes the retries itself, because it uses smaller pages for them.
    """

    def __init__(self, clock: Clock, page_size: int) -> None:
        self._clock = clock
        self._page_size = page_size

    def pages(
        self, request: DescribeInstancesRequestTypeDef, describe: Describe, until: Deadline | None
    ) -> Iterator[Page]:
        """Each page of the answer. Once `until` has passed, no page is retried.

        Raises:
            AwsError: if EC2 refused a page, or did not answer three times.
        """
        return following_pages(request, lambda each: self._page(each, describe, until))

    def _page(self, request: DescribeInstancesRequestTypeDef, describe: Describe, until: Deadline | None) -> Page:
        pause = _FIRST_PAUSE_SECONDS
        for tries_left in reversed(range(_TRIES)):
            request["MaxResults"] = self._page_size
            asked_at = self._clock.monotonic()
            try:
                return Page(asked_at, describe(request))
            except AwsError as error:
                timed_out = error.failure.code == _TIMED_OUT
                if timed_out:
                    self._page_size = max(_MIN_PAGE_SIZE, self._page_size // 2)
                passes = error.failure.kind in {Kind.THROTTLED, Kind.UNAVAILABLE}
                if not tries_left or not passes or (until and until.passed):
                    raise
                if not timed_out:
                    self._clock.sleep(pause)
                    pause *= 2
        raise AssertionError("the last try gives a page or raises")
