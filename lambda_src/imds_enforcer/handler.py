"""The function's entry point."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any, Protocol

from imds_enforcer.application import Application, Invocation
from imds_enforcer.aws.services import Clients
from imds_enforcer.model import SystemClock
from imds_enforcer.settings import Settings

_clock = SystemClock()
_settings = Settings.from_environment(os.environ)
_clients = Clients(_settings, _clock)
_application = Application(_settings, _clients, _clock)

# Many threads wait for answers at once, and each is to go on when its answer comes. By default one that is busy, as
# with taking an answer apart, keeps the others waiting for 5 ms.
sys.setswitchinterval(0.0005)

# What every invocation needs is made while Lambda starts the process, which has more CPU then. It is never let go: a
# full collection need not look through these 85,000 objects, EC2's model above all, which takes 50 ms.
_clients.ec2(_clients.home_region).prepare_to_read()
gc.freeze()


class Context(Protocol):
    """What is used of the context that Lambda hands over (Lambda Developer Guide, "Lambda context object")."""

    aws_request_id: str
    invoked_function_arn: str

    def get_remaining_time_in_millis(self) -> int:
        """Until Lambda ends the invocation."""


def handler(event: object, context: Context) -> dict[str, Any]:
    """Handle one invocation: an SQS batch, a schedule or a change of the policy."""
    invocation = Invocation(
        run_id=context.aws_request_id,
        account=context.invoked_function_arn.split(":")[4],
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    return _application.invoke(event, invocation)
