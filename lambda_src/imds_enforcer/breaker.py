"""Stop what does harm: a region where too many changes go wrong is left alone until the next sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.failures import AwsError, Failure, Kind
from imds_enforcer.model import Outcome
from imds_enforcer.verification import READ_BACK_DIFFERS

if TYPE_CHECKING:
    from imds_enforcer.mandate import Mandate
    from imds_enforcer.model import Result

_LEAST_CHANGES = 10
_SHARE = 0.2

_ENDS_OF_A_CHANGE = frozenset({Outcome.REMEDIATED, Outcome.PENDING, Outcome.FAILED})


class CircuitBreaker:
    """A sweep's mandate in one region, which ends early when more than a fifth of its changes go wrong.

    Wrong is a fault of EC2, or a change that EC2 took and does not show. A refusal says something
    about its instance alone, and throttling about the pace; neither counts.
    """

    def __init__(self, mandate: Mandate) -> None:
        self._mandate = mandate
        self._changes = 0
        self._wrong = 0

    @property
    def failure(self) -> AwsError | None:
        """What the region's report says of it; None as long as the changes go well."""
        if not self._tripped:
            return None
        what = f"{self._wrong} of {self._changes} changes ended in a fault of EC2 or differed when they were read back"
        return AwsError(Failure("CircuitBreaker", what, Kind.FINAL))

    def note(self, result: Result) -> None:
        """Count what became of an instance."""
        if result.outcome not in _ENDS_OF_A_CHANGE or (result.failure and not _may_count(result.failure)):
            return
        self._changes += 1
        self._wrong += result.outcome is Outcome.FAILED

    def ended(self) -> str | None:
        """Why no change may be begun any more in this region; None as long as one may."""
        return f"the region is left alone: {self.failure}" if self._tripped else self._mandate.ended()

    def overtaken(self) -> bool:
        """True if another policy is in force at this very moment."""
        return self._mandate.overtaken()

    @property
    def _tripped(self) -> bool:
        return self._changes >= _LEAST_CHANGES and self._wrong > _SHARE * self._changes


def _may_count(failure: Failure) -> bool:
    return failure.kind is Kind.UNAVAILABLE or failure.code == READ_BACK_DIFFERS
