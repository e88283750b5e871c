from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.decision.legacy_calls import (
    FIND_CALLER,
    Calls,
    group_of,
    held_back,
    is_gated,
    let_through,
    own_calls_decide,
    seconds_until_tagged,
)
from imds_enforcer.model import Change, HttpTokens, PlannedChange
from imds_enforcer.model.instance import AUTO_SCALING_GROUP_TAG, LAUNCH_TEMPLATE_TAG
from imds_enforcer.policy import CountedBy, Gate
from tests.fakes.clock import START
from tests.fakes.examples import V1_ALLOWED, V2_ONLY, a_policy, an_instance

if TYPE_CHECKING:
    from imds_enforcer.policy import Policy

BY_GROUP = Gate(by=CountedBy.GROUP)
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
        # Earlier points do not count, not even as data.
        ([(_day(9), 7.0)], Calls(None, None)),
        ([(_day(9, 23), 7.0), (_day(10), 0.0)], Calls(0, None)),
        ([(_day(10), 2.0)], Calls(2, date(2026, 11, 10))),
        ([(_day(10), 0.0), (_day(20), 0.0)], Calls(0, None)),
        # CloudWatch returns points in any order; a day without calls is not the last day with one.
        ([(_day(21), 0.0), (_day(19), 3.0), (_day(12), 4.0), (_day(20), 0.0)], Calls(7, date(2026, 11, 19))),
    ],
)
def test_calls_are_summed_from_a_moment_on(points: list[tuple[datetime, float]], calls: Calls) -> None:
    """No points at all means no data, which is not the same as no calls."""
    assert Calls.summed(points, _day(10)) == calls


def _planned(**fields: dict[str, Any]) -> tuple[PlannedChange, Policy]:
    given = {name: known | fields.get(name, {}) for name, known in GATED.items()}
    plan = PlannedChange(an_instance(**given["instance"]), Change(**given["change"]), V2_ONLY, "because")
    return plan, a_policy(**given["policy"])


def _is_gated(**fields: dict[str, Any]) -> bool:
    return is_gated(*_planned(**fields), START)


def test_an_existing_instance_that_would_lose_imdsv1_is_gated() -> None:
    """It may depend on IMDSv1; one without an attachment time counts as existing."""
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
    """There is no gate, it has ended, IMDSv1 stays or is off already, or the launch was within the last hour."""
    assert not _is_gated(**fields)


@pytest.mark.parametrize(
    ("by", "group", "new", "gated"),
    [
        (CountedBy.GROUP, "web", True, True),
        (CountedBy.GROUP, "web", False, True),
        (CountedBy.GROUP, None, True, False),
        (CountedBy.GROUP, None, False, True),
        (CountedBy.INSTANCE, "web", True, False),
        (CountedBy.INSTANCE, "web", False, True),
    ],
)
def test_a_new_instance_is_gated_by_its_group_alone(
    *, by: CountedBy, group: str | None, new: bool, gated: bool
) -> None:
    """It has no calls of its own yet."""
    tags = {AUTO_SCALING_GROUP_TAG: group} if group else {}
    instance = {"tags": tags, "attached_at": START - timedelta(seconds=5 if new else 3600)}
    assert _is_gated(policy={"gate": Gate(by=by)}, instance=instance) is gated
    for fields in (
        {"policy": {"gate": Gate(by=by, enforce_after=date(2026, 11, 21))}},
        {"policy": {"gate": Gate(by=by)}, "change": {"http_tokens": HttpTokens.OPTIONAL}},
    ):
        assert not _is_gated(instance=instance, **fields)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("web", "web"),
        ("web/blue [1] a*", "web/blue [1] a*"),
        ("i-00000000000000001", "i-00000000000000001"),
        ("x" * 255, "x" * 255),
        ("wéb", None),
        ("web\n", None),
        (" ", None),
        ("", None),
    ],
)
def test_only_a_group_that_cloudwatch_can_have_metrics_for_counts(name: str, group: str | None) -> None:
    """With any other name, the one request for all groups of the region would fail."""
    instance = an_instance(tags={AUTO_SCALING_GROUP_TAG: name})
    assert group_of(instance, BY_GROUP) == group
    assert group_of(instance, Gate()) is None
    assert group_of(an_instance(tags={"Name": "web"}), BY_GROUP) is None


