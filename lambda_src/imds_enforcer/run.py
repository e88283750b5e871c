"""What one run of the enforcer works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.enforcer import Enforcer

if TYPE_CHECKING:
    from collections.abc import Callable

    from imds_enforcer.clients import Clients
    from imds_enforcer.clock import Clock, Deadline
    from imds_enforcer.mandate import Mandate
    from imds_enforcer.model import Result
    from imds_enforcer.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One invocation under one policy.

    No change is begun once the `mandate` has ended, and no page of a region is read once
    `list_deadline` has passed; each change is given `verify_timeout` seconds to take effect.
    `log` is called once for each instance worth a line, with what triggered the look at it.
    `shuffle` brings ids into an order that differs each time.
    """

    run_id: str
    policy: Policy
    clients: Clients
    clock: Clock
    mandate: Mandate
    list_deadline: Deadline
    verify_timeout: float
    log: Callable[[Result, str], None]
    shuffle: Callable[[list[str]], None]

    def enforcer(self, region: str) -> Enforcer:
        """The enforcer of this run's policy in one region."""
        return Enforcer(
            self.clients.ec2(region),
            self.policy,
            self.clock,
            mandate=self.mandate,
            verify_timeout=self.verify_timeout,
        )
