from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from imds_enforcer.policy import CountedBy, Gate, Watch
from imds_enforcer.policy.safeguards import DEFAULT_WATCH


@pytest.mark.parametrize(
    ("now", "in_force"),
    [
        (datetime(2027, 3, 31, 0, 0, tzinfo=UTC), True),
        (datetime(2027, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC), True),
        (datetime(2027, 4, 1, 0, 0, tzinfo=UTC), False),
        # Already April in Auckland, and still March in UTC; the other way round in New York.
        (datetime(2027, 4, 1, 9, 0, tzinfo=timezone(timedelta(hours=13))), True),
        (datetime(2027, 3, 31, 22, 0, tzinfo=timezone(-timedelta(hours=4))), False),
    ],
)
def test_a_gate_holds_through_its_last_day_in_utc(now: datetime, *, in_force: bool) -> None:
    """Whatever the time zone of the moment given."""
    assert Gate(enforce_after=date(2027, 3, 31)).in_force(now) is in_force


def test_a_gate_without_a_last_day_holds_forever() -> None:
    """Until it is removed from the policy."""
    assert Gate().in_force(datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("gate", "text"),
    [
        (Gate(), "more than 0 IMDSv1 calls in 14 days"),
        (
            Gate(lookback_days=30, tolerate=10, enforce_after=date(2027, 3, 31)),
            "more than 10 IMDSv1 calls in 30 days, until 2027-03-31",
        ),
        (Gate(by=CountedBy.GROUP), "more than 0 IMDSv1 calls in 14 days, counted by Auto Scaling group"),
    ],
)
def test_a_gate_reads_as_its_rule(gate: Gate, text: str) -> None:
    """People read the mail."""
    assert str(gate) == text


@pytest.mark.parametrize(
    ("watch", "text"),
    [
        (DEFAULT_WATCH, "for 24 hours; 1 or more rejected IMDSv1 calls are reported"),
        (Watch(hours=48, rejected_calls=5), "for 48 hours; 5 or more rejected IMDSv1 calls are reported"),
    ],
)
def test_a_watch_reads_as_what_it_does(watch: Watch, text: str) -> None:
    """It reports, and changes no instance."""
    assert str(watch) == text


def test_a_watch_lasts_for_its_hours() -> None:
    """From the change on."""
    assert Watch(hours=48).time == timedelta(days=2)
