"""A sweep's progress on a terminal."""

from __future__ import annotations

import errno
import io
import sys
from typing import TYPE_CHECKING

from rich.text import Text

from imds_enforcer.model import Outcome
from imds_enforcer.model.result import unread
from imds_enforcer_cli.console.output import say
from imds_enforcer_cli.console.progress import SweepProgress
from tests.fakes.examples import AWAY, HOME, an_id

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Always true."""
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, limit: int | None = None) -> str:
    """The progress of a sweep in which three of four planned instances are done."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with SweepProgress({HOME: 3, AWAY: 1}, limit) as progress:
        for number, region in enumerate([HOME, HOME, AWAY, "eu-central-1"]):
            progress.count(unread(an_id(number), region, Outcome.REMEDIATED, ""))
    return stream.getvalue()


def test_each_region_has_a_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more line is for all regions together."""
    text = Text.from_ansi(shown(monkeypatch, Terminal())).plain
    last = [line for line in text.splitlines() if "/" in line][-3:]
    assert [line.split()[0] for line in last] == ["all", HOME, AWAY]
    assert ["4/4" in last[0], "2/3" in last[1], "1/1" in last[2]] == [True, True, True]


def test_the_total_is_at_most_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for all regions together."""
    assert "4/2" in shown(monkeypatch, Terminal(), limit=2)


def test_a_file_gets_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a line end is written to it."""
    assert shown(monkeypatch, io.StringIO()) == ""


def test_a_terminal_that_closes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report on standard output must follow all the same."""
    terminal, data = Terminal(), sys.stdout

    def closed(_: str) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with SweepProgress({HOME: 1}, None):
        monkeypatch.setattr(terminal, "write", closed)
        say("Stopping.")
    assert sys.stdout is data
