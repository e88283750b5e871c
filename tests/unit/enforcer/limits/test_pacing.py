"""How fast changes are sent."""

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
    """Send as many of the wanted requests as may be sent; the answers come at once."""
    granted = bucket.take(wanted, left)
    for _ in range(granted):
        bucket.answered()
    return granted


def _taken(bucket: RequestBucket, clock: FakeClock, seconds: float) -> int:
    """How many requests go out in this many seconds if there are always more to send."""
    end, taken = clock.elapsed + seconds, 0
    while clock.elapsed < end:
        taken += _take(bucket, 1_000)
        clock.sleep(min(bucket.wait(), end - clock.elapsed))
    return taken


def test_the_limit_is_the_one_that_ec2_publishes() -> None:
    """Per account and region."""
    assert Limit(capacity=100, refill=5) == CHANGES


def test_a_full_bucket_gives_what_it_holds_at_once(bucket: RequestBucket) -> None:
    """It gives no more than is wanted."""
    assert bucket.wait() == 0
    assert _take(bucket, 30) == 30
    assert _take(bucket, 1_000) == 70
    assert _take(bucket, 1_000) == 0


def test_the_bucket_refills_at_the_rate_that_ec2_publishes(bucket: RequestBucket, clock: FakeClock) -> None:
    """A hundred tokens, and five more each second."""
    assert _taken(bucket, clock, 60) == pytest.approx(100 + 5 * 60, abs=1)


def test_the_token_of_a_request_under_way_cannot_be_taken_again(bucket: RequestBucket) -> None:
    """A request that was not sent after all gives its token back."""
    assert bucket.take(100) == 100
    assert bucket.take(1) == 0
    assert bucket.wait() == pytest.approx(0.2)
    bucket.give_back(1)
    assert bucket.take(2) == 1


def test_a_full_bucket_refills_from_the_first_answer_on(bucket: RequestBucket, clock: FakeClock) -> None:
    """Until a request arrives, EC2's own bucket is full and gains nothing: a slow start must not count."""
    assert bucket.take(100) == 100
    clock.advance(2)
    for _ in range(100):
        bucket.answered()
    assert bucket.take(1) == 0
    clock.advance(1)
    assert bucket.take(10) == 5


def test_the_wait_is_no_longer_than_necessary(bucket: RequestBucket, clock: FakeClock) -> None:
    """After it one request may be sent, not two."""
    _take(bucket, 100)
    assert bucket.wait() == pytest.approx(0.2)
    clock.sleep(bucket.wait())
    assert _take(bucket, 5) == 1


def test_a_bucket_never_holds_more_than_it_can(bucket: RequestBucket, clock: FakeClock) -> None:
    """It does not matter how long it stays unused."""
    clock.advance(100_000)
    assert _take(bucket, 1_000) == 100


def test_a_process_that_was_frozen_finds_the_bucket_as_full_as_ec2_has_it(
    bucket: RequestBucket, clock: FakeClock
) -> None:
    """The monotonic clock stood still while the wall clock went on."""
    _take(bucket, 100)
    clock.freeze(4)
    assert _take(bucket, 1_000) == 20
    clock.freeze(3_600)
    assert _take(bucket, 1_000) == 100


def test_throttling_after_a_freeze_counts_anew(bucket: RequestBucket, clock: FakeClock) -> None:
    """It does not belong to the previous invocation's burst: the pace is halved again."""
    assert bucket.take(1) == 1
    bucket.refused()
    clock.freeze(2)
    assert bucket.take(1) == 1
    bucket.refused()
    assert bucket.wait() == pytest.approx(1 / ((2.5 + 2 * 5 / 20) / 2))


def test_a_wall_clock_that_is_turned_back_takes_no_tokens_away(bucket: RequestBucket, clock: FakeClock) -> None:
    """The bucket goes on filling. Seconds that both clocks show count once."""
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
    """A launch during the sweep finds 20 tokens at once."""
    assert _take(bucket, left, left) == granted
    assert _take(bucket, 1_000) == 100 - granted


