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
        """The current versions, or those of a moment ago unless `fresh`; raises `AwsError` if they cannot be read."""


class Cancellation:
    """Ends a run: at its deadline, on a policy change or an interruption, or when AWS does not accept its credentials.

    Before each change, its thread asks for the `reason`. The first reason stays. The rest of the work is left to the
    sweep that a newer policy has started, to the next sweep, or to the queue's next delivery. `source` is None for a
    run that follows no stored policy. `refused` is why AWS does not accept the run's credentials: from then on the run
    sends nothing at all, not even reads.
    """

    def __init__(self, deadline: Deadline, versions: PolicyVersions, source: Versions | None) -> None:
        self._deadline = deadline
        self._versions = versions
        self._source = source
        self._cancelled: str | None = None
        self.refused: Failure | None = None

    @property
    def cancelled(self) -> str | None:
        """The reason given so far, without asking again; None while the run goes on."""
        return self._cancelled

    def reason(self) -> str | None:
        """Why no further change may begin; None while changes may begin."""
        if self._cancelled is None and (why := "out of time" if self._deadline.passed else self._newer_policy()):
            self.cancel(why)
        return self._cancelled

    def cancel(self, why: str) -> None:
        """End the run now; what was sent is still read back. The first reason stays."""
        self._cancelled = self._cancelled or why

    def heed(self, failure: Failure) -> None:
        """End the run if a call failed because of its credentials: every other call would fail too."""
        if failure.kind is Kind.CREDENTIALS:
            self.refused = self.refused or failure
            self.cancel(f"AWS does not accept the credentials ({failure})")

    def overtaken(self) -> bool:
        """True if a fresh read shows another policy in force; False if the read fails."""
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
            # The policy may have changed, and under an unknown policy nothing is written.
            return f"Parameter Store is out of reach ({error})"
        return None if versions == self._versions else f"the policy has changed during the run, to {versions}"


class RegionCancellation:
    """Ends one region's part of a run: together with the run, or alone.

    A region stops alone when the ledger is out of reach, when its circuit breaker has tripped, or when EC2 does not
    accept the credentials there. `refused` is why AWS does not accept them, in this region or in any.
    """

    def __init__(self, run: Cancellation, limits: RegionLimits) -> None:
        self._run = run
        self._limits = limits
        self._stopped: str | None = None
        self._refused: Failure | None = None

    @property
    def refused(self) -> Failure | None:
        """Why AWS does not accept the credentials here; None unless a call has failed because of them."""
        return self._run.refused or self._refused

    @property
    def cancelled(self) -> str | None:
        """The reason given so far, for the run or for this region, without asking again."""
        return self._run.cancelled or self.stopped

    @property
    def stopped(self) -> str | None:
        """Why this region alone was stopped; None if it was not."""
        return self._stopped or self._limits.tripped

    def reason(self) -> str | None:
        """Why no further change may begin in this region; None while changes may begin."""
        return self._run.reason() or self.stopped

    def stop(self, why: str, failure: Failure | None = None) -> None:
        """Begin no further change in this region, or in any region if the failure is due to the credentials.

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
        """True if a fresh read shows another policy in force; False if the read fails."""
        return self._run.overtaken()
