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

_LONG_SWEEP = 200
"""Changes in one region from which on a sweep leaves something to others: fewer are done in 20 seconds."""

_SHARE_OF_A_LONG_SWEEP = 0.95

_RECOVERY_SECONDS = 20.0
"""From standstill back to full speed. Also: the pace never falls below what one second of this brings."""

_ONE_CUT_SECONDS = 1.0
"""Refusals this close together answer one and the same burst."""

_ROUNDING = 1e-9


def sweep_share(changes: int) -> float:
    """What a sweep that has so much to change takes of the limit: not all, if that takes long.

    So a launch in the middle of it finds tokens left, and gets them at its own pace.
    """
    return _SHARE_OF_A_LONG_SWEEP if changes > _LONG_SWEEP else 1.0


class RequestBucket:
    """EC2's bucket for changes in one region, estimated from what this process took out of it.

    Others draw on the same bucket: the account's other programs, and the enforcer's own
    batches in other processes. A refused request is how that is noticed; then the bucket counts
    as empty and the pace is halved, and it grows again by the second (additive increase,
    multiplicative decrease).

    botocore's adaptive retry mode is no replacement. It waits inside the call, after the age of
    the observation was looked at, so that a change could leave on one that has grown too old; it
    begins without a limit and learns it from refusals; and it cannot leave a share to others.

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

    def take(self, wanted: int, share: float = 1.0) -> int:
        """How many of the wanted requests may be made now. Each is followed by `answered`, `refused` or `give_back`.

        With a `share` below one the bucket is used as if it were so much smaller and slower.
        """
        with self._lock:
            self._count()
            granted = max(0, min(wanted, int((self._tokens - self._under_way) * share + _ROUNDING)))
            self._under_way += granted / share
            return granted

    def give_back(self, granted: int, share: float = 1.0) -> None:
        """Count requests that were granted, and not made after all."""
        with self._lock:
            self._under_way -= granted / share

    def answered(self, share: float = 1.0) -> None:
        """Count a request that EC2 took a token for.

        It is counted here and not when it was granted: EC2's bucket starts to refill with the
        first request that arrives, and how long that takes on a busy machine nobody knows.
        """
        with self._lock:
            self._count()
            self._under_way -= 1 / share
            self._tokens -= 1 / share

    def refused(self, share: float = 1.0) -> None:
        """Take notice of a request that EC2 throttled."""
        with self._lock:
            self._count()
            self._under_way -= 1 / share
            self._tokens = min(self._tokens, 0.0)
            if self._elapsed - self._cut_at >= _ONE_CUT_SECONDS:
                self._cut_at = self._elapsed
                self._refill = max(self._refill / 2, self._limit.refill / _RECOVERY_SECONDS)

    def wait(self, share: float = 1.0) -> float:
        """Seconds until one request may be made."""
        with self._lock:
            self._count()
            return max(0.0, 1 / share - (self._tokens - self._under_way)) / self._refill

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
