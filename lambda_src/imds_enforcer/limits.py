"""How far one sweep may go: so many changes in all, and no further where too many of them fail."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from imds_enforcer.failures import READ_BACK_DIFFERS, Kind
from imds_enforcer.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from imds_enforcer.failures import Failure
    from imds_enforcer.model import Result

_BREAKER_FAILED_SHARE = 0.2
_BREAKER_MIN_CHANGES = 10


class Allowance:
    """The instances that one sweep may change, shared out fairly among its regions.

    Each region may have its fair share at once, and more as soon as it is known that others
    need less than theirs. An instance counts once, however often its change is sent.
    """

    def __init__(self, limit: int | None, regions: Collection[str]) -> None:
        self.limit = limit
        self._needs: dict[str, float] = dict.fromkeys(regions, float("inf"))
        self._admitted: dict[str, set[str]] = defaultdict(set)
        self._changed = threading.Condition()

    def declare(self, region: str, need: int) -> None:
        """Say how many instances of a region have to be changed; what was admitted before counts anew on top."""
        with self._changed:
            self._needs[region] = len(self._admitted[region]) + need
            self._changed.notify_all()

    def admit(self, region: str, instance_ids: Iterable[str]) -> set[str]:
        """Those among the instances that may be changed."""
        with self._changed:
            mine = self._admitted[region]
            if self.limit is None:
                return set(instance_ids)
            admitted: set[str] = set()
            for instance_id in instance_ids:
                if instance_id not in mine and self._room(region) > 0:
                    mine.add(instance_id)
                if instance_id in mine:
                    admitted.add(instance_id)
            return admitted

    def withdraw(self, region: str, instance_id: str) -> None:
        """Give back what was admitted and then not changed."""
        with self._changed:
            self._admitted[region].discard(instance_id)

    def used_up(self, region: str, patience: float) -> bool:
        """True if the region may have no more; waits so many seconds for others to say what they need."""
        if self.limit is None:
            return False
        with self._changed:
            decided = self._changed.wait_for(lambda: self._room(region) > 0 or self._final(), patience)
            return decided and self._room(region) <= 0

    def _final(self) -> bool:
        """True if nobody can get more than he has by what others say yet."""
        return self._left() <= 0 or float("inf") not in self._needs.values()

    def _left(self) -> int:
        assert self.limit is not None
        return self.limit - sum(map(len, self._admitted.values()))

    def _room(self, region: str) -> int:
        assert self.limit is not None
        share = fair_shares(self.limit, self._needs)[region]
        # Shares move by one as needs become known: what is left in all counts too.
        return min(share - len(self._admitted[region]), self._left())


def fair_shares(limit: int, needs: Mapping[str, float]) -> dict[str, int]:
    """The limit shared out so that nobody gets more than he needs, and nobody less than another without need.

    Max-min fairness: the smallest need is met first, and what it leaves is for the others.
    """
    shares: dict[str, int] = {}
    left, waiting = limit, sorted(needs, key=lambda name: (needs[name], name))
    while waiting:
        name = waiting.pop(0)
        # What does not divide goes to those that come first.
        fair = -(-left // (len(waiting) + 1))
        shares[name] = int(min(needs[name], fair))
        left -= shares[name]
    return shares


class Breaker:
    """Stops the changes of one region in one sweep once too many of them failed; it stays so.

    What counts as failed is a fault of the service, or a read-back that differs. That EC2 refuses a
    single instance does not, nor does throttling. A fault may pass: while the same share of the attempts
    ended in one, the breaker is `in_doubt`, and no other change is to be begun before it is known how
    those go on.
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
        """True while too many of the instances had a fault of the service for an answer, the last time."""
        with self._lock:
            return _too_many(len(self._faulty), len(self._attempted))

    def attempted(self, instance_id: str, *, faulty: bool) -> None:
        """Count the answer to one attempt."""
        with self._lock:
            self._attempted.add(instance_id)
            (self._faulty.add if faulty else self._faulty.discard)(instance_id)

    def dropped(self, instance_id: str) -> None:
        """Forget an instance whose change is not tried again: how it ended is counted, and keeps no other waiting."""
        with self._lock:
            self._faulty.discard(instance_id)

    def count(self, result: Result) -> None:
        """Count a change that was sent and has ended."""
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
    return changes >= _BREAKER_MIN_CHANGES and failed > _BREAKER_FAILED_SHARE * changes


class SweepLimits:
    """What the visits to all regions share, and a second look with the first."""

    def __init__(self, limit: int | None, regions: Collection[str]) -> None:
        self.regions = tuple(regions)
        self.allowance = Allowance(limit, regions)
        self.breakers = {region: Breaker() for region in regions}