YOUNG: dict[str, Any] = {"attached_at": START - timedelta(seconds=5)}


@pytest.mark.parametrize(
    ("instance", "seconds"),
    [
        (YOUNG, 55),
        ({"attached_at": START - timedelta(seconds=60)}, None),
        ({"attached_at": START + timedelta(hours=1)}, 60),
        ({"attached_at": None}, None),
        (YOUNG | {"options": V2_ONLY}, None),
        (YOUNG | {"tags": {AUTO_SCALING_GROUP_TAG: "web"}}, None),
        (YOUNG | {"tags": {AUTO_SCALING_GROUP_TAG: "wéb"}}, None),
        (YOUNG | {"tags": {LAUNCH_TEMPLATE_TAG: "lt-1"}}, None),
    ],
)
def test_a_new_instance_waits_for_the_tag_of_its_group(instance: dict[str, Any], seconds: float | None) -> None:
    """If the tag may come later: Spot Instances of a launch configuration are launched without it."""
    assert seconds_until_tagged(*_planned(policy={"gate": BY_GROUP}, instance=instance), START) == seconds
    for gate in (None, Gate(), replace(BY_GROUP, enforce_after=date(2026, 11, 21))):
        assert seconds_until_tagged(*_planned(policy={"gate": gate}, instance=instance), START) is None


@pytest.mark.parametrize(
    ("of_group", "new", "own"),
    [
        (None, False, True),
        (None, True, True),
        (Calls(group="web"), False, True),
        (Calls(group="web"), True, False),
        (Calls(0, group="web"), False, False),
        (Calls(5, group="web"), False, False),
    ],
)
def test_own_calls_decide_without_data_on_a_group(*, of_group: Calls | None, new: bool, own: bool) -> None:
    """An existing instance is never let through only because CloudWatch has no data on its group."""
    instance = an_instance(attached_at=START - timedelta(seconds=5 if new else 3600))
    assert own_calls_decide(instance, of_group, START) is own


def test_the_calls_of_a_group_are_named_as_the_groups() -> None:
    """Whether the gate holds the instance back or lets it through."""
    calls = Calls(6, date(2026, 11, 20), "web")
    counted = "Auto Scaling group web: 6 IMDSv1 calls in 14 days"
    assert held_back(calls, BY_GROUP) == f"{counted}, the last on 2026-11-20; gated until the calls stop; {FIND_CALLER}"
    assert let_through(calls, replace(BY_GROUP, tolerate=6)) == counted
    nothing = "Auto Scaling group web: CloudWatch has no data on IMDSv1 calls in 14 days"
    assert let_through(Calls(group="web"), BY_GROUP) == nothing


@pytest.mark.parametrize(
    ("calls", "gate", "why"),
    [
        (Calls(), Gate(), None),
        (Calls(0), Gate(), None),
        (Calls(5, date(2026, 11, 20)), Gate(tolerate=5), None),
        (
            Calls(6, date(2026, 11, 20)),
            Gate(tolerate=5),
            f"6 IMDSv1 calls in 14 days, the last on 2026-11-20; gated until the calls stop; {FIND_CALLER}",
        ),
        (
            Calls(1, date(2026, 11, 20)),
            Gate(lookback_days=30, enforce_after=date(2027, 3, 31)),
            f"1 IMDSv1 call in 30 days, the last on 2026-11-20; gated until the end of 2027-03-31; {FIND_CALLER}",
        ),
    ],
)
def test_more_calls_than_are_tolerated_hold_an_instance_back(calls: Calls, gate: Gate, why: str | None) -> None:
    """The reason says how many calls there were, when the last one was, and how long the instance is gated."""
    assert held_back(calls, gate) == why


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        (Calls(), "CloudWatch has no data on IMDSv1 calls in 30 days"),
        (Calls(0), "no IMDSv1 calls in 30 days"),
        (Calls(3, date(2026, 11, 20)), "3 IMDSv1 calls in 30 days"),
    ],
)
def test_an_instance_let_through_is_reported_with_its_calls(calls: Calls, text: str) -> None:
    """A lack of data is named: an instance that was stopped all the time has no data."""
    assert let_through(calls, Gate(lookback_days=30, tolerate=5)) == text
