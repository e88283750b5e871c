"""Ctrl-C during a run: the command begins no further change, and reports what it has done."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import typer

from imds_enforcer_cli.console import interruption
from imds_enforcer_cli.console.interruption import BackgroundCall, Interruption, unless_interrupted
from imds_enforcer_cli.console.output import say
from imds_enforcer_cli.runs import local_sweep
from tests.fakes.examples import HOME, an_id, an_instance
from tests.fakes.runs import ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from imds_enforcer.aws.dynamodb import Item
    from tests.fakes.clients import FakeClients
    from tests.fakes.command import Command
    from tests.fakes.ec2 import FakeEc2

PATIENCE = 10
NUMBER = 300


@pytest.fixture
def said() -> list[str]:
    """The last messages of a process that ends at once."""
    return []


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> list[int]:
    """The exit codes of the ends at once, which are only recorded."""
    calls: list[int] = []

    def end(last_words: str = "") -> None:
        calls.append(interruption.EXIT_CODE)
        said.append(last_words)
        raise typer.Exit(interruption.EXIT_CODE)

    monkeypatch.setattr(interruption, "end_at_once", end)
    return calls


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Presses Ctrl-C, and returns once the command has noticed."""
    noticed = threading.Event()

    def hear(message: str) -> None:
        say(message)
        noticed.set()

    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert noticed.wait(PATIENCE)

    monkeypatch.setattr(local_sweep, "say", hear)
    return press


def shown(home: FakeEc2) -> set[str]:
    """The instances that require tokens, as the policy wants."""
    return {
        each
        for each in home.instance_ids
        if (options := home.actual(each).options) and options.http_tokens == "required"
    }


def test_an_interrupted_sweep_stops_and_reports_its_changes(
    clients: FakeClients, home: FakeEc2, command: Command, interrupt: Callable[[], None]
) -> None:
    """It reads back every change that it sent; the ledger has all of them and no open entry."""
    home.launch(*map(an_instance, range(NUMBER)))
    home.applied_after = 1
    clients.clock.at(10, interrupt)
    document = command.json("enforce", "--yes", exit_code=130)
    assert clients.clock.elapsed < 10 + 20
    changed = {each["instance_id"] for each in document["instances"] if each["outcome"] == "REMEDIATED"}
    assert changed == shown(home) == set(home.modified_ids)
    assert 100 <= len(changed) < 170
    assert document["report"]["outcomes"] == {"REMEDIATED": len(changed), "DEFERRED": NUMBER - len(changed)}
    assert document["report"]["stopped"] == "interrupted"
    assert {entry.instance_id for entry in ledger(clients) if entry.result} == changed
    assert clients.ledger_table.entries.open_intents() == []


def test_the_counts_name_the_interruption(
    clients: FakeClients, home: FakeEc2, command: Command, interrupt: Callable[[], None]
) -> None:
    """They count the waiting instances without listing them."""
    home.launch(*map(an_instance, range(NUMBER)))
    clients.clock.at(10, interrupt)
    result = command("enforce", "--yes")
    assert (
        "Stopping: no further change begins; reading back sent changes. Press Ctrl-C again to end at once."
        in result.stderr
    )
    last = result.stdout.splitlines()[-1]
    assert last.startswith("all ")
    assert f"{NUMBER - len(home.modified)} DEFERRED" in last
    assert last.endswith("interrupted")
    assert sum("DEFERRED" in line for line in result.stdout.splitlines()) == 2


def test_a_change_that_ec2_does_not_show_in_time_has_failed(
    clients: FakeClients, home: FakeEc2, command: Command, interrupt: Callable[[], None]
) -> None:
    """EC2 accepted it but does not show it within 20 seconds, as in every sweep."""
    home.launch(*map(an_instance, range(NUMBER)))
    home.visible_after = 30
    clients.clock.at(1, interrupt)
    document = command.json("enforce", "--yes", exit_code=130)
    assert clients.clock.elapsed < 1 + 20 + 5
    assert document["report"]["outcomes"]["FAILED"] == len(home.modified)
    assert {each["code"] for each in document["instances"] if each["outcome"] == "FAILED"} == {"ReadBackDiffers"}


