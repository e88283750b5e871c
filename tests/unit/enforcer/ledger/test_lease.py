from __future__ import annotations

from datetime import timedelta

import pytest

from imds_enforcer.ledger.lease import LONGEST, Lease
from imds_enforcer.policy import PolicyVersions
from tests.fakes.clock import START

VERSIONS = PolicyVersions(3, 7)
SECOND = timedelta(seconds=1)


def a_lease(run_id: str = "run-1", versions: PolicyVersions = VERSIONS, minutes: float = 15) -> Lease:
    """A lease that ends this many minutes after the test's start."""
    return Lease(run_id=run_id, versions=versions, expires_at=START + timedelta(minutes=minutes))


def test_another_run_under_the_same_policy_waits_for_the_leases_end() -> None:
    """It does not wait any longer."""
    lease, other = a_lease(minutes=10), a_lease("run-2")
    assert lease.blocks(other, START)
    assert lease.blocks(other, lease.expires_at - SECOND)
    assert not lease.blocks(other, lease.expires_at)


@pytest.mark.parametrize("versions", [PolicyVersions(4, 7), PolicyVersions(3, 8), PolicyVersions(2, 7)])
def test_a_run_under_another_policy_waits_for_no_lease(versions: PolicyVersions) -> None:
    """The older run stops by itself.

    Versions do not show which policy is older, because parameters may be created anew.
    """
    assert not a_lease().blocks(a_lease("run-2", versions), START)


def test_a_run_does_not_block_itself() -> None:
    """The answer to its first request for the lease may have been lost."""
    assert not a_lease().blocks(a_lease(), START)


def test_a_released_lease_blocks_nothing() -> None:
    """It does not even block a run with a slow clock."""
    assert not a_lease().released().blocks(a_lease("run-2"), START - timedelta(days=1))


@pytest.mark.parametrize(("skew", "blocked"), [(timedelta(), True), (SECOND, False), (timedelta(days=365), False)])
def test_a_lease_longer_than_any_invocation_blocks_nothing(skew: timedelta, *, blocked: bool) -> None:
    """A wrong clock wrote it: no sweep for a year would be worse than two at once."""
    lease = Lease(run_id="run-1", versions=VERSIONS, expires_at=START + LONGEST + skew)
    assert lease.blocks(a_lease("run-2"), START) is blocked
