"""The policy as Parameter Store holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.aws import aws_errors, expected
from imds_enforcer.policy import Policy, PolicyVersions
from imds_enforcer.policy_parser import PolicyInvalidError, parse_policy

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

    from imds_enforcer.clock import Clock

CACHE_SECONDS = 5.0
"""How old a policy may be that a batch of events is decided by."""


class PolicyStore:
    """Reads the policy; what was read, an error in it included, serves the batches of the next seconds."""

    def __init__(self, client: SSMClient, clock: Clock, http_tokens_parameter: str, policy_parameter: str) -> None:
        self._client = client
        self._clock = clock
        self._names = (http_tokens_parameter, policy_parameter)
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
        if fresh or self._clock.monotonic() - self._read_at > CACHE_SECONDS:
            self._fetch()
        tokens, document = (self._values.get(name) for name in self._names)
        try:
            return parse_policy(tokens, document, self.versions)
        except PolicyInvalidError as error:
            names = " and ".join(self._names)
            raise PolicyInvalidError(
                f"{error} (parameters {names}, versions {self.versions.http_tokens} and {self.versions.policy})"
            ) from None

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
