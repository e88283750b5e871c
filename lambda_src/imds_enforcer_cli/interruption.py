"""Ctrl-C while instances are being changed: a wish to stop, not the end of the process."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Generic, NoReturn, Self, TypeVar

from imds_enforcer.clock import Clock
from imds_enforcer_cli.output import say

EXIT_CODE = 130
"""What shells give a command that Ctrl-C has ended."""

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_HANG_UP = getattr(signal, "SIGHUP", None)
_STDERR = 2
_SHOW_CURSOR = b"\x1b[?25h"
"""What shows that something is going on hides it, and has no time to show it again."""

_LOOK_SECONDS = 0.1
_NAP_SECONDS = 0.2

T = TypeVar("T")


class Interruption:
    """Whether somebody wants the command to stop: by Ctrl-C, SIGTERM, or by closing the terminal.

    In a `with` block the first signal is noted, and the second ends the process at once, unless it is that the
    terminal is closed, which may come twice: from the shell, and when that ends. A signal that is ignored, as
    SIGHUP is under nohup, stays so.
    """

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        """From now on signals are wishes."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """They are again what they were before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # it is what `signal` has answered

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.asked and number != _HANG_UP:
            end_at_once()
        self.asked = True


class StoppableClock:
    """A clock whose `sleep` ends early once somebody wants to stop; what has to be waited for then comes in naps."""

    def __init__(self, clock: Clock, interruption: Interruption) -> None:
        self._interruption = interruption
        self._clock = clock
        self.monotonic = clock.monotonic
        self.now = clock.now

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds, or until the interruption."""
        while seconds > 0:
            self._clock.sleep(min(seconds, _NAP_SECONDS))
            seconds = 0.0 if self._interruption.asked else seconds - _NAP_SECONDS


class Beside(Generic[T]):
    """Work in a thread of its own, so that a signal finds the main thread ready; it may be left to itself."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name="beside", daemon=True).start()

    def done(self) -> bool:
        """True if it is done; waits a moment for it."""
        return self._done.wait(_LOOK_SECONDS)

    def result(self) -> T:
        """What it came to, or the error that it ended with; only once it is done."""
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _run(self) -> None:
        try:
            self._value.append(self._work())
        except BaseException as error:  # noqa: BLE001  # raised again where the result is asked for
            self._error = error
        finally:
            self._done.set()


def unless_interrupted(work: Callable[[], T]) -> T:
    """The result of work that changes nothing: on Ctrl-C the process ends, however long a call hangs."""
    try:
        beside = Beside(work)
        while not beside.done():
            pass
    except KeyboardInterrupt:
        say("Interrupted; nothing was changed.")
        sys.stderr.flush()
        end_at_once()
    return beside.result()


def end_at_once() -> NoReturn:
    """End the process, whatever its threads are waiting for; what is not flushed is lost."""
    with suppress(OSError):
        if os.isatty(_STDERR):
            os.write(_STDERR, _SHOW_CURSOR)
    os._exit(EXIT_CODE)
