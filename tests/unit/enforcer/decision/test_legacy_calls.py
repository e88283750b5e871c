from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from imds_enforcer.decision.legacy_calls import Calls, held_back, is_gated, let_through
from imds_enforcer.model import Change, HttpTokens, PlannedChange
from imds_enforcer.policy import Gate
from tests.fakes.clock import START
from tests.fakes.examples import V1_ALLOWED, V2_ONLY, a_policy, an_instance

GATE = Gate(enforce_after=date(2026, 11, 22))
GATED: dict[str, dict[str, Any]] = {
    "policy": {"gate": GATE},
    "instance": {"options": V1_ALLOWED},
    "change": {"http_tokens": HttpTokens.REQUIRED},
}


def _day(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("points", "calls"),
    [
        ([], Calls(None, None)),
        # Points from before tell nothing, not even that there is data.
        ([(_day(9), 7.0)], Calls(None, None)),
        ([(_day(9, 23), 7.0), (_day(10), 0.0)], Calls(0, None)),
        ([(_day(10), 2.0)], Calls(2, date(2026, 11, 10))),
        ([(_day(10), 0.0), (_day(20), 0.0)], Calls(0, None)),
        # CloudWatch gives them in any order; a day without calls is not the last day with one.
        ([(_day(21), 0.0), (_day(19), 3.0), (_day(12), 4.0), (_day(20), 0.0)], Calls(7, date(2026, 11, 19))),
    ],
)
def test_calls_are_summed_from_a_moment_on(points: list[tuple[datetime, float]], calls: Calls) -> None:
    """No point at all is no data, which is not the same as no calls."""
    assert Calls.summed(points, _day(10)) == calls


def _is_gated(**fields: dict[str, Any]) -> bool:
    given = {name: known | fields.get(name, {}) for name, known in GATED.items()}
    plan = PlannedChange(an_instance(**given["instance"]), Change(**given["change"]), V2_ONLY, "because")
    return is_gated(plan, a_policy(**given["policy"]), START)


def test_an_existing_instance_that_is_to_lose_imdsv1_is_gated() -> None:
    """It may have come to depend on it; one that EC2 does not date is taken for existing."""
    assert _is_gated()
    assert _is_gated(instance={"attached_at": START - timedelta(hours=1)})


@pytest.mark.parametrize(
    "fields",
    [
        {"policy": {"gate": None}},
        {"policy": {"gate": replace(GATE, enforce_after=date(2026, 11, 21))}},
        {"change": {"http_tokens": HttpTokens.OPTIONAL}},
        {"instance": {"options": V2_ONLY}},
        {"instance": {"options": None}},
        {"instance": {"attached_at": START - timedelta(minutes=59)}},
    ],
)
def test_each_reason_alone_opens_the_gate(fields: dict[str, dict[str, Any]]) -> None:
    """No gate, none any more, IMDSv1 stays or was off already, or a launch an hour ago at most."""
    assert not _is_gated(**fields)


@pytest.mark.parametrize(
    ("calls", "gate", "why"),
    [
        (Calls(), Gate(), None),
        (Calls(0), Gate(), None),
        (Calls(5, date(2026, 11, 20)), Gate(tolerate=5), None),
        (
            Calls(6, date(2026, 11, 20)),
            Gate(tolerate=5),
            "6 IMDSv1 calls in 14 days, the last on 2026-11-20; held until they end",
        ),
        (
            Calls(1, date(2026, 11, 20)),
            Gate(lookback_days=30, enforce_after=date(2027, 3, 31)),
            "1 IMDSv1 call in 30 days, the last on 2026-11-20; held until the end of 2027-03-31",
        ),
    ],
)
def test_more_calls_than_are_tolerated_hold_an_instance_back(calls: Calls, gate: Gate, why: str | None) -> None:
    """And the reason says how many, when, and for how long."""
    assert held_back(calls, gate) == why


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        (Calls(), "CloudWatch has no data of IMDSv1 calls in 30 days"),
        (Calls(0), "no IMDSv1 calls in 30 days"),
        (Calls(3, date(2026, 11, 20)), "3 IMDSv1 calls in 30 days"),
    ],
)
def test_who_is_let_through_is_told_with_what_is_known_of_his_calls(calls: Calls, text: str) -> None:
    """That there is no data is said as such: an instance that was stopped all the time has none."""
    assert let_through(calls, Gate(lookback_days=30, tolerate=5)) == text
