"""The function's entry point."""

from __future__ import annotations

import gc
import os
from functools import cache
from typing import TYPE_CHECKING, Any

from imds_enforcer.application import Application, Invocation
from imds_enforcer.clients import Clients
from imds_enforcer.clock import SystemClock
from imds_enforcer.settings import Settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_clock = SystemClock()
_settings = Settings.from_environment(os.environ)
_application = Application(_settings, Clients(_settings, _clock), _clock)


def handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """Handle one invocation: an SQS batch, a schedule or a change of the policy."""
    invocation = Invocation(
        run_id=context.aws_request_id,
        account=context.invoked_function_arn.split(":")[4],
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    try:
        return _application.invoke(event, invocation)
    finally:
        _settle_memory()


@cache
def _settle_memory() -> None:
    """Once: what the first invocation has loaded, the services' models above all, is never let go.

    A full collection need not look through its two hundred thousand objects again, which takes a tenth of a second.
    """
    gc.freeze()
