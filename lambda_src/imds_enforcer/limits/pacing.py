"""How fast changes may be sent: EC2's request bucket, as one process estimates it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imds_enforcer.model import Clock


@dataclass(frozen=True, slots=True)
class Limit:
    """A token bucket: how many tokens it holds, and how many it regains each second."""

    capacity: float
    refill: float


CHANGES = Limit(capacity=100, refill=5)
"""ModifyInstanceMetadataOptions, per account and region (EC2 Developer Guide, "Request throttling").

No other call of the enforcer comes near its limit: one request reads 200 instances or more, and DescribeInstances
allows 100 requests at once and 20 more a second.
"""

RESERVE = 20
"""Tokens that a sweep leaves in the bucket, so that a launch in the middle of it is changed at once.

Most launches are smaller, and two at a time still find some tokens. The reserve costs the sweep no time: it spends
these tokens on its last changes.
"""

STEP = 5
"""Tokens that a sweep waits for before it takes any: those that the bucket regains in a second.

If it took each token as it came back, a launch that had used up the reserve would nearly always find the bucket
empty; the sweep itself, never throttled, would not notice.
"""

_RECOVERY_SECONDS = 20.0
"""How long the pace takes from a standstill to full speed. It never falls below what it regains in one second."""

_ONE_CUT_SECONDS = 1.0
"""Requests throttled this close together belong to one burst, which halves the pace once."""

_ROUNDING = 1e-9


class RequestBucket:
    """EC2's bucket for changes in one region, estimated from what this process took out of it.

    Others draw on the same bucket: the account's other programs, and the enforcer's own batches in other processes.
    A throttled request reveals them: the bucket then counts as empty and the pace is halved, and it grows again
    every second (additive increase, multiplicative decrease).

    botocore's adaptive retry mode is no replacement. It waits inside the call, after the check of the observation's
    age, so a change could rest on an observation that has grown too old; it begins without a limit and learns one
    only from throttling; and it cannot leave a reserve for others.

    Lambda freezes a process between invocations: its monotonic clock may stand still while EC2's own bucket fills.
    So the wall clock counts instead if more time has passed by it.
    """

    def __init__(self, limit: Limit, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = limit.capacity
        self._under_way = 0.0
        self._refill = limit.refill
        self._counted_at = clock.monotonic(), clock.now()
        self._elapsed = 0.0
        self._cut_at = float("-inf")

    def take(self, wanted: int, left: int = 0) -> int:
        """How many of the wanted requests may be sent now; for each, call `answered`, `refused` or `give_back`.

        A sweep passes how many changes it has `left`, these included. While the bucket cannot serve them all, the
        reserve stays for launches, and the sweep waits until a whole `STEP` is available beyond it.
        """
        with self._lock:
            self._count()
            available = self._tokens - self._under_way
            if self._needed(left) > available + _ROUNDING:
                return 0
            granted = min(wanted, int(available - self._reserve(left) + _ROUNDING))
            self._under_way += granted
            return granted

    def give_back(self, granted: int) -> None:
        """Return requests that were granted but not sent."""
        with self._lock:
            self._under_way -= granted

    def answered(self) -> None:
        """Count a request that cost a token.

        It counts here and not when it was granted: EC2's bucket starts to refill when the first request arrives, and
        a busy machine may take long to send it.
        """
        with self._lock:
            self._count()
            self._under_way -= 1
            self._tokens -= 1

    def refused(self) -> None:
        """Count a request that EC2 throttled."""
        with self._lock:
            self._count()
            self._under_way -= 1
            self._tokens = min(self._tokens, 0.0)
            if self._elapsed - self._cut_at >= _ONE_CUT_SECONDS:
                self._cut_at = self._elapsed
                self._refill = max(self._refill / 2, self._limit.refill / _RECOVERY_SECONDS)

    def wait(self, left: int = 0) -> float:
        """Seconds until a request may be sent, at the current pace."""
        with self._lock:
            self._count()
            return max(0.0, self._needed(left) - (self._tokens - self._under_way)) / self._refill

    def _reserve(self, left: int) -> int:
        """Tokens that stay in the bucket."""
        return RESERVE if left > max(RESERVE, self._tokens - self._under_way) else 0

    def _needed(self, left: int) -> int:
        """Tokens that must be available before any are granted."""
        reserve = self._reserve(left)
        return min(left, reserve + STEP) if reserve else 1

    def _count(self) -> None:
        """Add the tokens that the bucket has regained since the last count."""
        before_monotonic, before_wall = self._counted_at
        monotonic, wall = self._counted_at = self._clock.monotonic(), self._clock.now()
        # If the wall clock was turned back, the monotonic one counts.
        passed = max(monotonic - before_monotonic, (wall - before_wall).total_seconds())
        self._elapsed += passed
        before = self._refill
        self._refill = min(self._limit.refill, before + passed * self._limit.refill / _RECOVERY_SECONDS)
        self._tokens = min(self._limit.capacity, self._tokens + passed * (before + self._refill) / 2)
