from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import Deadline, SystemClock

if TYPE_CHECKING:
    from tests.fakes.clock import FakeClock


def test_a_deadline_passes_at_its_moment(clock: FakeClock) -> None:
    """Not a moment before it."""
    deadline = Deadline.after(clock, 10)
    clock.advance(9.5)
    assert not deadline.passed
    clock.advance(0.5)
    assert deadline.passed


def test_a_deadline_in_the_past_has_passed(clock: FakeClock) -> None:
    """An invocation may have less time left than the run must keep in reserve."""
    assert Deadline.after(clock, -1).passed


def test_the_system_clock_is_in_utc() -> None:
    """The last day of an exemption is a day in UTC."""
    now = SystemClock().now()
    assert now.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)


def test_the_system_clock_never_goes_back() -> None:
    """Ages are differences between its values."""
    clock = SystemClock()
    first = clock.monotonic()
    assert clock.monotonic() >= first


def test_the_system_clock_sleeps_for_the_time_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """In seconds."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    SystemClock().sleep(0.25)
    assert slept == [0.25]


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="only Linux has this clock")
def test_the_system_clock_keeps_running_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """An observation from before the lid was closed is old."""
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    slept = {time.CLOCK_BOOTTIME: 3_605.0}
    monkeypatch.setattr(time, "clock_gettime", slept.__getitem__)
    assert SystemClock().monotonic() == 3_605.0
