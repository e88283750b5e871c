from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.command import Command

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command."""
    return Command(clients, monkeypatch)
