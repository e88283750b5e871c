"""The policy as Parameter Store holds it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from imds_enforcer.aws import aws_errors, expected
from imds_enforcer.failures import AwsError, Failure, Kind
from imds_enforcer.policy import Policy, PolicyVersions
from imds_enforcer.policy_parser import PolicyInvalidError, parse_policy

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

    from imds_enforcer.clock import Clock

CACHE_SECONDS = 2.0
"""How old what is known of the policy may be when a change is begun under it."""


class PolicyStore:
    """Reads the policy; what was read, an error in it included, serves for the next seconds.

    May be used by several threads: one of them reads, the others wait for what it gets.
    """

    def __init__(self, client: SSMClient, clock: Clock, http_tokens_parameter: str, policy_parameter: str) -> None:
        self._client = client
        self._clock = clock
        self._names = (http_tokens_parameter, policy_parameter)
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._values: dict[str, str] = {}
        self.versions = PolicyVersions()

    def read(self, *, fresh: bool) -> Policy:
        """The policy in force; `fresh` reads past the cache.

        Both parameters come from one request, so that no policy is ever put together from
        two moments. `versions` afterwards tells what was read, even if it was invalid.

        Raises:
            PolicyInvalidError: if what was read is not a policy.
            AwsError: if Parameter Store could not be read.
        """
        with self._lock:
            self._renew(fresh=fresh)
            tokens, document = (self._values.get(name) for name in self._names)
            versions = self.versions
        try:
            return parse_policy(tokens, document, versions)
        except PolicyInvalidError as error:
            names = " and ".join(self._names)
            raise PolicyInvalidError(
                f"{error} (parameters {names}, versions {versions.http_tokens} and {versions.policy})"
            ) from None

    def in_force(self, *, fresh: bool) -> PolicyVersions:
        """The versions of the policy in force, valid or not; `fresh` reads past the cache.

        Raises:
            AwsError: if Parameter Store could not be read, or not within the time that its answer is good for.
        """
        with self._lock:
            self._renew(fresh=fresh)
            if self._age > CACHE_SECONDS:
                # The answer took its time; what it says may have changed since.
                self._fetch()
            if self._age > CACHE_SECONDS:
                raise AwsError(Failure("SlowAnswer", f"it takes more than {CACHE_SECONDS:g} s", Kind.UNAVAILABLE))
            return self.versions

    @property
    def _age(self) -> float:
        return self._clock.monotonic() - self._read_at

    def _renew(self, *, fresh: bool) -> None:
        if fresh or self._age > CACHE_SECONDS:
            self._fetch()

    def _fetch(self) -> None:
        read_at = self._clock.monotonic()
        self.versions, self._read_at = PolicyVersions(), float("-inf")
        with aws_errors():
            answer = self._client.get_parameters(Names=list(self._names))
        found = {parameter["Name"]: parameter for parameter in expected(answer, "Parameters")}
        self._values = {name: parameter["Value"] for name, parameter in found.items()}
        tokens, document = (found[name]["Version"] if name in found else 0 for name in self._names)
        self.versions = PolicyVersions(tokens, document)
        self._read_at = read_at
