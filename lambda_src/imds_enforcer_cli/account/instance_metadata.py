"""The instance metadata service, asked from the instance itself."""

import http.client
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

import botocore.session

from imds_enforcer_cli.console.errors import CommandError

TOKEN_SECONDS = 21_600
"""How long a token is valid: six hours, the maximum."""

_ENDPOINT = "http://169.254.169.254"
_ENDPOINT_IPV6 = "http://[fd00:ec2::254]"
_TOKEN = "/latest/api/token"  # noqa: S105  # a path
_IDENTITY = "/latest/dynamic/instance-identity/document"
_METADATA = "/latest/meta-data/"
_ATTEMPTS = "metadata_service_num_attempts"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the service: HTTP status and text."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Identity:
    """The instance that the command runs on."""

    instance_id: str
    region: str


class InstanceMetadata:
    """The service at one endpoint, asked directly even if the environment names a proxy.

    `timeout` is how many seconds an answer may take, and `attempts` how often to ask if there is no answer.
    """

    def __init__(self, endpoint: str, *, timeout: int = 1, attempts: int = 1) -> None:
        self._endpoint = endpoint
        self._url = _checked(endpoint)
        self._timeout = timeout
        self._attempts = attempts

    @property
    def host(self) -> str:
        """The endpoint's host; an IPv6 address is in brackets."""
        name = self._url.hostname or ""
        return f"[{name}]" if ":" in name else name

    def identity(self) -> Identity:
        """Ask, with a token, which instance this is.

        Raises:
            CommandError: if the answer does not say so: this is not an instance, or its metadata service is off.
        """
        answer = self.token()
        if answer.status == HTTPStatus.OK:
            answer = self._answered("GET", _IDENTITY, {"X-aws-ec2-metadata-token": answer.text})
        if answer.status == HTTPStatus.FORBIDDEN:
            raise CommandError(f"the instance metadata service at {self._endpoint} is off: it answers 403")
        if answer.status != HTTPStatus.OK:
            raise CommandError(
                f"the instance metadata service at {self._endpoint} answers {answer.status} and does not say which "
                "instance this is; name instances with --instance-id"
            )
        try:
            document = json.loads(answer.text)
            return Identity(str(document["instanceId"]), str(document["region"]))
        except (ValueError, KeyError, TypeError):
            raise CommandError(
                f"{self._endpoint} is not an instance metadata service: its identity document is "
                f"{answer.text[:100]!r}; name instances with --instance-id"
            ) from None

    def token(self) -> Answer:
        """The answer to a request for a token: the token itself, if the status is 200.

        Raises:
            CommandError: if the service does not answer.
        """
        return self._answered("PUT", _TOKEN, {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)})

    def read(self, token: str | None) -> Answer:
        """The answer to a request for metadata, with a token or without.

        Raises:
            CommandError: if the service does not answer.
        """
        return self._answered("GET", _METADATA, {} if token is None else {"X-aws-ec2-metadata-token": token})

    def _answered(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        problem: Exception | None = None
        for _ in range(self._attempts):
            try:
                return self.send(method, path, headers)
            except (OSError, http.client.HTTPException) as error:
                problem = error
        why = str(problem) or type(problem).__name__
        raise CommandError(
            f"no answer from the instance metadata service at {self._endpoint} ({why}); "
            "this is not an EC2 instance, or its network blocks the service; name instances with --instance-id"
        )

    def send(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        """Send one request.

        Raises:
            OSError: if there is no answer in time.
            HTTPException: if the answer is not HTTP.
        """
        # No proxies and no redirects: both would send the token or the credentials elsewhere.
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=self._timeout)
        try:
            connection.request(method, f"{self._url.path.rstrip('/')}{path}", headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(errors="replace"))
        finally:
            connection.close()


def here(profile: str | None) -> InstanceMetadata:
    """The service of the instance that the command runs on, with the endpoint and time-out that boto3 would use.

    Raises:
        CommandError: if the configuration disables the service, or names an endpoint that is not a URL.
        BotoCoreError: if the AWS configuration is unusable, for example because the profile does not exist.
    """
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise CommandError(
            "AWS_EC2_METADATA_DISABLED is true, so the metadata service cannot say which instance this is; "
            "name instances with --instance-id"
        )
    configured = botocore.session.Session(profile=profile).get_config_variable
    ipv6 = str(configured("ec2_metadata_service_endpoint_mode")).lower() == "ipv6"
    endpoint = configured("ec2_metadata_service_endpoint") or (_ENDPOINT_IPV6 if ipv6 else _ENDPOINT)
    timeout, attempts = (_number(configured, name) for name in ("metadata_service_timeout", _ATTEMPTS))
    metadata = InstanceMetadata(str(endpoint), timeout=timeout, attempts=attempts)
    _ask_directly(metadata.host)
    return metadata


def _number(configured: Callable[[str], Any], name: str) -> int:
    try:
        number = int(configured(name))
    except ValueError:  # botocore raises it too
        number = 0
    if number < 1:
        raise CommandError(f"AWS_{name.upper()} is invalid; allowed: a whole number, 1 or more")
    return number


def _ask_directly(host: str) -> None:
    """Keep botocore from using a proxy when it fetches the role's credentials from the same host."""
    names = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    os.environ["no_proxy"] = ",".join(filter(None, [names, host]))


def _checked(endpoint: str) -> SplitResult:
    try:
        url = urlsplit(endpoint)
        if url.scheme == "http" and url.hostname and (url.port is None or url.port > 0):
            return url
    except ValueError:  # unmatched brackets, or a port that is not a number
        pass
    raise CommandError(
        f"the endpoint of the instance metadata service is {endpoint!r} (AWS_EC2_METADATA_SERVICE_ENDPOINT); "
        f"allowed: an http URL such as {_ENDPOINT}"
    )
