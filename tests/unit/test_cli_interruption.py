"""Ctrl-C while instances are changed: what was done is told, and nothing else is begun."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import typer

from imds_enforcer_cli import interruption, sweep_here
from imds_enforcer_cli.interruption import Beside, Interruption, StoppableClock, unless_interrupted
from imds_enforcer_cli.output import say
from tests.unit.command import Command
from tests.unit.examples import HOME, an_id, an_instance
from tests.unit.runs import ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.fake_clients import FakeClients
    from tests.unit.fake_clock import FakeClock
    from tests.unit.fake_ec2 import FakeEc2

PATIENCE = 10
NUMBER = 300


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command."""
    return Command(clients, monkeypatch)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often the process would have been ended at once."""
    calls: list[int] = []

    def end() -> None:
        calls.append(interruption.EXIT_CODE)
        raise typer.Exit(interruption.EXIT_CODE)

    monkeypatch.setattr(interruption, "end_at_once", end)
    return calls


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Press Ctrl-C, and return once that was noticed."""
    noticed = threading.Event()

    def hear(message: str) -> None:
        say(message)
        noticed.set()

    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert noticed.wait(PATIENCE)

    monkeypatch.setattr(sweep_here, "say", hear)
    return press


def shown(home: FakeEc2) -> set[str]:
    """The instances that are as the policy wants them."""
    return {
        each
        for each in home.instance_ids
        if (options := home.actual(each).options) and options.http_tokens == "required"
    }


def test_it_stops_and_tells_what_was_done(
    clients: FakeClients, home: FakeEc2, command: Command, interrupt: Callable[[], None]
) -> None:
    """Every change that was sent is read back; the ledger has all of them, and no open entry."""
    home.launch(*map(an_instance, range(NUMBER)))
    home.applied_after = 1
    clients.clock.at(10, interrupt)
    document = command.json("enforce", "--yes", exit_code=130)
    assert clients.clock.elapsed < 10 + 5
    changed = {each["instance_id"] for each in document["instances"] if each["outcome"] == "REMEDIATED"}
    assert changed == shown(home) == set(home.modified_ids)
    assert 100 <= len(changed) < 170
    assert document["report"]["outcomes"] == {"REMEDIATED": len(changed), "DEFERRED": NUMBER - len(changed)}
    assert document["report"]["stopped"] == "interrupted"
    assert {entry.instance_id for entry in ledger(clients) if entry.result} == changed
    assert clients.records.open_intents() == []


def test_the_counts_name_the_interruption(
    clients: FakeClients, home: FakeEc2, command: Command, interrupt: Callable[[], None]
) -> None:
    """What waits is not listed one by one."""
    home.launch(*map(an_instance, range(NUMBER)))
    clients.clock.at(10, interrupt)
    result = command("enforce", "--yes")
    assert "Stopping: no further change is begun. Once more, and this ends at once." in result.stderr
    last = result.stdout.splitlines()[-1]
    assert last.startswith("all ")
    assert f"{NUMBER - len(home.modified)} DEFERRED" in last
    assert last.endswith("interrupted")
    assert sum("DEFERRED" in line for line in result.stdout.splitlines()) == 2


def test_what_does_not_show_in_time_is_pending(
    clients: FakeClients, home: FakeEc2, command: Command, interrupt: Callable[[], None]
) -> None:
    """It was accepted, and is called neither changed nor failed, although EC2 still shows it as it was."""
    home.launch(*map(an_instance, range(NUMBER)))
    home.visible_after = 30
    clients.clock.at(1, interrupt)
    document = command.json("enforce", "--yes", exit_code=130)
    assert clients.clock.elapsed < 1 + 5
    assert document["report"]["outcomes"]["PENDING"] == len(home.modified)
    (pending,) = {each["reason"] for each in document["instances"] if each["outcome"] == "PENDING"}
    assert pending == "accepted, and not read back to the end: interrupted; HttpTokens is optional, not required"
    assert {entry.instance_id for entry in ledger(clients) if entry.result} == set(home.modified_ids)


def test_a_call_that_hangs_is_not_waited_for(
    clients: FakeClients, home: FakeEc2, command: Command, interrupt: Callable[[], None], ended: list[int]
) -> None:
    """A last look tells what was changed; of the rest of what was sent nobody knows, and the report says so."""
    home.launch(*map(an_instance, range(NUMBER)))
    released = threading.Event()

    def hang(ec2: FakeEc2, _: str, __: object) -> None:
        if len(ec2.modified) == 50 and not ended:
            interrupt()
            clients.clock.advance(3.1)
            released.wait(PATIENCE)

    home.judge = hang
    try:
        document = command.json("enforce", "--yes", exit_code=130)
    finally:
        released.set()
    assert ended == [130]
    known = {each["instance_id"]: each for each in document["instances"]}
    assert len(known) == NUMBER
    unknown = {each for each in known if known[each]["code"] == "Interrupted"}
    assert {known[each]["outcome"] for each in unknown} == {"FAILED"}
    assert 1 <= len(unknown) <= 16
    assert {each for each in known if known[each]["outcome"] == "REMEDIATED"} == set(home.modified_ids)
    left = NUMBER - 50 - len(unknown)
    assert document["report"]["outcomes"] == {"REMEDIATED": 50, "DEFERRED": left, "FAILED": len(unknown)}