def test_the_command_does_not_wait_for_a_call_that_hangs(
    clients: FakeClients, home: FakeEc2, command: Command, interrupt: Callable[[], None], ended: list[int]
) -> None:
    """After 25 seconds it reports changes that were sent but not read back as failed."""
    home.launch(*map(an_instance, range(NUMBER)))
    released = threading.Event()

    def hang(ec2: FakeEc2, _: str, __: object) -> None:
        if len(ec2.modified) == 50 and not ended:
            interrupt()
            clients.clock.advance(25.1)
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
    assert set(home.modified_ids) <= unknown
    assert 51 <= len(unknown) <= 50 + 16
    assert document["report"]["outcomes"] == {"DEFERRED": NUMBER - len(unknown), "FAILED": len(unknown)}


def test_a_table_that_hangs_does_not_hide_what_was_changed(
    clients: FakeClients, home: FakeEc2, command: Command, interrupt: Callable[[], None], ended: list[int]
) -> None:
    """The command has read back the outcomes; only the ledger lacks them."""
    home.launch(*map(an_instance, range(3)))
    released = threading.Event()

    def hang(items: Sequence[Item]) -> None:
        if "open" not in items[0] and not ended:
            interrupt()
            clients.clock.advance(25.1)
            released.wait(PATIENCE)

    clients.table.before_write = hang
    try:
        document = command.json("enforce", "--yes", exit_code=130)
    finally:
        released.set()
    assert ended == [130]
    assert document["report"]["outcomes"] == {"REMEDIATED": 3}


def test_an_instance_launched_since_the_plan_is_reported_too(
    clients: FakeClients,
    command: Command,
    interrupt: Callable[[], None],
    ended: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The plan does not name it, but EC2 may have made its change."""
    home = clients.ec2(HOME)
    home.launch(an_instance(1))
    released = threading.Event()

    def agree(_: str) -> bool:
        home.forget(an_id(1))
        home.launch(an_instance(2))
        return True

    def hang(*_: object) -> None:
        interrupt()
        clients.clock.advance(25.1)
        released.wait(PATIENCE)

    monkeypatch.setattr("imds_enforcer_cli.console.output.confirmed", agree)
    home.judge = hang
    try:
        result = command("enforce", "--output", "csv", typed="")
    finally:
        released.set()
    assert (result.exit_code, ended) == (130, [130])
    outcomes = [line.split(",")[:3] for line in result.stdout.splitlines()[1:]]
    assert outcomes == [[an_id(1), HOME, "DEFERRED"], [an_id(2), HOME, "FAILED"]]


def test_an_interruption_before_the_first_change_ends_the_command_at_once(
    ended: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Even while a call hangs."""
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
def test_the_second_signal_ends_the_command_at_once(ended: list[int], said: list[str], number: signal.Signals) -> None:
    """Whatever the first one was. The last message names the changes that were sent but not read back."""
    with Interruption() as stop:
        stop.under_way = lambda: ["i-1", "i-2"]
        assert not stop.asked
        signal.raise_signal(number)
        assert stop.asked
        with pytest.raises(typer.Exit):
            signal.raise_signal(signal.SIGINT)
    assert (ended, said) == ([130], ["Sent, but not read back: i-1, i-2."])


def test_a_closed_terminal_may_send_sighup_twice(ended: list[int]) -> None:
    """Once by the shell, and once by the kernel when the shell ends."""
    with Interruption() as stop:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert stop.asked
    assert ended == []


def test_the_cursor_is_shown_again_after_the_last_message() -> None:
    """The progress display has hidden it."""
    terminal, ours = pty.openpty()
    program = "from imds_enforcer_cli.console.interruption import end_at_once; end_at_once('Sent: i-1.')"
    try:
        # With the path of this process, because the package is not installed.
        done = subprocess.run(  # noqa: S603  # our own module
            [sys.executable, "-c", program], stderr=ours, check=False, env={"PYTHONPATH": os.pathsep.join(sys.path)}
        )
        written = b""
        # The output may arrive in several pieces.
        while not written.endswith(b"\x1b[?25h"):
            assert select.select([terminal], [], [], PATIENCE)[0], written
            written += os.read(terminal, 100)
        assert (done.returncode, written) == (130, b"\r\nSent: i-1.\r\n\x1b[?25h")
    finally:
        os.close(terminal)
        os.close(ours)


def test_an_ignored_signal_stays_ignored() -> None:
    """So a run under nohup survives its terminal. Afterwards all handlers are as before."""
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


def test_an_error_in_the_background_is_raised_with_the_result() -> None:
    """A fault of our own is not hidden."""

    def fail() -> None:
        raise ZeroDivisionError

    call = BackgroundCall(fail)
    deadline = time.monotonic() + PATIENCE
    while not call.done():
        assert time.monotonic() < deadline
    with pytest.raises(ZeroDivisionError):
        call.result()
