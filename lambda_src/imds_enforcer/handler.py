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

# Many threads wait for answers at once, and each should go on as soon as its answer comes. By default, a busy thread,
# for example one that parses an answer, keeps the others waiting for 5 ms.
sys.setswitchinterval(0.0005)

# Make what every invocation needs while Lambda starts the process, which has more CPU then. It lives as long as the
# process, so freeze it: a full garbage collection would take 50 ms for these 85,000 objects, most of them EC2's model.
_clients.ec2(_clients.home_region).prepare_to_read()
gc.freeze()


class Context(Protocol):
    """The part of Lambda's context object that is used (Lambda Developer Guide, "Lambda context object")."""

    aws_request_id: str
    invoked_function_arn: str

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""


def handler(event: object, context: Context) -> dict[str, Any]:
    """Handle one invocation: an SQS batch, a schedule or a change of the policy."""
    invocation = Invocation(
        run_id=context.aws_request_id,
        account=context.invoked_function_arn.split(":")[4],
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    return _application.invoke(event, invocation)
