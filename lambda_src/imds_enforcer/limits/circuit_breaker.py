"""One region's circuit breaker: no further change once too many have failed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from imds_enforcer.model import Kind, Outcome
from imds_enforcer.model.failures import READ_BACK_DIFFERS

if TYPE_CHECKING:
    from imds_enforcer.model import Failure, Result

_FAILED_SHARE = 0.2
_MIN_CHANGES = 10


class CircuitBreaker:
    """Stops the changes of one region for the rest of the sweep once too many of them have failed.

    A fault of the service or a differing read-back counts as a failure. Throttling does not count, nor does EC2's
    refusal to change a single instance. A fault may pass. So while the last attempts at too many instances ended in a
    fault, the breaker is `in_doubt`, and no other change may begin until these instances have been retried.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes = 0
        self._failed = 0
        self._attempted: set[str] = set()
        self._faulty: set[str] = set()
        self._last: Failure | None = None
        self.tripped: str | None = None

    @property
    def in_doubt(self) -> bool:
        """True while the last attempt at too many of the instances ended in a fault of the service."""
        with self._lock:
            return _too_many(len(self._faulty), len(self._attempted))

    def attempted(self, instance_id: str, *, faulty: bool) -> None:
        """Count the answer to one attempt."""
        with self._lock:
            self._attempted.add(instance_id)
            (self._faulty.add if faulty else self._faulty.discard)(instance_id)

    def forget(self, instance_id: str) -> None:
        """Forget an instance whose change is not retried: other changes no longer have to wait for it."""
        with self._lock:
            self._faulty.discard(instance_id)

    def count(self, result: Result) -> None:
        """Count a change that was sent, by its outcome."""
        self._changes += 1
        failure = result.failure
        fault = failure and (failure.kind is Kind.UNAVAILABLE or failure.code == READ_BACK_DIFFERS)
        if result.outcome is Outcome.FAILED and fault:
            self._failed, self._last = self._failed + 1, failure
        if self.tripped is None and _too_many(self._failed, self._changes):
            self.tripped = (
                f"{self._failed} of {self._changes} changes in this region failed, the last with {self._last}"
            )


def _too_many(failed: int, changes: int) -> bool:
    return changes >= _MIN_CHANGES and failed > _FAILED_SHARE * changes
