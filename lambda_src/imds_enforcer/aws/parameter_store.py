"""The policy in Parameter Store."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imds_enforcer.aws.boto import aws_errors, expected
from imds_enforcer.model import AwsError, Failure, Kind
from imds_enforcer.policy import Policy, PolicyVersions
from imds_enforcer.policy.parser import PolicyInvalidError, parse_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_ssm import SSMClient

    from imds_enforcer.model import Clock

CACHE_SECONDS = 2.0
"""How many seconds ago the policy may have been read, at most, when a change begins under it."""

_READS = 2
"""How often the policy is read if answers come late: a late answer may be out of date."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What Parameter Store returned, and when it was asked on the monotonic clock; empty if the call failed."""

    values: Mapping[str, str] = field(default_factory=dict)
    versions: PolicyVersions = field(default_factory=PolicyVersions)
    read_at: float = float("-inf")


class PolicyStore:
    """Reads the policy. For a few seconds it then knows, without another call, which versions are in force.

    Each invocation begins with `read`: an earlier reading may be older than it looks, because the monotonic clock may
    stand still while Lambda has frozen the process (Lambda Developer Guide, "Lambda execution environment").

    Several threads may use it: one of them reads, the others wait for its answer or its failure.
    """

    def __init__(self, client: SSMClient, clock: Clock, http_tokens_parameter: str, policy_parameter: str) -> None:
        self._client = client
        self._clock = clock
        self._names = (http_tokens_parameter, policy_parameter)
        self._lock = threading.Lock()
        self._reading = _Reading()
        self._failed: tuple[float, Failure | None] = (float("-inf"), None)

    @property
    def versions(self) -> PolicyVersions:
        """The versions that were read last, valid or not."""
        return self._reading.versions

    def read(self) -> Policy:
        """The policy in force at this moment.

        Both parameters come from one request, so that no policy ever mixes two moments.
        Afterwards `versions` says what was read, even if it was invalid.

        Raises:
            PolicyInvalidError: if what was read is not a policy.
            AwsError: if Parameter Store could not be read.
        """
        with self._lock:
            self._fetch()
            reading = self._reading
        tokens, document = (reading.values.get(name) for name in self._names)
        try:
            return parse_policy(tokens, document, reading.versions)
        except PolicyInvalidError as error:
            names = " and ".join(self._names)
            raise PolicyInvalidError(
                f"{error} (parameters {names}, versions {reading.versions.http_tokens} and {reading.versions.policy})"
            ) from None

    def in_force(self, *, fresh: bool) -> PolicyVersions:
        """The versions of the policy in force, valid or not. With `fresh`, Parameter Store is asked in any case.

        Raises:
            AwsError: if Parameter Store could not be read, or took longer than its answer is good for.
        """
        asked_at = self._clock.monotonic()
        with self._lock:
            return self._current(asked_at, fresh=fresh)

    def _current(self, asked_at: float, *, fresh: bool) -> PolicyVersions:
        failed_at, failure = self._failed
        if failure and failed_at > asked_at:
            # A thread that has waited while Parameter Store hangs must not wait as long again.
            raise AwsError(failure)
        try:
            return self._asked(fresh=fresh)
        except AwsError as error:
            self._failed = (self._clock.monotonic(), error.failure)
            raise

    def _asked(self, *, fresh: bool) -> PolicyVersions:
        if not fresh and self._young:
            return self._reading.versions
        for _ in range(_READS):
            self._fetch()
            if self._young:
                return self._reading.versions
        raise AwsError(Failure("SlowAnswer", f"the answer takes more than {CACHE_SECONDS:g} s", Kind.UNAVAILABLE))

    @property
    def _young(self) -> bool:
        """True if a change may begin under the last reading. This may be False a moment later."""
        return self._clock.monotonic() - self._reading.read_at <= CACHE_SECONDS

    def _fetch(self) -> None:
        read_at = self._clock.monotonic()
        try:
            with aws_errors():
                answer = self._client.get_parameters(Names=list(self._names))
            found = {parameter["Name"]: parameter for parameter in expected(answer, "Parameters")}
        except AwsError:
            self._reading = _Reading()
            raise
        values = {name: parameter["Value"] for name, parameter in found.items()}
        tokens, document = (found[name]["Version"] if name in found else 0 for name in self._names)
        self._reading = _Reading(values, PolicyVersions(tokens, document), read_at)
