from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imds_enforcer.limits.circuit_breaker import CircuitBreaker
from imds_enforcer.limits.region_limits import RegionLimits, limits_of
from imds_enforcer.limits.sweep_limit import SweepLimit, fair_shares
from imds_enforcer.model import Change, Failure, HttpTokens, Kind, Outcome, PlannedChange, Refusal, Result, Switch
from imds_enforcer.model.failures import READ_BACK_DIFFERS
from tests.fakes.examples import (
    AWAY,
    HOME,
    NOT_FOUND,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V2_ONLY,
    WRONG_STATE,
    a_policy,
    an_id,
    an_instance,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

ENDLESS = float("inf")
SOUTH = "ap-south-1"
SHORT, LONG = 0.01, 10.0
PLANS = [PlannedChange(an_instance(n), Change(http_tokens=HttpTokens.REQUIRED), V2_ONLY, "why") for n in range(20)]


def _ids(numbers: Iterable[int]) -> list[str]:
    return [an_id(number) for number in numbers]


# Fair shares.


@pytest.mark.parametrize(
    ("limit", "needs", "shares"),
    [
        (10, {}, {}),
        (10, {"a": ENDLESS}, {"a": 10}),
        (10, {"a": 3}, {"a": 3}),
        (10, {"a": ENDLESS, "b": ENDLESS}, {"a": 5, "b": 5}),
        (10, {"a": 0, "b": ENDLESS}, {"a": 0, "b": 10}),
        (10, {"a": 2, "b": ENDLESS, "c": ENDLESS}, {"a": 2, "b": 4, "c": 4}),
        (10, {"a": 2, "b": 3, "c": 20}, {"a": 2, "b": 3, "c": 5}),
        # The remainder goes to the regions that come first.
        (5, {"c": ENDLESS, "a": ENDLESS, "b": ENDLESS}, {"a": 2, "b": 2, "c": 1}),
        (1, {"b": 9, "a": 9}, {"a": 1, "b": 0}),
    ],
)
def test_a_limit_is_divided_fairly(limit: int, needs: dict[str, float], shares: dict[str, int]) -> None:
    """A region that needs less leaves the rest to the others."""
    assert fair_shares(limit, needs) == shares


@given(st.integers(0, 60), st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 25) | st.just(ENDLESS)))
def test_shares_are_max_min_fair_for_any_needs(limit: int, needs: dict[str, float]) -> None:
    """No share exceeds its need, nothing needed is left over, and no region goes short in another's favor."""
    shares = fair_shares(limit, needs)
    assert set(shares) == set(needs)
    assert all(0 <= share <= needs[name] for name, share in shares.items())
    assert sum(shares.values()) == min(limit, sum(needs.values())) if needs else True
    short = [share for name, share in shares.items() if share < needs[name]]
    assert not short or max(shares.values()) - min(short) <= 1


# The sweep's limit.


def test_without_a_limit_everything_is_admitted() -> None:
    """And no region ever uses it up."""
    sweep_limit = SweepLimit(None, [HOME, AWAY])
    assert sweep_limit.admit(HOME, _ids(range(5_000))) == set(_ids(range(5_000)))
    assert not sweep_limit.used_up(HOME, LONG)


def test_a_region_has_its_fair_share_at_once() -> None:
    """Before any other region has declared its need; and no more than that."""
    sweep_limit = SweepLimit(10, [HOME, AWAY])
    assert sweep_limit.admit(HOME, _ids(range(8))) == set(_ids(range(5)))
    assert sweep_limit.admit(AWAY, _ids(range(100, 103))) == set(_ids(range(100, 103)))


def test_a_region_has_more_once_others_need_less() -> None:
    """So the sweep can use its whole limit."""
    sweep_limit = SweepLimit(10, [HOME, AWAY, SOUTH])
    assert len(sweep_limit.admit(HOME, _ids(range(20)))) == 3
    sweep_limit.declare(AWAY, 0)
    assert len(sweep_limit.admit(HOME, _ids(range(20)))) == 5
    sweep_limit.declare(SOUTH, 2)
    assert len(sweep_limit.admit(HOME, _ids(range(20)))) == 8


