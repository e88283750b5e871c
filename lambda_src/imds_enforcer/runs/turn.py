"""A sweep's turn: the sweep holds the lease while it runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from imds_enforcer.ledger.lease import Turn
from imds_enforcer.model import AwsError
from imds_enforcer.model.wording import CREDENTIALS_REFUSED
from imds_enforcer.policy import Mode
from imds_enforcer.reporting import telemetry
from imds_enforcer.runs.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from imds_enforcer.aws.ledger_table import Leases
    from imds_enforcer.ledger.lease import Lease
    from imds_enforcer.ledger.recovery import AnyEntry
    from imds_enforcer.limits.region_limits import RegionLimits
    from imds_enforcer.reporting.report import RunReport
    from imds_enforcer.runs.events import SweepRequest
    from imds_enforcer.runs.run import PolicyRun


@contextmanager
def turn(leases: Leases, lease: Lease, run: PolicyRun) -> Iterator[Turn]:
    """Take the lease, unless another run holds it, and release it at the end.

    If the lease cannot be taken, the sweep begins without it: an unreachable table must not stop all sweeps. If AWS
    no longer accepts the credentials, the lease is left to expire. In audit mode no lease is taken, since nothing is
    written: sweeps that change nothing may overlap.
    """
    mine, taken = Turn(), False
    if run.policy.mode is Mode.AUDIT:
        yield mine
        return
    cancellation = run.cancellation
    try:
        mine = leases.take(lease)
        taken = mine.holder is None
    except AwsError as error:
        cancellation.heed(error.failure)
        telemetry.call_failed("the lease could not be taken: this sweep begins without it", error)
    try:
        yield mine
    finally:
        if taken and cancellation.refused is None:
            _release(leases, lease)


def sweep_in_turn(
    run: PolicyRun, request: SweepRequest, limits: Mapping[str, RegionLimits], intents: Sequence[AnyEntry], mine: Turn
) -> RunReport:
    """Sweep and report it; while another run holds the lease, only look and count."""
    if mine.holder:
        run.cancellation.cancel(f"the run {mine.holder} is sweeping, so this one changes nothing")
    report = sweep(run, request, limits, () if mine.holder else intents)
    telemetry.run_finished(report)
    if report.credentials_refused:
        telemetry.call_failed(CREDENTIALS_REFUSED, AwsError(report.credentials_refused))
    elif not mine.holder:
        telemetry.sweep_completed()
    return report


def _release(leases: Leases, lease: Lease) -> None:
    try:
        leases.release(lease)
    except AwsError as error:
        telemetry.call_failed(
            "the lease could not be released: no other sweep begins under this policy until "
            f"{lease.expires_at:%H:%M:%S} UTC",
            error,
        )
