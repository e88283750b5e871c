"""The instance metadata service, as the instance itself meets it."""

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
"""How long a token is to be valid: six hours, the most there is."""

_ENDPOINT = "http://169.254.169.254"
_ENDPOINT_IPV6 = "http://[fd00:ec2::254]"
_TOKEN = "/latest/api/token"  # noqa: S105  # a path
_IDENTITY = "/latest/dynamic/instance-identity/document"
_METADATA = "/latest/meta-data/"
_ATTEMPTS = "metadata_service_num_attempts"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the service: its HTTP status and its text."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance this is."""

    instance_id: str
    region: str


class InstanceMetadata:
    """The service at one endpoint. It is asked directly, whatever proxy the environment names.

    `timeout` is how many seconds it may take to answer, and `attempts` how often it is asked while it does not.
    """

    def __init__(self, endpoint: str, *, timeout: int = 1, attempts: int = 1) -> None:
        self._endpoint = endpoint
        self._url = _checked(endpoint)
        self._timeout = timeout
        self._attempts = attempts

    @property
    def host(self) -> str:
        """The host of the endpoint, an IPv6 address in its brackets."""
        name = self._url.hostname or ""
        return f"[{name}]" if ":" in name else name

    def identity(self) -> Identity:
        """Which instance this is, asked with a token.

        Raises:
            CommandError: if that cannot be known: this is no instance, or its metadata service is off.
        """
        answer = self.token()
        if answer.status == HTTPStatus.OK:
            answer = self._answered("GET", _IDENTITY, {"X-aws-ec2-metadata-token": answer.text})
        if answer.status == HTTPStatus.FORBIDDEN:
            raise CommandError(f"the instance metadata service at {self._endpoint} is off: it answers 403")
        if answer.status != HTTPStatus.OK:
            raise CommandError(
                f"the instance metadata service at {self._endpoint} answers {answer.status}, and not which instance "
                "this is; name instances with --instance-id"
            )
        try:
            document = json.loads(answer.text)
            return Identity(str(document["instanceId"]), str(document["region"]))
        except (ValueError, KeyError, TypeError):
            raise CommandError(
                f"what answers at {self._endpoint} is no instance metadata service: its identity document is "
                f"{answer.text[:100]!r}; name instances with --instance-id"
            ) from None

    def token(self) -> Answer:
        """What it answers to the request for a token, which is the token itself if all is well.

        Raises:
            CommandError: if it does not answer.
        """
        return self._answered("PUT", _TOKEN, {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)})

    def read(self, token: str | None) -> Answer:
        """What it answers to a request for metadata, with a token or without.

        Raises:
            CommandError: if it does not answer.
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
            "this is no EC2 instance, or its network keeps it from there; name instances with --instance-id"
        )

    def send(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        """Send one request.

        Raises:
            OSError: if there is no answer, or not in time.
            HTTPException: if the answer is not HTTP.
        """
        # Neither proxies nor redirects: both would take the token, or the credentials, elsewhere.
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=self._timeout)
        try:
            connection.request(method, f"{self._url.path.rstrip('/')}{path}", headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(errors="replace"))
        finally:
            connection.close()


def here(profile: str | None) -> InstanceMetadata:
    """The service of the instance that this runs on, with the endpoint and the time-out that boto3 takes.

    Raises:
        CommandError: if the configuration forbids to ask it, or names an endpoint that is no URL.
        BotoCoreError: if the AWS configuration cannot be used, as where the profile does not exist.
    """
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise CommandError(
            "AWS_EC2_METADATA_DISABLED is true, so the instance is not asked which one it is; "
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
    except ValueError:  # botocore's own, too
        number = 0
    if number < 1:
        raise CommandError(f"AWS_{name.upper()} cannot be used; allowed: a whole number, 1 or more")
    return number


def _ask_directly(host: str) -> None:
    """Keep botocore, which gets the role's credentials from the same host, from asking a proxy for them."""
    names = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    os.environ["no_proxy"] = ",".join(filter(None, [names, host]))


def _checked(endpoint: str) -> SplitResult:
    try:
        url = urlsplit(endpoint)
        if url.scheme == "http" and url.hostname and (url.port is None or url.port > 0):
            return url
    except ValueError:  # brackets that do not match, or a port that is no number
        pass
    raise CommandError(
        f"the endpoint of the instance metadata service is {endpoint!r} (AWS_EC2_METADATA_SERVICE_ENDPOINT); "
        f"allowed: a URL, as {_ENDPOINT}"
    )
