"""How long a run may go on changing instances."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from imds_enforcer.failures import AwsError

if TYPE_CHECKING:
    from imds_enforcer.clock import Deadline
    from imds_enforcer.policy import PolicyVersions


class Versions(Protocol):
    """Where the versions of the policy in force are to be had."""

    def in_force(self, *, fresh: bool) -> PolicyVersions:
        """The versions at this moment, or of a moment ago; raises `AwsError` if they cannot be read."""


class MayWrite(Protocol):
    """What is asked before each change."""

    def ended(self) -> str | None:
        """Why no change may be begun any more; None as long as one may."""

    def overtaken(self) -> bool:
        """True if another policy is in force at this very moment."""


class Allowance:
    """How many changes a sweep may begin, over all its regions; None is no limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._left = limit
        self._lock = threading.Lock()

    @property
    def refusal(self) -> str:
        """What is said of those that it left out."""
        return f"over the policy's limit of {self._limit} changes in one sweep"

    def take(self) -> bool:
        """True if there was one left; then it is taken."""
        with self._lock:
            if self._left is None:
                return True
            self._left -= 1
            return self._left >= 0


class Mandate:
    """A run's right to begin changes: until its deadline, and while its policy is the one in force.

    Once ended it does not begin again: the sweep that a newer policy has started goes on, or
    the next one, or the queue's next delivery.
    """

    def __init__(self, deadline: Deadline, versions: PolicyVersions, source: Versions) -> None:
        self._deadline = deadline
        self._versions = versions
        self._source = source
        self._why_ended: str | None = None

    @property
    def why_ended(self) -> str | None:
        """Why it has ended, as far as anybody has asked; None if it has not."""
        return self._why_ended

    def ended(self) -> str | None:
        """Why no change may be begun any more; None as long as one may."""
        if self._why_ended is None:
            self._why_ended = "out of time" if self._deadline.passed else self._newer_policy()
        return self._why_ended

    def overtaken(self) -> bool:
        """True if another policy is in force at this very moment, as far as that can be read."""
        try:
            return self._source.in_force(fresh=True) != self._versions
        except AwsError:
            return False

    def _newer_policy(self) -> str | None:
        try:
            versions = self._source.in_force(fresh=False)
        except AwsError as error:
            # Whether the policy still holds is unknown, and under an unknown policy nothing is written.
            return f"Parameter Store is out of reach ({error})"
        return None if versions == self._versions else f"the policy has changed, to {versions}"