def test_what_was_launched_since_the_plan_is_told_too(
    clients: FakeClients,
    command: Command,
    interrupt: Callable[[], None],
    ended: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its change may have been made, and the plan does not name it."""
    home = clients.ec2(HOME)
    home.launch(an_instance(1))
    released = threading.Event()

    def agree(_: str) -> bool:
        home.forget(an_id(1))
        home.launch(an_instance(2))
        return True

    def hang(*_: object) -> None:
        interrupt()
        clients.clock.advance(3.1)
        released.wait(PATIENCE)

    monkeypatch.setattr("imds_enforcer_cli.output.confirmed", agree)
    home.judge = hang
    try:
        result = command("enforce", "--output", "csv", typed="")
    finally:
        released.set()
    assert (result.exit_code, ended) == (130, [130])
    outcomes = [line.split(",")[:3] for line in result.stdout.splitlines()[1:]]
    assert outcomes == [[an_id(1), HOME, "DEFERRED"], [an_id(2), HOME, "FAILED"]]


def test_while_it_asks_an_interrupt_is_a_no(home: FakeEc2, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere at the command line."""
    home.launch(an_instance())

    def interrupted(_: str) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("imds_enforcer_cli.output.confirmed", interrupted)
    assert command("enforce", typed="").exit_code == 130
    assert home.modified == []


def test_while_it_looks_nothing_is_waited_for(ended: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    """However long a call hangs."""
    released = threading.Event()

    def hang() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        released.wait(PATIENCE)

    with pytest.raises(typer.Exit):
        unless_interrupted(hang)
    released.set()
    assert ended == [130]
    assert capsys.readouterr().err == "Interrupted; nothing was changed.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_second_signal_ends_it_at_once(ended: list[int], number: signal.Signals) -> None:
    """Of whatever kind."""
    with Interruption() as stop:
        assert not stop.asked
        signal.raise_signal(number)
        assert stop.asked
        with pytest.raises(typer.Exit):
            signal.raise_signal(signal.SIGINT)
    assert ended == [130]


def test_a_terminal_that_is_closed_says_so_twice(ended: list[int]) -> None:
    """The shell passes it on, and when that ends the kernel does."""
    with Interruption() as stop:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert stop.asked
    assert ended == []


def test_at_its_end_the_cursor_is_shown_again() -> None:
    """What was going on has hidden it."""
    terminal, ours = pty.openpty()
    program = "from imds_enforcer_cli.interruption import end_at_once; end_at_once()"
    try:
        # The path is that of this process: the package is not installed.
        done = subprocess.run(  # noqa: S603  # our own module
            [sys.executable, "-c", program], stderr=ours, check=False, env={"PYTHONPATH": os.pathsep.join(sys.path)}
        )
        assert (done.returncode, os.read(terminal, 100)) == (130, b"\x1b[?25h")
    finally:
        os.close(terminal)
        os.close(ours)


def test_what_was_ignored_stays_ignored() -> None:
    """Under nohup a run goes on when the terminal is closed; and afterwards all is as it was."""
    before = signal.getsignal(signal.SIGINT)
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.asked
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_nobody_sleeps_through_an_interruption(clock: FakeClock) -> None:
    """A region may be waiting for EC2's limit."""
    stop = Interruption()
    stoppable = StoppableClock(clock, stop)
    stoppable.sleep(1.5)
    assert clock.elapsed == pytest.approx(1.5)

    def ask() -> None:
        stop.asked = True

    clock.at(3, ask)
    stoppable.sleep(60)
    assert clock.elapsed == pytest.approx(3, abs=0.21)
    assert (stoppable.monotonic(), stoppable.now()) == (clock.monotonic(), clock.now())


def test_an_error_beside_is_raised_where_the_result_is_asked_for() -> None:
    """A fault of our own is not hidden."""

    def fail() -> None:
        raise ZeroDivisionError

    beside = Beside(fail)
    deadline = time.monotonic() + PATIENCE
    while not beside.done():
        assert time.monotonic() < deadline
    with pytest.raises(ZeroDivisionError):
        beside.result()


def test_one_instance_of_another_region_too(
    clients: FakeClients, away: FakeEc2, home: FakeEc2, command: Command, interrupt: Callable[[], None]
) -> None:
    """A region that was done is told as done."""
    home.launch(*map(an_instance, range(NUMBER)))
    away.launch(an_instance(NUMBER))
    clients.clock.at(10, interrupt)
    document = command.json("enforce", "--yes", exit_code=130)
    assert document["report"]["regions"][away.name]["outcomes"] == {"REMEDIATED": 1}
    assert document["report"]["regions"][HOME]["outcomes"]["DEFERRED"] > 0
    assert an_id(NUMBER) in {each["instance_id"] for each in document["instances"]}
