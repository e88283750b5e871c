"""A sweep's turn: it holds the lease while it sweeps."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from imds_enforcer.ledger.lease import Turn
from imds_enforcer.model import AwsError
from imds_enforcer.reporting import telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imds_enforcer.aws.ledger_table import Leases
    from imds_enforcer.ledger.lease import Lease
    from imds_enforcer.limits.cancellation import Cancellation


@contextmanager
def turn(leases: Leases, lease: Lease, cancellation: Cancellation) -> Iterator[Turn]:
    """Take the lease, unless another run holds it, and release it at the end.

    Without the table a sweep begins all the same: a lease that cannot be had must not end all sweeps. Where AWS does
    not accept the credentials any more, the lease ends by itself.
    """
    mine, taken = Turn(), False
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


def _release(leases: Leases, lease: Lease) -> None:
    try:
        leases.release(lease)
    except AwsError as error:
        telemetry.call_failed(
            f"the lease could not be released: until {lease.expires_at:%H:%M:%S} UTC no other sweep begins under this "
            "policy",
            error,
        )
