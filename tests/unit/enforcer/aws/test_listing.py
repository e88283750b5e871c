"""A region that takes long to list: the client waits longer, then asks for smaller pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from imds_enforcer.aws.boto import CLIENT_CONFIG, LISTING_CONFIG
from imds_enforcer.model import AwsError, Deadline, Kind
from tests.fakes.ec2_answers import a_page, an_item
from tests.fakes.examples import an_id

if TYPE_CHECKING:
    from imds_enforcer.aws.ec2 import Ec2Region
    from tests.fakes.clock import FakeClock
    from tests.fakes.transport import FakeTransport

TIMED_OUT = ReadTimeoutError(endpoint_url="https://ec2")


def _asked(transport: FakeTransport) -> list[tuple[int, str | None]]:
    """The size of each requested page, and the token that it follows."""
    return [(int(request["MaxResults"]), request.get("NextToken")) for request in transport.requests]


def test_a_listing_waits_a_minute_and_a_read_by_id_ten_seconds() -> None:
    """A batch has only a minute in all."""
    listing, reader = vars(LISTING_CONFIG), vars(CLIENT_CONFIG)
    assert (listing["read_timeout"], reader["read_timeout"]) == (60, 10)


def test_a_page_that_takes_too_long_is_halved(region: Ec2Region, transport: FakeTransport) -> None:
    """It starts from the same place; the following pages and the next listing have the smaller size too."""
    transport.answer(a_page(an_item(1), following="t-2"))
    transport.fail(TIMED_OUT)
    transport.answer(a_page(an_item(2), following="t-3"))
    transport.answer(a_page(an_item(3)))
    found = [instance.instance_id for page in region.find({}) for instance in page]
    assert found == [an_id(1), an_id(2), an_id(3)]
    assert _asked(transport) == [(500, None), (500, "t-2"), (250, "t-2"), (250, "t-3")]
    transport.answer(a_page())
    list(region.find({}))
    assert _asked(transport)[-1] == (250, None)


def test_a_read_by_id_has_its_own_page_size_and_time_out(region: Ec2Region, transport: FakeTransport) -> None:
    """It names its instances, so it is fast whatever else the region has."""
    transport.fail(TIMED_OUT)
    transport.answer(a_page())
    list(region.find({}))
    transport.answer(a_page(an_item(1)))
    region.read([an_id(1)])
    assert _asked(transport)[-1] == (1000, None)


def test_pages_get_no_smaller_than_ec2_accepts(region: Ec2Region, transport: FakeTransport) -> None:
    """Each page has three attempts; the next listing starts with the size reached."""
    for _ in range(4):
        transport.fail(TIMED_OUT, times=3)
        with pytest.raises(AwsError, match=r"^ReadTimeoutError"):
            list(region.find({}))
    assert [size for size, _ in _asked(transport)] == [500, 250, 125, 62, 31, 15, 7, 5, 5, 5, 5, 5]


def test_a_page_is_as_old_as_its_last_attempt(region: Ec2Region, transport: FakeTransport, clock: FakeClock) -> None:
    """Not as old as the first attempt, which failed."""
    transport.before_answering = lambda: clock.advance(60)
    transport.fail(TIMED_OUT)
    transport.answer(a_page(an_item(1)))
    begin = clock.monotonic()
    [[instance]] = list(region.find({}))
    assert instance.observed_at - begin == 60


@pytest.mark.parametrize("passes", ["RequestLimitExceeded", "InternalError", "connect", "refused"])
def test_another_failure_that_may_pass_is_retried_after_a_pause(
    region: Ec2Region, transport: FakeTransport, clock: FakeClock, passes: str
) -> None:
    """After one second, then two; the page size stays."""
    for _ in range(2):
        if passes == "connect":
            transport.fail(ConnectTimeoutError(endpoint_url="https://ec2"))
        elif passes == "refused":
            transport.fail(EndpointConnectionError(endpoint_url="https://ec2"))
        else:
            transport.refuse(passes, status=503)
    transport.answer(a_page(an_item(1)))
    assert len(list(region.find({}))) == 1
    assert clock.pauses == [1, 2]
    assert _asked(transport) == [(500, None)] * 3


def test_a_region_that_stays_throttled_fails(region: Ec2Region, transport: FakeTransport) -> None:
    """After three attempts."""
    transport.refuse("RequestLimitExceeded", status=503, times=3)
    with pytest.raises(AwsError) as raised:
        list(region.find({}))
    assert raised.value.failure.kind is Kind.THROTTLED


@pytest.mark.parametrize("failure", ["time-out", "throttled"])
def test_a_page_is_not_retried_once_time_is_up(
    region: Ec2Region, transport: FakeTransport, clock: FakeClock, failure: str
) -> None:
    """Otherwise the invocation would end before the sweep has done the rest."""
    transport.before_answering = lambda: clock.advance(60)
    if failure == "time-out":
        transport.fail(TIMED_OUT)
    else:
        transport.refuse("RequestLimitExceeded", status=503)
    with pytest.raises(AwsError):
        list(region.find({}, Deadline.after(clock, 60)))
    assert len(transport.requests) == 1
