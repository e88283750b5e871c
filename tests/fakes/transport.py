"""A replacement for the network below boto3's clients; botocore's serializing, parsing and retrying stay real."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from imds_enforcer.aws.boto import CLIENT_CONFIG
from imds_enforcer.aws.session import fleet_session
from tests.fakes.examples import HOME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from botocore.config import Config

# Of both sessions in use the one that knows less: what is read and called has to be known to it.
SESSION = boto3.Session("unit", "unit", region_name=HOME, botocore_session=fleet_session())

# Tests that replace boto3.client still get clients from here.
_make_client: Any = SESSION.client


@cache
def _client(service: Any, config: Config) -> Any:
    """A client, kept for all tests because reading EC2's model takes half a second."""
    return _make_client(service, config=config)


class _Body:
    def __init__(self, text: str) -> None:
        self._text = text

    def stream(self) -> Iterator[bytes]:
        yield self._text.encode()


class FakeTransport:
    """Answers from a script, in order; an exception in the script is raised, as the network would do."""

    def __init__(self) -> None:
        self._clients: list[Any] = []
        self._script: list[tuple[int, str] | Exception] = []
        self.requests: list[dict[str, Any]] = []
        self.before_answering: Callable[[], None] = lambda: None

    def client(self, service: str, config: Config = CLIENT_CONFIG) -> Any:
        """A client of the service that talks to this transport."""
        client = _client(service, config)
        client.meta.events.register("before-send", self._send)
        self._clients.append(client)
        return client

    def answer(self, text: str, status: int = 200) -> None:
        """Answer the next request with this body."""
        self._script.append((status, text))

    def refuse(self, code: str, message: str = "no", status: int = 400, times: int = 1) -> None:
        """Refuse the next request in EC2's format."""
        error = f"<Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        self._script += [(status, f"<Response>{error}<RequestID>r</RequestID></Response>")] * times

    def fail(self, error: Exception, times: int = 1) -> None:
        """Let the next request fail without an answer."""
        self._script += [error] * times

    def close(self) -> None:
        """Restore the clients. The tests must have used the whole script."""
        for client in self._clients:
            client.meta.events.unregister("before-send", self._send)
        assert not self._script, f"answers that no request used: {self._script}"

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        if request.headers.get("Smithy-Protocol"):
            # The body is not text, so a test can only see that it was sent.
            self.requests.append({"Action": request.url.rpartition("/")[2]})
            return self._answer(request)
        body = request.body.decode() if isinstance(request.body, bytes) else request.body
        if body.startswith("{"):
            action = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
            self.requests.append({"Action": action, **json.loads(body)})
        else:
            self.requests.append({name: value for name, value in parse_qsl(body) if name != "Version"})
        return self._answer(request)

    def _answer(self, request: Any) -> AWSResponse:
        self.before_answering()
        answer = self._script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, text = answer
        return AWSResponse(request.url, status, HTTPHeaders(), _Body(text))
