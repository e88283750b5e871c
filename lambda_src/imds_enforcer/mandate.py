"""How long a run may go on changing instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from imds_enforcer.failures import AwsError

if TYPE_CHECKING:
    from imds_enforcer.clock import Deadline
    from imds_enforcer.policy import PolicyVersions


class Versions(Protocol):
    """Where the versions of the policy in force are to be had."""

    def in_force(self, *, fresh: bool) -> PolicyVersions:
        """The versions at this moment, or of a moment ago; raises `AwsError` if they cannot be read."""


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
        if self._why_ended is None and (why := "out of time" if self._deadline.passed else self._newer_policy()):
            self._why_ended = why
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
