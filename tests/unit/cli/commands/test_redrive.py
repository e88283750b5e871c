from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.command import Command, lines
from tests.fakes.stack import refusal

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

    from tests.fakes.clients import FakeClients


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, with three failed events in the dead-letter queue."""
    command = Command(clients, monkeypatch)
    command.stack.queues.depth["lost"] = 3
    return command


def a_task(status: str, moved: int, *, at: int = 9, **fields: Any) -> dict[str, Any]:
    """SQS's answer about a move that started at this millisecond."""
    return {"Status": status, "ApproximateNumberOfMessagesMoved": moved, "StartedTimestamp": at, **fields}


UNDER_WAY = "A move is already under way; the command waits for that one.\n"
ONE_AT_A_TIME = refusal("InvalidParameterValue", "There is already a task running.")


def test_events_are_moved_and_the_command_waits(command: Command, clients: FakeClients) -> None:
    """The request names the event queue, because some events have never been there."""
    command.stack.queues.states = [a_task("RUNNING", 0), a_task("RUNNING", 2), a_task("COMPLETED", 3)]
    result = command("redrive")
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines(result.stdout) == ["MESSAGES MOVED STATUS FAILURE", "3 3 COMPLETED"]
    assert command.stack.queues.moves == [{"SourceArn": "arn:lost", "DestinationArn": "arn:events"}]
    assert clients.clock.elapsed == 2


def test_an_empty_queue(command: Command) -> None:
    """No move starts."""
    command.stack.queues.depth["lost"] = 0
    result = command("redrive")
    assert (result.exit_code, result.stderr) == (0, "The dead-letter queue is empty.\n")
    assert command.json("redrive") == {"messages": 0, "moved": 0, "status": "COMPLETED", "failure": None}
    assert command.stack.queues.moves == []


def test_a_move_that_fails(command: Command) -> None:
    """The document has SQS's reason, and how many messages were moved."""
    command.stack.queues.states = [a_task("FAILED", 1, FailureReason="AccessDenied")]
    document = command.json("redrive", exit_code=1)
    assert document == {"messages": 3, "moved": 1, "status": "FAILED", "failure": "AccessDenied"}


def test_a_move_that_does_not_end(command: Command, clients: FakeClients) -> None:
    """It goes on, but the command does not wait for ever."""
    command.stack.queues.states = [a_task("RUNNING", 1)] * 2000
    assert command("redrive", "--output", "csv").exit_code == 1
    assert clients.clock.elapsed == 1800


@pytest.mark.parametrize("unlisted", [1, 59])
def test_a_move_that_is_listed_late(command: Command, clients: FakeClients, unlisted: int) -> None:
    """AWS does not document that SQS lists a move at once; until then it lists earlier moves."""
    command.stack.queues.earlier = [a_task("COMPLETED", 7, at=2), a_task("FAILED", 0, at=1)]
    command.stack.queues.states = [*[None] * unlisted, a_task("RUNNING", 1), None, a_task("COMPLETED", 3)]
    document = command.json("redrive")
    assert (document["moved"], document["status"]) == (3, "COMPLETED")
    assert clients.clock.elapsed == unlisted + 2


def test_a_move_that_is_not_listed_in_time(command: Command, clients: FakeClients) -> None:
    """The command says that it has started, but not how many messages it moved."""
    command.stack.queues.earlier = [a_task("COMPLETED", 7, at=2)]
    command.stack.queues.states = [None] * 100
    result = command("redrive", "--output", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"messages": 3, "moved": None, "status": "STARTED", "failure": None}
    assert result.stderr == (
        "SQS has started the move but does not list it yet; `imds-enforcer status` shows how many are left.\n"
    )
    assert clients.clock.elapsed == 60
    command.stack.queues.states = [None] * 100
    assert lines(command("redrive").stdout)[1] == "3 STARTED"


def test_a_move_that_is_over_at_once(command: Command, clients: FakeClients) -> None:
    """Another may have started since, and is listed too."""
    command.stack.queues.states = [a_task("COMPLETED", 3, at=9)]
    command.stack.queues.later = [a_task("RUNNING", 1, at=10)]
    assert command.json("redrive")["moved"] == 3
    assert clients.clock.elapsed == 0


@pytest.mark.parametrize("status", ["RUNNING", "CANCELLING"])
def test_the_command_waits_for_a_move_that_is_under_way(command: Command, clients: FakeClients, status: str) -> None:
    """SQS allows only one at a time."""
    queues = command.stack.queues
    queues.earlier = [a_task(status, 1, at=5), a_task("COMPLETED", 7, at=2)]
    clients.clock.at(3, lambda: queues.earlier.__setitem__(0, a_task("COMPLETED", 2, at=5)))
    result = command("redrive")
    assert (result.exit_code, result.stderr, queues.moves) == (0, UNDER_WAY, [])
    assert lines(result.stdout)[1] == "3 2 COMPLETED"
    assert clients.clock.elapsed == 3


def test_a_move_that_is_under_way_and_not_listed_yet(command: Command) -> None:
    """SQS's refusal to start another reveals it."""
    command.stack.queues.refused = ONE_AT_A_TIME
    command.stack.queues.states = [None, a_task("COMPLETED", 2, at=5)]
    result = command("redrive")
    assert (result.exit_code, result.stderr) == (0, UNDER_WAY)
    assert lines(result.stdout)[1] == "3 2 COMPLETED"


@pytest.mark.parametrize(
    ("error", "seconds"), [(ONE_AT_A_TIME, 60), (refusal("AccessDenied", "no access to the queue"), 0)]
)
def test_a_move_that_sqs_refuses(command: Command, clients: FakeClients, error: ClientError, seconds: int) -> None:
    """The error is SQS's, because no other move was under way."""
    command.stack.queues.refused = error
    command.stack.queues.states = [None] * 100
    said = error.response["Error"]
    assert command.refusal("redrive") == f"imds-enforcer: {said['Code']}: {said['Message']}"
    assert clients.clock.elapsed == seconds
