"""How fast changes are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imds_enforcer.limits.pacing import CHANGES, Limit, RequestBucket

if TYPE_CHECKING:
    from tests.fakes.clock import FakeClock


@pytest.fixture
def bucket(clock: FakeClock) -> RequestBucket:
    """EC2's bucket for changes, full."""
    return RequestBucket(CHANGES, clock)


def _take(bucket: RequestBucket, wanted: int, left: int = 0) -> int:
    """Make as many of the wanted requests as may be made; the answers come at once."""
    granted = bucket.take(wanted, left)
    for _ in range(granted):
        bucket.answered()
    return granted


def _taken(bucket: RequestBucket, clock: FakeClock, seconds: float) -> int:
    """How many requests go out in so many seconds to one who always wants more."""
    end, taken = clock.elapsed + seconds, 0
    while clock.elapsed < end:
        taken += _take(bucket, 1_000)
        clock.sleep(min(bucket.wait(), end - clock.elapsed))
    return taken


def test_the_limit_is_the_one_that_ec2_publishes() -> None:
    """Per account and region."""
    assert Limit(capacity=100, refill=5) == CHANGES


def test_a_full_bucket_gives_what_it_holds_at_once(bucket: RequestBucket) -> None:
    """And no more than is wanted."""
    assert bucket.wait() == 0
    assert _take(bucket, 30) == 30
    assert _take(bucket, 1_000) == 70
    assert _take(bucket, 1_000) == 0


def test_what_comes_back_is_what_ec2_says(bucket: RequestBucket, clock: FakeClock) -> None:
    """A hundred, and five each second."""
    assert _taken(bucket, clock, 60) == pytest.approx(100 + 5 * 60, abs=1)


def test_what_is_under_way_may_not_be_taken_again(bucket: RequestBucket) -> None:
    """Its token is as good as gone; one that was not sent after all gives it back."""
    assert bucket.take(100) == 100
    assert bucket.take(1) == 0
    assert bucket.wait() == pytest.approx(0.2)
    bucket.give_back(1)
    assert bucket.take(2) == 1


def test_a_full_bucket_refills_from_the_first_answer_on(bucket: RequestBucket, clock: FakeClock) -> None:
    """Until a request has arrived, EC2's own is full and gains nothing: a slow start must not be counted in."""
    assert bucket.take(100) == 100
    clock.advance(2)
    for _ in range(100):
        bucket.answered()
    assert bucket.take(1) == 0
    clock.advance(1)
    assert bucket.take(10) == 5


def test_waiting_is_as_long_as_it_must_be(bucket: RequestBucket, clock: FakeClock) -> None:
    """After it, one request goes, and not two."""
    _take(bucket, 100)
    assert bucket.wait() == pytest.approx(0.2)
    clock.sleep(bucket.wait())
    assert _take(bucket, 5) == 1


def test_a_bucket_never_holds_more_than_it_can(bucket: RequestBucket, clock: FakeClock) -> None:
    """However long nobody comes."""
    clock.advance(100_000)
    assert _take(bucket, 1_000) == 100


def test_a_process_that_was_frozen_finds_the_bucket_as_full_as_ec2_has_it(
    bucket: RequestBucket, clock: FakeClock
) -> None:
    """The monotonic clock stood still, and the wall clock went on."""
    _take(bucket, 100)
    clock.freeze(4)
    assert _take(bucket, 1_000) == 20
    clock.freeze(3_600)
    assert _take(bucket, 1_000) == 100


def test_a_refusal_after_a_freeze_is_another_one(bucket: RequestBucket, clock: FakeClock) -> None:
    """It answers no burst of the invocation before: the pace is halved again."""
    assert bucket.take(1) == 1
    bucket.refused()
    clock.freeze(2)
    assert bucket.take(1) == 1
    bucket.refused()
    assert bucket.wait() == pytest.approx(1 / ((2.5 + 2 * 5 / 20) / 2))


def test_a_wall_clock_that_is_set_back_takes_nothing_away(bucket: RequestBucket, clock: FakeClock) -> None:
    """Nor does it keep the bucket from filling: seconds that both clocks count are counted once."""
    _take(bucket, 100)
    clock.freeze(-3_600)
    assert _take(bucket, 1_000) == 0
    clock.advance(2)
    assert _take(bucket, 1_000) == 10
    assert _taken(bucket, clock, 60) == pytest.approx(5 * 60, abs=1)


