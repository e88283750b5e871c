"""One sweep at a time: the lease of the run that sweeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imds_enforcer.policy import PolicyVersions

LONGEST = timedelta(minutes=16)
"""No lease lasts longer: an invocation ends after 15 minutes (Lambda Developer Guide, "Lambda quotas").

The rest allows for clocks that differ. A lease that ends later was written by a wrong clock, and blocks nothing.
"""

RELEASED = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A run's right to sweep under one policy, until its invocation's own deadline at the latest.

    The lease saves work; safety does not depend on it. Two sweeps at once, perhaps because of a wrong clock, are as
    safe as a sweep and a batch of events.
    """

    run_id: str
    versions: PolicyVersions
    expires_at: datetime

    def blocks(self, other: Lease, now: datetime) -> bool:
        """True if the other run must leave the sweep to this one.

        A run under another policy is never blocked: this run stops by itself once it notices that the policy has
        changed.
        """
        in_force = now < self.expires_at <= now + LONGEST
        return in_force and self.run_id != other.run_id and self.versions == other.versions

    def released(self) -> Lease:
        """The same lease, ended."""
        return replace(self, expires_at=RELEASED)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a run learned when it asked for the lease.

    `holder` is the run that sweeps instead; None if it is this run's turn. `policy_is_new` is True if the previous
    lease was under another policy.
    """

    holder: str | None = None
    policy_is_new: bool = False
