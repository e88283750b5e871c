"""A mail to the operators, which nothing else depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.model import AwsError
from imds_enforcer.reporting import telemetry

if TYPE_CHECKING:
    from imds_enforcer.aws.services import Clients


def mail(clients: Clients, subject: str, text: str) -> bool:
    """Send a mail; that it failed is logged, answered with False, and changes nothing else."""
    try:
        clients.notifications.send(f"imds-enforcer: {subject}", text)
    except AwsError as error:
        telemetry.call_failed("a notification could not be sent", error)
        return False
    return True
