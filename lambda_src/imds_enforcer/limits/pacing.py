"""How fast changes may be asked for: EC2's request bucket, as one process can know it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imds_enforcer.model import Clock


@dataclass(frozen=True, slots=True)
class Limit:
    """A token bucket: how many requests it holds, and how many come back each second."""

    capacity: float
    refill: float


CHANGES = Limit(capacity=100, refill=5)
"""ModifyInstanceMetadataOptions, per account and region (EC2 Developer Guide, "Request throttling").

Nothing else that the enforcer calls comes near its limit: it reads 200 instances or more with
one request, and DescribeInstances has 100 requests and 20 more a second.
"""

RESERVE = 20
"""Tokens that a sweep leaves in the bucket, so that a launch in the middle of it is changed at once.

Most launches are smaller, and two at a time still find some. In the bucket they cost the sweep nothing: it spends
them on its last changes.
"""

STEP = 5
"""Tokens that a sweep waits for before it takes any: what comes back in a second.

If it took each token as it comes, a launch that has used up the reserve would find the bucket empty at nearly every
moment, and the sweep would never be refused and so never learn of it.
"""

_RECOVERY_SECONDS = 20.0
"""From standstill back to full speed. Also: the pace never falls below what one second of this brings."""

_ONE_CUT_SECONDS = 1.0
"""Refusals this close together answer one and the same burst."""

_ROUNDING = 1e-9


class RequestBucket:
    """EC2's bucket for changes in one region, estimated from what this process took out of it.

    Others draw on the same bucket: the account's other programs, and the enforcer's own
    batches in other processes. A refused request is how that is noticed; then the bucket counts
    as empty and the pace is halved, and it grows again by the second (additive increase,
    multiplicative decrease).

    botocore's adaptive retry mode is no replacement. It waits inside the call, after the age of
    the observation was looked at, so that a change could leave on one that has grown too old; it
    begins without a limit and learns it from refusals; and it cannot leave a reserve to others.

    Lambda freezes a process between invocations, and its monotonic clock may then stand still, while EC2's own bucket
    fills: so the wall clock counts too, where it went further.
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
        """How many of the wanted requests may be made now. Each is followed by `answered`, `refused` or `give_back`.

        A sweep says how many changes it has `left`, these included: as long as the bucket cannot serve them all, it
        leaves the reserve to launches, and it takes no less than a step at a time.
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
        """Count requests that were granted, and not made after all."""
        with self._lock:
            self._under_way -= granted

    def answered(self) -> None:
        """Count a request that EC2 took a token for.

        It is counted here and not when it was granted: EC2's bucket starts to refill with the
        first request that arrives, and how long that takes on a busy machine is not known.
        """
        with self._lock:
            self._count()
            self._under_way -= 1
            self._tokens -= 1

    def refused(self) -> None:
        """Take notice of a request that EC2 throttled."""
        with self._lock:
            self._count()
            self._under_way -= 1
            self._tokens = min(self._tokens, 0.0)
            if self._elapsed - self._cut_at >= _ONE_CUT_SECONDS:
                self._cut_at = self._elapsed
                self._refill = max(self._refill / 2, self._limit.refill / _RECOVERY_SECONDS)

    def wait(self, left: int = 0) -> float:
        """Seconds until a request may be made, at the pace of this moment."""
        with self._lock:
            self._count()
            return max(0.0, self._needed(left) - (self._tokens - self._under_way)) / self._refill

    def _reserve(self, left: int) -> int:
        """Tokens that stay where they are."""
        return RESERVE if left > max(RESERVE, self._tokens - self._under_way) else 0

    def _needed(self, left: int) -> int:
        """Tokens from which on some are given."""
        reserve = self._reserve(left)
        return reserve + STEP if reserve else 1

    def _count(self) -> None:
        """Add what came back since the last look."""
        before_monotonic, before_wall = self._counted_at
        monotonic, wall = self._counted_at = self._clock.monotonic(), self._clock.now()
        # A wall clock that was set back is behind the other.
        passed = max(monotonic - before_monotonic, (wall - before_wall).total_seconds())
        self._elapsed += passed
        before = self._refill
        self._refill = min(self._limit.refill, before + passed * self._limit.refill / _RECOVERY_SECONDS)
        self._tokens = min(self._limit.capacity, self._tokens + passed * (before + self._refill) / 2)
