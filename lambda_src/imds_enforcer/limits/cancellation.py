"""Why a run, or its part in one region, begins no further change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, assert_never

from imds_enforcer.model import AwsError, Kind

if TYPE_CHECKING:
    from imds_enforcer.limits.region_limits import RegionLimits
    from imds_enforcer.model import Deadline, Failure
    from imds_enforcer.policy import PolicyVersions


class Versions(Protocol):
    """Knows the versions of the policy in force."""

    def in_force(self, *, fresh: bool) -> PolicyVersions:
        """The versions now, or a moment ago unless `fresh`; raises `AwsError` if they cannot be read."""


class Cancellation:
    """Ends a run: at its deadline, under another policy, when interrupted, or where its credentials are not accepted.

    Every change asks for the `reason` first, from any thread. A reason once given stays: the sweep that
    a newer policy has started takes over, or the next sweep, or the queue's next delivery. `source` is
    None for a run that follows no stored policy. `refused` is why AWS does not accept the run's credentials: then
    nothing at all is sent any more, reads included.
    """

    def __init__(self, deadline: Deadline, versions: PolicyVersions, source: Versions | None) -> None:
        self._deadline = deadline
        self._versions = versions
        self._source = source
        self._cancelled: str | None = None
        self.refused: Failure | None = None

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

    def heed(self, failure: Failure) -> None:
        """End the run if a call failed because of its credentials: no other would fare better."""
        if failure.kind is Kind.CREDENTIALS:
            self.refused = self.refused or failure
            self.cancel(f"AWS does not accept the credentials ({failure})")

    def overtaken(self) -> bool:
        """True if another policy is in force at this moment, as far as that can be read."""
        if self.refused:
            return False
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
            self.heed(error.failure)
            # Whether the policy still holds is unknown, and under an unknown policy nothing is written.
            return f"Parameter Store is out of reach ({error})"
        return None if versions == self._versions else f"the policy has changed, to {versions}"


class RegionCancellation:
    """The same question for one region: it ends with its run, and may stop alone.

    It stops alone when the ledger is out of reach, when its circuit breaker has tripped, or when EC2 does not accept
    the credentials in it. `refused` is why they are not accepted, in this region or in any.
    """

    def __init__(self, run: Cancellation, limits: RegionLimits) -> None:
        self._run = run
        self._limits = limits
        self._stopped: str | None = None
        self._refused: Failure | None = None

    @property
    def refused(self) -> Failure | None:
        """Why AWS does not accept the credentials here; None if it does, as far as is known."""
        return self._run.refused or self._refused

    @property
    def cancelled(self) -> str | None:
        """The reason that was given, for the run or for this region, without asking again."""
        return self._run.cancelled or self.stopped

    @property
    def stopped(self) -> str | None:
        """Why this region alone was stopped; None if it was not."""
        return self._stopped or self._limits.tripped

    def reason(self) -> str | None:
        """Why no further change may begin in this region; None while one may."""
        return self._run.reason() or self.stopped

    def stop(self, why: str, failure: Failure | None = None) -> None:
        """Begin no further change in this region, or in any if the failure is one of the credentials.

        The first reason stays.
        """
        if failure:
            self._run.heed(failure)
        if self._run.refused is None:
            self._stopped = self._stopped or why

    def heed(self, failure: Failure) -> None:
        """End the run, or its part in this region, if a call to EC2 failed because of the credentials."""
        match failure.kind:
            case Kind.CREDENTIALS:
                self._run.heed(failure)
            case Kind.REGION:
                self._refused = self._refused or failure
                self.stop(f"EC2 does not accept the credentials in this region ({failure})")
            case Kind.THROTTLED | Kind.UNAVAILABLE | Kind.UNKNOWN_INSTANCE | Kind.WRONG_STATE | Kind.FINAL:
                pass
            case _:
                assert_never(failure.kind)

    def overtaken(self) -> bool:
        """True if another policy is in force at this moment, as far as that can be read."""
        return self._run.overtaken()