def test_an_instance_counts_once_however_often_it_is_asked_for() -> None:
    """A change that is sent again is still about one instance."""
    sweep_limit = SweepLimit(2, [HOME])
    for _ in range(3):
        assert sweep_limit.admit(HOME, _ids([1, 2, 3])) == set(_ids([1, 2]))
    assert sweep_limit.admit(HOME, _ids([2])) == set(_ids([2]))


def test_a_withdrawn_instance_makes_room_for_itself_or_another() -> None:
    """The limit counts changes, and this one was not made."""
    sweep_limit = SweepLimit(2, [HOME])
    sweep_limit.admit(HOME, _ids([1, 2]))
    sweep_limit.withdraw(HOME, an_id(1))
    assert sweep_limit.admit(HOME, _ids([3, 1])) == set(_ids([3]))


def test_withdrawing_an_instance_that_was_never_admitted_changes_nothing() -> None:
    """It makes no room."""
    sweep_limit = SweepLimit(1, [HOME, AWAY])
    sweep_limit.declare(AWAY, 0)
    sweep_limit.admit(HOME, _ids([1]))
    sweep_limit.withdraw(HOME, an_id(2))
    sweep_limit.withdraw(AWAY, an_id(1))
    assert sweep_limit.admit(HOME, _ids([2])) == set()


def test_a_declared_need_comes_on_top_of_the_admitted_instances() -> None:
    """A second look finds more instances, and the first ones still count."""
    sweep_limit = SweepLimit(10, [HOME, AWAY])
    sweep_limit.declare(HOME, 3)
    sweep_limit.admit(HOME, _ids(range(3)))
    sweep_limit.declare(AWAY, 20)
    assert len(sweep_limit.admit(AWAY, _ids(range(100, 120)))) == 7
    sweep_limit.withdraw(AWAY, an_id(100))
    sweep_limit.withdraw(AWAY, an_id(101))
    sweep_limit.declare(HOME, 1)
    assert sweep_limit.admit(HOME, _ids([50])) == set(_ids([50]))


def test_a_limit_is_used_up_once_all_of_it_is_admitted() -> None:
    """For every region, at once and without waiting for another."""
    sweep_limit = SweepLimit(4, [HOME, AWAY])
    sweep_limit.admit(HOME, _ids([1, 2]))
    assert not sweep_limit.used_up(AWAY, LONG), "there is room"
    sweep_limit.admit(AWAY, _ids([3, 4]))
    assert sweep_limit.used_up(HOME, LONG)
    assert sweep_limit.used_up(AWAY, LONG)


def test_a_share_is_not_used_up_until_the_others_have_declared_their_needs() -> None:
    """The share may still grow, so the region asks again."""
    sweep_limit = SweepLimit(4, [HOME, AWAY])
    sweep_limit.admit(HOME, _ids([1, 2]))
    assert sweep_limit.admit(HOME, _ids([3])) == set()
    assert not sweep_limit.used_up(HOME, SHORT)
    sweep_limit.declare(HOME, 9)
    assert not sweep_limit.used_up(HOME, SHORT)
    sweep_limit.declare(AWAY, 9)
    assert sweep_limit.used_up(HOME, LONG)


def test_a_share_is_not_used_up_while_room_for_one_instance_is_left() -> None:
    """The region that the room is kept for may need no more, and can use it without a wait."""
    sweep_limit = SweepLimit(4, [HOME, AWAY])
    sweep_limit.admit(HOME, _ids([1, 2]))
    sweep_limit.admit(AWAY, _ids([3]))
    assert not sweep_limit.used_up(HOME, SHORT)
    assert not sweep_limit.used_up(AWAY, ENDLESS), "no wait can be endless: it would raise an OverflowError"


