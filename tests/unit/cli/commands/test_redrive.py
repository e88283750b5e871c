from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.command import Command, lines

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, and three events that never worked."""
    command = Command(clients, monkeypatch)
    command.stack.queues.depth["lost"] = 3
    return command


def a_task(status: str, moved: int, **fields: Any) -> dict[str, Any]:
    """How far a move is, as SQS says it."""
    return {"Status": status, "ApproximateNumberOfMessagesMoved": moved, **fields}


def test_events_are_moved_and_followed(command: Command, clients: FakeClients) -> None:
    """To the event queue by name: some have never been there."""
    command.stack.queues.states = [a_task("RUNNING", 0), a_task("RUNNING", 2), a_task("COMPLETED", 3)]
    result = command("redrive")
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines(result.stdout) == ["MESSAGES MOVED STATUS FAILURE", "3 3 COMPLETED"]
    assert command.stack.queues.moves == [{"SourceArn": "arn:lost", "DestinationArn": "arn:events"}]
    assert clients.clock.elapsed == 2


def test_an_empty_queue(command: Command) -> None:
    """Nothing is begun."""
    command.stack.queues.depth["lost"] = 0
    result = command("redrive")
    assert (result.exit_code, result.stderr) == (0, "The dead-letter queue is empty.\n")
    assert command.json("redrive") == {"messages": 0, "moved": 0, "status": "COMPLETED", "failure": None}
    assert command.stack.queues.moves == []


def test_a_move_that_fails(command: Command) -> None:
    """SQS says why, and how far it came."""
    command.stack.queues.states = [a_task("FAILED", 1, FailureReason="AccessDenied")]
    document = command.json("redrive", exit_code=1)
    assert document == {"messages": 3, "moved": 1, "status": "FAILED", "failure": "AccessDenied"}


def test_a_move_that_does_not_end(command: Command, clients: FakeClients) -> None:
    """It goes on, and nobody watches for ever."""
    command.stack.queues.states = [a_task("RUNNING", 1)] * 2000
    assert command("redrive", "--output", "csv").exit_code == 1
    assert clients.clock.elapsed == 1800