@pytest.mark.parametrize(("left", "granted"), [(20, 20), (100, 100), (101, 80), (5_000, 80)])
def test_a_sweep_leaves_the_reserve_unless_the_bucket_serves_all(
    bucket: RequestBucket, left: int, granted: int
) -> None:
    """A launch in the middle of it finds 20 tokens at once."""
    assert _take(bucket, left, left) == granted
    assert _take(bucket, 1_000) == 100 - granted


def test_a_sweep_takes_no_less_than_five_at_a_time(bucket: RequestBucket, clock: FakeClock) -> None:
    """Else it would never be refused, and a launch would find the bucket empty at every moment."""
    assert _take(bucket, 400, 400) == 80
    assert bucket.wait(320) == pytest.approx(1)
    clock.advance(0.9)
    assert _take(bucket, 320, 320) == 0
    clock.advance(0.1)
    assert _take(bucket, 320, 320) == 5


def test_a_sweep_spends_the_reserve_on_its_last_changes(bucket: RequestBucket, clock: FakeClock) -> None:
    """So the whole takes no longer than EC2's bucket makes it."""
    left = 400
    while left:
        left -= _take(bucket, left, left)
        if left:
            clock.sleep(bucket.wait(left))
    assert clock.elapsed == pytest.approx((400 - 100) / 5, abs=0.2)
    assert _take(bucket, 10) == 0


def test_the_last_changes_of_a_sweep_take_each_token_as_it_comes(bucket: RequestBucket, clock: FakeClock) -> None:
    """There is no reserve for them to leave."""
    _take(bucket, 100)
    clock.advance(0.2)
    assert _take(bucket, 20, 20) == 1


def test_after_a_refusal_a_sweep_lets_the_reserve_fill(bucket: RequestBucket, clock: FakeClock) -> None:
    """A launch may need more than the reserve, and what comes back meanwhile is for it."""
    assert bucket.take(400, 400) == 80
    bucket.refused()
    bucket.give_back(79)
    waited = 0.0
    while not _take(bucket, 320, 320):
        clock.sleep(0.1)
        waited += 0.1
    assert waited == pytest.approx(7.3, abs=0.2), "25 tokens at a pace that grows from 2.5 a second"


def test_a_refusal_empties_the_bucket_and_halves_the_pace(bucket: RequestBucket, clock: FakeClock) -> None:
    """Somebody else has drained it."""
    assert bucket.take(1) == 1
    bucket.refused()
    assert bucket.take(10) == 0
    assert bucket.wait() == pytest.approx(1 / 2.5)
    assert _taken(bucket, clock, 4) < 4 * 5 * 0.75


def test_refusals_of_one_burst_count_once(bucket: RequestBucket, clock: FakeClock) -> None:
    """Sixteen requests under way at the same moment tell the same thing."""
    assert bucket.take(16) == 16
    for _ in range(16):
        bucket.refused()
        clock.advance(0.01)
    assert bucket.wait() == pytest.approx(1 / 2.5, rel=0.1)


def test_the_pace_comes_back(bucket: RequestBucket, clock: FakeClock) -> None:
    """Within twenty seconds, as evenly as it is added to."""
    assert bucket.take(1) == 1
    bucket.refused()
    _taken(bucket, clock, 10)
    assert _taken(bucket, clock, 60) == pytest.approx(5 * 60, abs=2)


def test_the_pace_never_falls_to_nothing(bucket: RequestBucket, clock: FakeClock) -> None:
    """Else nobody would notice that there is room again."""
    for _ in range(20):
        clock.sleep(bucket.wait())
        assert bucket.take(1) == 1
        bucket.refused()
    assert bucket.wait() <= 4


def test_two_that_share_a_bucket_use_it_up_together(clock: FakeClock) -> None:
    """Neither knows of the other but by refusals."""
    shared = RequestBucket(CHANGES, clock)
    sides = [RequestBucket(CHANGES, clock) for _ in range(2)]
    taken = [0, 0]
    refused = 0
    while clock.elapsed < 200:
        for number, side in enumerate(sides):
            for _ in range(side.take(16)):
                if _take(shared, 1):
                    taken[number] += 1
                    side.answered()
                else:
                    refused += 1
                    side.refused()
        clock.sleep(0.05)
    assert sum(taken) >= 0.9 * (100 + 5 * 200)
    assert min(taken) > 0.3 * sum(taken)
    assert refused < 0.25 * sum(taken)
