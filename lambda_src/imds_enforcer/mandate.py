"""How long a run may go on changing instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from imds_enforcer.failures import AwsError
from imds_enforcer.policy import PolicyVersions

if TYPE_CHECKING:
    from imds_enforcer.clock import Deadline
    from imds_enforcer.plan import Planned


class Versions(Protocol):
    """Where the versions of the policy in force are to be had."""

    def in_force(self, *, fresh: bool) -> PolicyVersions:
        """The versions at this moment, or of a moment ago; raises `AwsError` if they cannot be read."""


class NoPolicy:
    """In place of the policy's store, for what goes by no policy, or by one that nobody changes meanwhile."""

    def in_force(self, *, fresh: bool) -> PolicyVersions:  # noqa: ARG002  # as the policy's own store is asked
        """Always the same."""
        return PolicyVersions()


class Mandate:
    """A run's right to begin changes: until its deadline, and while its policy is the one in force.

    Once ended it does not begin again: the sweep that a newer policy has started goes on, or
    the next one, or the queue's next delivery. `sent` are the plans, by instance, of which a change was
    sent and not turned away: of each that has no outcome nobody knows whether it was made.
    """

    def __init__(self, deadline: Deadline, versions: PolicyVersions, source: Versions) -> None:
        self._deadline = deadline
        self._versions = versions
        self._source = source
        self._why_ended: str | None = None
        self._read_back_until: Deadline | None = None
        self.sent: dict[str, Planned] = {}

    @property
    def why_ended(self) -> str | None:
        """Why it has ended, as far as anybody has asked; None if it has not."""
        return self._why_ended

    def ended(self) -> str | None:
        """Why no change may be begun any more; None as long as one may."""
        if self._why_ended is None and (why := "out of time" if self._deadline.passed else self._newer_policy()):
            # Meanwhile it may have been ended.
            self._why_ended = self._why_ended or why
        return self._why_ended

    def end(self, why: str, read_back_until: Deadline) -> None:
        """End it now; what was sent is read back, but no longer than until that moment. From any thread."""
        self._read_back_until = read_back_until
        self._why_ended = self._why_ended or why

    @property
    def no_more_read_back(self) -> bool:
        """True once nobody waits any longer for changes to show."""
        return self._read_back_until is not None and self._read_back_until.passed

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