@pytest.mark.parametrize(("need", "used_up"), [(0, False), (9, True)])
def test_a_waiting_region_is_notified_of_the_needs_of_others(need: int, *, used_up: bool) -> None:
    """Long before its patience ends."""
    sweep_limit = SweepLimit(4, [HOME, AWAY])
    sweep_limit.declare(HOME, 9)
    sweep_limit.admit(HOME, _ids([1, 2]))
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(sweep_limit.used_up(HOME, LONG)))
    waiting.start()
    sweep_limit.declare(AWAY, need)
    waiting.join(LONG / 2)
    assert answers == [used_up]


REGIONS = (HOME, AWAY, SOUTH)
STEPS = st.lists(
    st.tuples(st.just("declare"), st.sampled_from(REGIONS), st.integers(0, 12))
    | st.tuples(st.sampled_from(["admit", "withdraw"]), st.sampled_from(REGIONS), st.integers(0, 11)),
    max_size=60,
)


@given(st.integers(1, 20), STEPS)
def test_no_more_than_the_limit_is_admitted_in_whatever_order_regions_work(
    limit: int, steps: list[tuple[Any, str, int]]
) -> None:
    """Although shares shift while others use theirs; and in the end no usable room is left."""
    sweep_limit = SweepLimit(limit, REGIONS)
    changed: dict[str, set[str]] = {region: set() for region in REGIONS}
    for step, region, number in steps:
        if step == "declare":
            sweep_limit.declare(region, number)
        elif step == "withdraw":
            sweep_limit.withdraw(region, an_id(number))
            changed[region].discard(an_id(number))
        else:
            changed[region] |= sweep_limit.admit(region, _ids(range(number, number + 3)))
        assert sum(map(len, changed.values())) <= limit
    for region in REGIONS:
        sweep_limit.declare(region, 50)
    for region in REGIONS:
        changed[region] |= sweep_limit.admit(region, _ids(range(20, 70)))
        assert sweep_limit.used_up(region, LONG)
    assert sum(map(len, changed.values())) <= limit


@given(st.integers(1, 40), st.tuples(*[st.integers(0, 20)] * 3), st.permutations([*REGIONS, *REGIONS]))
def test_a_sweep_changes_as_much_as_its_limit_and_its_needs_allow(
    limit: int, needs: tuple[int, ...], order: list[str]
) -> None:
    """Whichever region declares its need first, and whichever works first."""
    sweep_limit, admitted, listed = SweepLimit(limit, REGIONS), 0, set()
    wanted = {region: [f"{region}-{n}" for n in range(need)] for region, need in zip(REGIONS, needs, strict=True)}
    for region in order:
        if region not in listed:
            sweep_limit.declare(region, len(wanted[region]))
            listed.add(region)
        sweep_limit.admit(region, wanted[region])
    for region in REGIONS:
        admitted += len(sweep_limit.admit(region, wanted[region]))
    assert admitted == min(limit, sum(needs))


# The breaker.


def _ended(failure: Failure | None = None, outcome: Outcome | None = None) -> Result:
    outcome = outcome or (Outcome.FAILED if failure else Outcome.REMEDIATED)
    return Result(instance_id=an_id(), region=HOME, outcome=outcome, reason="r", failure=failure)


GOOD, BAD = _ended(), _ended(SERVER_FAULT)
DIFFERS = _ended(Failure(READ_BACK_DIFFERS, "EC2 shows something else", Kind.FINAL))


def _counted(*results: Result) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for result in results:
        breaker.count(result)
    return breaker


@pytest.mark.parametrize(
    ("good", "bad", "trips"),
    [(0, 9, False), (0, 10, True), (8, 2, False), (7, 3, True), (16, 4, False), (15, 5, True), (80, 20, False)],
)
def test_a_breaker_trips_if_more_than_a_fifth_of_at_least_ten_changes_failed(
    good: int, bad: int, *, trips: bool
) -> None:
    """One failure in five may be chance, and nine changes are too few to judge by."""
    breaker = _counted(*[GOOD] * good, *[BAD] * bad)
    assert bool(breaker.tripped) is trips


