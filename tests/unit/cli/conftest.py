from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.command import Command, now_deployed

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command."""
    return Command(clients, monkeypatch)


@pytest.fixture
def deployed(clients: FakeClients, command: Command) -> Command:
    """The test's command, with the enforcer deployed and a policy that requires tokens."""
    return now_deployed(clients, command)
