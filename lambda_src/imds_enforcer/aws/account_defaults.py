"""EC2's account defaults of one region: read them, set them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.aws.boto import CLIENT_CONFIG, WRITE_CONFIG, aws_errors, expected
from imds_enforcer.model import AwsError, Failure, Kind
from imds_enforcer.model.region_defaults import DEFAULTS, NO_PREFERENCE, RegionDefaults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from botocore.config import Config
    from mypy_boto3_ec2 import EC2Client

    from imds_enforcer.model import Clock


_ACCOUNT = "account"
"""EC2 names this manager if the account can change its defaults. An answer that names no manager shows no defaults."""


class DefaultsApi:
    """The account defaults of one region. Every method raises `AwsError`, and nothing else, for a failed call.

    `client` is as for `Ec2Region`.
    """

    def __init__(self, client: Callable[[Config], EC2Client], clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def read(self) -> RegionDefaults:
        """The defaults as EC2 shows them; their age counts from the request."""
        observed_at = self._clock.monotonic()
        with aws_errors():
            answer = self._client(CLIENT_CONFIG).get_instance_metadata_defaults()
        level = expected(answer, "AccountLevel")
        managed, manager = None, str(level.get("ManagedBy", _ACCOUNT))
        if manager != _ACCOUNT:
            message = level.get("ManagedExceptionMessage")
            who = "a declarative policy" if manager == "declarative-policy" else manager
            managed = f"{who} manages the region's defaults{f': {message}' if message else ''}"
        try:
            return RegionDefaults.described(level, managed=managed, observed_at=observed_at)
        except ValueError as error:
            message = f"EC2 returned unrecognized account defaults: {error}"
            raise AwsError(Failure("UnreadableDefaults", message, Kind.FINAL)) from error

    def set(self, wanted: RegionDefaults, named: Iterable[str]) -> None:
        """Set the named defaults in one call; the others stay as they are.

        A default without a preference is sent as `no-preference`, or as -1 if it is the hop limit (EC2 API Reference,
        "ModifyInstanceMetadataDefaults").
        """
        names = {*named}
        request: dict[str, Any] = {
            name: _sent(getattr(wanted, attribute), -1 if name == "HttpPutResponseHopLimit" else NO_PREFERENCE)
            for name, attribute in DEFAULTS.items()
            if attribute in names
        }
        with aws_errors():
            self._client(WRITE_CONFIG).modify_instance_metadata_defaults(**request)


def _sent(value: str | int | None, cleared: str | int) -> str | int:
    if value is None:
        return cleared
    return str(value) if isinstance(value, str) else value