@pytest.mark.parametrize(("failing", "last"), [(BAD, SERVER_FAULT), (DIFFERS, DIFFERS.failure)])
def test_a_breaker_says_how_many_changes_failed_and_why_the_last_did(failing: Result, last: Failure) -> None:
    """Also if the tenth change succeeded, or EC2 refused it."""
    why = f"3 of 10 changes in this region failed, the last with {last}"
    assert _counted(*[GOOD] * 7, *[failing] * 3).tripped == why
    assert _counted(*[failing] * 3, *[GOOD] * 7).tripped == why
    assert _counted(*[failing] * 3, *[GOOD] * 6, _ended(UNAUTHORIZED)).tripped == why


@pytest.mark.parametrize(
    "harmless",
    [
        _ended(UNAUTHORIZED),
        _ended(THROTTLED),
        _ended(WRONG_STATE),
        _ended(NOT_FOUND),
        _ended(),
        _ended(None, Outcome.FAILED),
        # Accepted, then not read back in time: nothing says that the change failed.
        _ended(SERVER_FAULT, Outcome.PENDING),
        _ended(None, Outcome.GONE),
    ],
)
def test_refusals_of_single_instances_and_throttling_trip_no_breaker(harmless: Result) -> None:
    """The other instances can still be changed."""
    assert _counted(*[harmless] * 50).tripped is None
    assert _counted(*[harmless] * 8, BAD, BAD).tripped is None
    assert _counted(*[harmless] * 7, BAD, BAD, BAD).tripped is not None


def test_a_tripped_breaker_stays_tripped() -> None:
    """With its first reason, however the changes still under way end."""
    breaker = _counted(*[BAD] * 10)
    why = breaker.tripped
    for _ in range(100):
        breaker.count(GOOD)
    assert breaker.tripped == why is not None


def test_regions_share_a_limit_but_no_breaker() -> None:
    """A fault of EC2 in one region says nothing about another region."""
    limits = limits_of(a_policy(max_changes_per_sweep=4), [HOME, AWAY])
    assert list(limits) == [HOME, AWAY]
    limits[HOME].declare(10)
    limits[AWAY].declare(1)
    assert [len(limits[region].admit(PLANS)) for region in (HOME, AWAY)] == [3, 1]
    for _ in range(10):
        limits[HOME].changed(BAD)
    assert limits[HOME].tripped
    assert limits[AWAY].tripped is None


def test_a_change_that_has_begun_continues_despite_the_breaker_and_keeps_its_share() -> None:
    """It was unanswered, or EC2 refused it an option in this run; an earlier run's refusal does not count."""
    refusal = Refusal("InstanceMetadataTags", Switch.ENABLED, SERVER_FAULT)
    unanswered, refused = replace(PLANS[0], unanswered=1), replace(PLANS[1], refused=(refusal,))
    noted = replace(PLANS[2], refused=(replace(refusal, noted=True),))
    limits = limits_of(a_policy(max_changes_per_sweep=2), [HOME])[HOME]
    for plan in PLANS[:10]:
        limits.attempted(plan, SERVER_FAULT)
    assert [limits.allow(plan) for plan in (unanswered, refused, noted, PLANS[3])] == [True, True, False, False]
    limits.declare(10)
    assert limits.admit([unanswered, refused, noted]) == [unanswered, refused]
    limits.withdraw([unanswered, refused])
    assert limits.admit([noted, PLANS[3]]) == []


def test_events_and_reverts_have_no_limits() -> None:
    """They name their instances: all of them are changed, however many fail."""
    limits = RegionLimits.none(HOME)
    assert limits.admit(PLANS) == PLANS
    assert limits.used_up() is None
    for plan in PLANS:
        limits.attempted(plan, SERVER_FAULT)
        limits.changed(BAD)
    assert limits.tripped is None
    assert all(map(limits.allow, PLANS))
