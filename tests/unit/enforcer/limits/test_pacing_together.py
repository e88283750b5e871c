"""One sweep and several launches share EC2's bucket, each in its own process; only throttling reveals the others."""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from imds_enforcer.limits.pacing import CHANGES, RESERVE, RequestBucket
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE_BY_SIDE = 16
"""Requests that a process has under way at once."""

_LAUNCHES = st.lists(st.tuples(st.floats(0, 120), st.integers(1, 100)), max_size=4)
_SECONDS_A_CALL = st.floats(0.01, 0.3)


class World:
    """EC2's own bucket, and what happens when."""

    def __init__(self, call_seconds: float) -> None:
        self.clock = FakeClock()
        self.ec2 = RequestBucket(CHANGES, self.clock)
        self.call_seconds = call_seconds
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Plan an action."""
        heapq.heappush(self._planned, (self.clock.elapsed + seconds, next(self._numbers), action))

    def run(self) -> None:
        """Run until nothing is planned any more."""
        while self._planned:
            moment, _, action = heapq.heappop(self._planned)
            self.clock.advance(moment - self.clock.elapsed)
            action()


class Process:
    """A process with a number of changes to make: a sweep, or a batch of events."""

    def __init__(self, world: World, changes: int, *, sweeps: bool = False, starts: float = 0) -> None:
        self._world = world
        self._bucket = RequestBucket(CHANGES, world.clock)
        self._sweeps = sweeps
        self.changes = self._left = changes
        self.refused = 0
        self._starts = starts
        self.ended = float("inf")
        world.after(starts, self._round)

    @property
    def seconds(self) -> float:
        """From its start to its last change."""
        return self.ended - self._starts

    def _round(self) -> None:
        if not self._left:
            self.ended = self._world.clock.elapsed
            return
        left = self._left if self._sweeps else 0
        if granted := self._bucket.take(self._left, left):
            self._send(granted)
        else:
            self._world.after(min(self._bucket.wait(left), 2) + 0.001, self._round)

    def _send(self, granted: int) -> None:
        together = min(granted, SIDE_BY_SIDE)

        def arrive() -> None:
            taken = self._world.ec2.take(together)
            for _ in range(taken):
                self._world.ec2.answered()
            self._world.after(self._world.call_seconds / 2, lambda: answer(taken))

        def answer(taken: int) -> None:
            for number in range(together):
                (self._bucket.answered if number < taken else self._bucket.refused)()
            self._left -= taken
            self.refused += together - taken
            if taken == together < granted:
                self._send(granted - together)
            else:
                self._bucket.give_back(granted - together)
                self._round()

        self._world.after(self._world.call_seconds / 2, arrive)


def _played(swept: int, launches: list[tuple[float, int]], call_seconds: float) -> tuple[Process, list[Process]]:
    world = World(call_seconds)
    sweep = Process(world, swept, sweeps=True)
    batches = [Process(world, size, starts=starts) for starts, size in launches]
    world.run()
    return sweep, batches


def _bound(*arrivals: tuple[float, int]) -> float:
    """Seconds until all are changed if no token is lost; an arrival is its moment and its number of changes."""
    # The tokens in the bucket; below zero, how many changes wait for one.
    level, at = CHANGES.capacity, 0.0
    for moment, changes in sorted(arrivals):
        level = min(CHANGES.capacity, level + (moment - at) * CHANGES.refill) - changes
        at = moment
    return at + max(0.0, -level) / CHANGES.refill


@given(st.integers(1, 1_000), _SECONDS_A_CALL)
def test_a_sweep_alone_uses_the_whole_bucket_and_is_never_throttled(swept: int, call_seconds: float) -> None:
    """It loses one step at most, and the time that the calls of the burst take."""
    sweep, _ = _played(swept, [], call_seconds)
    assert sweep.refused == 0
    assert sweep.seconds <= _bound((0, swept)) + 1 + 9 * call_seconds


@given(st.integers(200, 600), _LAUNCHES, _SECONDS_A_CALL)
def test_a_sweep_and_launches_share_the_bucket(
    swept: int, launches: list[tuple[float, int]], call_seconds: float
) -> None:
    """None starves, throttling stays rare, and together they take little longer than the bucket's rate requires."""
    sweep, batches = _played(swept, launches, call_seconds)
    assert max(each.ended for each in [sweep, *batches]) <= 1.03 * _bound((0, swept), *launches) + 4
    for batch in batches:
        assert batch.seconds <= 3 + 1.5 * sum(each.changes for each in batches) / CHANGES.refill
    assert sum(each.refused for each in [sweep, *batches]) <= 50 * len(batches)


@given(st.integers(200, 600), st.floats(0, 1), st.integers(1, RESERVE), _SECONDS_A_CALL)
def test_the_first_launch_within_the_reserve_waits_for_nothing(
    swept: int, moment: float, launched: int, call_seconds: float
) -> None:
    """At any moment while the sweep has more changes left than the reserve."""
    before_the_end = _bound((0, swept)) - RESERVE / CHANGES.refill - 10 * call_seconds
    _, [batch] = _played(swept, [(moment * max(0.0, before_the_end), launched)], call_seconds)
    assert batch.seconds <= 3 * call_seconds
    assert batch.refused == 0
