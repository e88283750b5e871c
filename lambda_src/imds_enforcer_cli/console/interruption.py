"""Ctrl-C while instances are being changed: a request to stop, not the end of the process."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Generic, NoReturn, Self, TypeVar

from imds_enforcer_cli.console.output import say

EXIT_CODE = 130
"""The exit code that shells report for a command ended by Ctrl-C."""

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_HANG_UP = getattr(signal, "SIGHUP", None)
_STDERR = 2
_SHOW_CURSOR = b"\x1b[?25h"
"""Progress displays hide the cursor, and cannot show it again when the process ends at once."""

_LOOK_SECONDS = 0.1

T = TypeVar("T")


class Interruption:
    """Whether the user has asked the command to stop, by Ctrl-C, by SIGTERM or by closing the terminal.

    In a `with` block the first signal sets `asked`, and the second ends the process at once. A second SIGHUP does
    not: closing a terminal may send it twice, once from the shell and once when the shell ends. A signal that was
    ignored before, such as SIGHUP under nohup, stays ignored. `under_way` returns the instances whose change was sent
    but not read back yet: the second signal writes them to standard error.
    """

    def __init__(self) -> None:
        self.asked = False
        self.under_way: Callable[[], Sequence[str]] = list
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        """Handle the signals from now on."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as `signal` returned it

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.asked and number != _HANG_UP:
            end_at_once(f"Sent, but not read back: {', '.join(self.under_way()) or 'none'}.")
        self.asked = True


class BackgroundCall(Generic[T]):
    """A call in its own thread, so that the main thread can handle signals; it may be abandoned."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name="background-call", daemon=True).start()

    def done(self) -> bool:
        """True if the call is done; waits a moment for it."""
        return self._done.wait(_LOOK_SECONDS)

    def result(self) -> T:
        """The call's result, once it is done; raises the call's error if it failed."""
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _run(self) -> None:
        try:
            self._value.append(self._work())
        except BaseException as error:  # noqa: BLE001  # `result` raises it again
            self._error = error
        finally:
            self._done.set()


def unless_interrupted(work: Callable[[], T]) -> T:
    """The result of read-only work. Ctrl-C ends the process at once, even while a call hangs."""
    try:
        call = BackgroundCall(work)
        while not call.done():
            pass
    except KeyboardInterrupt:
        say("Interrupted; nothing was changed.")
        sys.stderr.flush()
        end_at_once()
    return call.result()


def end_at_once(last_words: str = "") -> NoReturn:
    """End the process, whatever its threads are waiting for; unflushed output is lost."""
    with suppress(OSError):
        if last_words:
            # Not through `sys.stderr`: the interrupted thread may hold its lock.
            os.write(_STDERR, f"\n{last_words}\n".encode())
        if os.isatty(_STDERR):
            os.write(_STDERR, _SHOW_CURSOR)
    os._exit(EXIT_CODE)
