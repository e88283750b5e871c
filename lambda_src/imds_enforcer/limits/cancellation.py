"""Why a run, or its part in one region, begins no further change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from imds_enforcer.model import AwsError

if TYPE_CHECKING:
    from imds_enforcer.limits.region_limits import RegionLimits
    from imds_enforcer.model import Deadline
    from imds_enforcer.policy import PolicyVersions


class Versions(Protocol):
    """Knows the versions of the policy in force."""

    def in_force(self, *, fresh: bool) -> PolicyVersions:
        """The versions now, or a moment ago unless `fresh`; raises `AwsError` if they cannot be read."""


class Cancellation:
    """Ends a run at its deadline, as soon as another policy is in force, or when it is interrupted.

    Every change asks for the `reason` first, from any thread. A reason once given stays: the sweep that
    a newer policy has started takes over, or the next sweep, or the queue's next delivery. `source` is
    None for a run that follows no stored policy.
    """

    def __init__(self, deadline: Deadline, versions: PolicyVersions, source: Versions | None) -> None:
        self._deadline = deadline
        self._versions = versions
        self._source = source
        self._cancelled: str | None = None

    @property
    def cancelled(self) -> str | None:
        """The reason that was given, without asking again; None if there was none yet."""
        return self._cancelled

    def reason(self) -> str | None:
        """Why no further change may begin; None while one may."""
        if self._cancelled is None and (why := "out of time" if self._deadline.passed else self._newer_policy()):
            self.cancel(why)
        return self._cancelled

    def cancel(self, why: str) -> None:
        """End the run now; what was sent is still read back. The first reason stays."""
        self._cancelled = self._cancelled or why

    def overtaken(self) -> bool:
        """True if another policy is in force at this moment, as far as that can be read."""
        try:
            return self._source is not None and self._source.in_force(fresh=True) != self._versions
        except AwsError:
            return False

    def _newer_policy(self) -> str | None:
        if self._source is None:
            return None
        try:
            versions = self._source.in_force(fresh=False)
        except AwsError as error:
            # Whether the policy still holds is unknown, and under an unknown policy nothing is written.
            return f"Parameter Store is out of reach ({error})"
        return None if versions == self._versions else f"the policy has changed, to {versions}"


class RegionCancellation:
    """The same question for one region: it ends with its run, and may stop alone.

    It stops alone when the ledger is out of reach, or when its circuit breaker has tripped.
    """

    def __init__(self, run: Cancellation, limits: RegionLimits) -> None:
        self._run = run
        self._limits = limits
        self._stopped: str | None = None

    @property
    def stopped(self) -> str | None:
        """Why this region alone was stopped; None if it was not."""
        return self._stopped or self._limits.tripped

    def reason(self) -> str | None:
        """Why no further change may begin in this region; None while one may."""
        return self._run.reason() or self.stopped

    def stop(self, why: str) -> None:
        """Begin no further change in this region. The first reason stays."""
        self._stopped = self._stopped or why

    def overtaken(self) -> bool:
        """True if another policy is in force at this moment, as far as that can be read."""
        return self._run.overtaken()
