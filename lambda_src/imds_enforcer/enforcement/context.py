"""The parts that the enforcement of one region works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.model import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from imds_enforcer.aws.ec2 import Ec2Region
    from imds_enforcer.enforcement.hold_check import HoldCheck
    from imds_enforcer.enforcement.ledger_writer import LedgerWriter
    from imds_enforcer.enforcement.refusals import Refusals
    from imds_enforcer.limits.cancellation import RegionCancellation
    from imds_enforcer.limits.region_limits import RegionLimits
    from imds_enforcer.model import Clock, Failure, Instance, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionContext:
    """The parts of one region's loop; only a run assembles them.

    `hold_check` is None for a revert, which sets holds and ignores existing ones. `verify_timeout` is how many seconds
    an accepted change has to take effect. `finalize` turns a result into the outcome that a sweep or batch reports; it
    is applied before the outcome is written to the ledger.
    """

    ec2: Ec2Region
    clock: Clock
    limits: RegionLimits
    cancellation: RegionCancellation
    hold_check: HoldCheck | None
    ledger: LedgerWriter
    refusals: Refusals
    verify_timeout: float
    finalize: Callable[[Result], Result]

    def read(self, instance_ids: Iterable[str]) -> dict[str, Instance]:
        """Read instances; once AWS has refused the credentials, EC2 is not asked again.

        Raises:
            AwsError: if EC2 could not be asked.
        """
        if refused := self.cancellation.refused:
            raise AwsError(refused)
        try:
            return self.ec2.read(instance_ids)
        except AwsError as error:
            self.cancellation.heed(error.failure)
            raise

    def looked_enough(self, accepted_at: float, unseen: Failure | None) -> bool:
        """True once no further look at a change is worthwhile; `unseen` is why the last look failed."""
        refused = unseen is not None and unseen.of_credentials
        return refused or self.clock.monotonic() - accepted_at >= self.verify_timeout

    @property
    def ledger_failure(self) -> Failure | None:
        """Why the ledger's table could not be read or written; None if no call of it has failed."""
        return self.ledger.failure or (self.hold_check.failure if self.hold_check else None) or self.refusals.failure