def test_a_sweep_takes_at_least_five_tokens_at_a_time(bucket: RequestBucket, clock: FakeClock) -> None:
    """Else EC2 would never throttle it, and a launch would always find the bucket empty."""
    assert _take(bucket, 400, 400) == 80
    assert bucket.wait(320) == pytest.approx(1)
    clock.advance(0.9)
    assert _take(bucket, 320, 320) == 0
    clock.advance(0.1)
    assert _take(bucket, 320, 320) == 5


def test_the_wait_before_the_last_changes_is_no_longer_than_it_must_be(bucket: RequestBucket, clock: FakeClock) -> None:
    """As soon as the bucket can serve all that is left, the reserve is no longer kept."""
    _take(bucket, 80)
    assert bucket.wait(22) == pytest.approx(0.4)
    clock.sleep(0.4)
    assert _take(bucket, 22, 22) == 22


def test_a_sweep_spends_the_reserve_on_its_last_changes(bucket: RequestBucket, clock: FakeClock) -> None:
    """So the reserve does not make the sweep longer."""
    left = 400
    while left:
        left -= _take(bucket, left, left)
        if left:
            clock.sleep(bucket.wait(left))
    assert clock.elapsed == pytest.approx((400 - 100) / 5, abs=0.2)
    assert _take(bucket, 10) == 0


def test_the_last_changes_of_a_sweep_take_each_token_as_it_comes(bucket: RequestBucket, clock: FakeClock) -> None:
    """The sweep need not leave a reserve any more."""
    _take(bucket, 100)
    clock.advance(0.2)
    assert _take(bucket, 20, 20) == 1


def test_a_throttled_sweep_lets_the_reserve_fill(bucket: RequestBucket, clock: FakeClock) -> None:
    """A launch may need more than the reserve; the tokens that come back meanwhile are for it."""
    assert bucket.take(400, 400) == 80
    bucket.refused()
    bucket.give_back(79)
    waited = 0.0
    while not _take(bucket, 320, 320):
        clock.sleep(0.1)
        waited += 0.1
    assert waited == pytest.approx(7.3, abs=0.2), "25 tokens at a pace that grows from 2.5 a second"


def test_throttling_empties_the_bucket_and_halves_the_pace(bucket: RequestBucket, clock: FakeClock) -> None:
    """Another program has drained it."""
    assert bucket.take(1) == 1
    bucket.refused()
    assert bucket.take(10) == 0
    assert bucket.wait() == pytest.approx(1 / 2.5)
    assert _taken(bucket, clock, 4) < 4 * 5 * 0.75


def test_throttling_of_one_burst_counts_once(bucket: RequestBucket, clock: FakeClock) -> None:
    """Sixteen requests were under way at the same moment."""
    assert bucket.take(16) == 16
    for _ in range(16):
        bucket.refused()
        clock.advance(0.01)
    assert bucket.wait() == pytest.approx(1 / 2.5, rel=0.1)


def test_the_pace_recovers(bucket: RequestBucket, clock: FakeClock) -> None:
    """It does so within twenty seconds, at an even rate."""
    assert bucket.take(1) == 1
    bucket.refused()
    _taken(bucket, clock, 10)
    assert _taken(bucket, clock, 60) == pytest.approx(5 * 60, abs=2)


def test_the_pace_never_falls_to_nothing(bucket: RequestBucket, clock: FakeClock) -> None:
    """Else the process would never notice that EC2 has tokens again."""
    for _ in range(20):
        clock.sleep(bucket.wait())
        assert bucket.take(1) == 1
        bucket.refused()
    assert bucket.wait() <= 4


def test_two_processes_that_share_a_bucket_use_it_up_together(clock: FakeClock) -> None:
    """A process learns only from being throttled that another one draws on the bucket."""
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
