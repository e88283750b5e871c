"""How many instances one sweep may change, over all regions."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


class SweepLimit:
    """How many instances one sweep may change, divided fairly among its regions.

    Each region may use its fair share at once, and more as soon as others have declared that they need less than
    theirs. An instance counts once, however often its change is sent.
    """

    def __init__(self, limit: int | None, regions: Collection[str]) -> None:
        self.limit = limit
        self._needs: dict[str, float] = dict.fromkeys(regions, float("inf"))
        self._admitted: dict[str, set[str]] = defaultdict(set)
        self._changed = threading.Condition()

    def declare(self, region: str, need: int) -> None:
        """Declare how many instances of a region need a change, besides those already admitted."""
        with self._changed:
            self._needs[region] = len(self._admitted[region]) + need
            self._changed.notify_all()

    def admit(self, region: str, instance_ids: Iterable[str]) -> set[str]:
        """The instances, among these, that may be changed."""
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
        """Give back an instance that was admitted and then not changed."""
        with self._changed:
            self._admitted[region].discard(instance_id)

    def used_up(self, region: str, patience: float) -> bool:
        """True if the region may change no more; waits up to `patience` seconds for others to declare their needs."""
        if self.limit is None:
            return False
        with self._changed:
            decided = self._changed.wait_for(lambda: self._room(region) > 0 or self._final(), patience)
            return decided and self._room(region) <= 0

    def _final(self) -> bool:
        """True if no declaration still to come can raise a region's share."""
        return self._left() <= 0 or float("inf") not in self._needs.values()

    def _left(self) -> int:
        assert self.limit is not None
        return self.limit - sum(map(len, self._admitted.values()))

    def _room(self, region: str) -> int:
        assert self.limit is not None
        share = fair_shares(self.limit, self._needs)[region]
        # Shares may shift by one as needs become known, so the total that is left counts too.
        return min(share - len(self._admitted[region]), self._left())


def fair_shares(limit: int, needs: Mapping[str, float]) -> dict[str, int]:
    """The limit, divided: no region gets more than it needs, and only regions that need less get less than others.

    Max-min fairness: the smallest need is met first; what it leaves is divided among the others.
    """
    shares: dict[str, int] = {}
    left, waiting = limit, sorted(needs, key=lambda name: (needs[name], name))
    while waiting:
        name = waiting.pop(0)
        # The remainder goes to the regions that come first.
        fair = -(-left // (len(waiting) + 1))
        shares[name] = int(min(needs[name], fair))
        left -= shares[name]
    return shares
