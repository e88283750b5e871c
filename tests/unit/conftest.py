"""Unit tests reach nothing outside: no socket, none of the machine's profiles, no clock but their own."""

from __future__ import annotations

import io
import json
import os
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from pytest_socket import disable_socket

from imds_enforcer.aws.ec2 import Ec2Region
from imds_enforcer.limits.pacing import CHANGES, RequestBucket
from imds_enforcer.reporting import telemetry
from tests.fakes.clients import FakeClients
from tests.fakes.clock import FakeClock
from tests.fakes.ec2 import FakeEc2
from tests.fakes.examples import AWAY, HOME
from tests.fakes.runs import App, Documents
from tests.fakes.transport import FakeTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

# The same examples every time and no file of past ones: the result depends on the code, not on luck.
settings.register_profile("unit", derandomize=True, database=None, deadline=None, max_examples=300)
# The first few of them.
settings.register_profile("quick", settings.get_profile("unit"), max_examples=25)
# Other examples every time; a failing one is kept in .hypothesis and printed with the way to reproduce it.
settings.register_profile("fuzz", print_blob=True, deadline=None, max_examples=3_500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "unit"))


def pytest_runtest_setup() -> None:
    """Block sockets; pytest-socket opens them again after each test."""
    disable_socket()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set credentials that are valid nowhere, and hide the user's own AWS files."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unit")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unit")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    # The function sets this variable too; metrics must not take a dimension from it.
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "imds-enforcer")


@pytest.fixture
def clock() -> FakeClock:
    """Time under the test's control."""
    return FakeClock()


@pytest.fixture
def ec2(clock: FakeClock) -> FakeEc2:
    """EC2 in one region."""
    return FakeEc2(clock)


@pytest.fixture
def clients(clock: FakeClock) -> FakeClients:
    """An account with two regions and a policy that requires tokens."""
    return FakeClients(clock)


@pytest.fixture
def home(clients: FakeClients) -> FakeEc2:
    """EC2 in the account's home region."""
    return clients.ec2(HOME)


@pytest.fixture
def away(clients: FakeClients) -> FakeEc2:
    """EC2 in the account's other region."""
    return clients.ec2(AWAY)


@pytest.fixture
def app(clients: FakeClients) -> App:
    """The whole enforcer in that account."""
    return App(clients)


@pytest.fixture
def transport() -> Iterator[FakeTransport]:
    """A network under the test's control."""
    transport = FakeTransport()
    yield transport
    transport.close()


@pytest.fixture
def region(transport: FakeTransport, clock: FakeClock) -> Ec2Region:
    """The real EC2 adapter on a fake network."""
    changes = RequestBucket(CHANGES, clock)
    return Ec2Region(HOME, clock, cache(lambda config: transport.client("ec2", config)), changes)


@pytest.fixture
def backoffs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that botocore's retries make, without waiting for them."""
    pauses: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", pauses.append)
    return pauses


@pytest.fixture(autouse=True)
def _log_stream() -> Iterator[io.StringIO]:
    """Collects the function's log lines, which else go to the standard output that Powertools found at import."""
    handler = telemetry.logger.registered_handler
    assert handler is not None
    stream = io.StringIO()
    previous = handler.setStream(stream)  # type: ignore[attr-defined]  # it is a StreamHandler
    yield stream
    handler.setStream(previous)  # type: ignore[attr-defined]


@pytest.fixture
def log_lines(_log_stream: io.StringIO) -> Documents:
    """The log lines so far."""
    return lambda: [json.loads(line) for line in _log_stream.getvalue().splitlines()]


@pytest.fixture
def metrics(capsys: pytest.CaptureFixture[str]) -> Documents:
    """The metrics published since the last call, each a document of the embedded metric format."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
