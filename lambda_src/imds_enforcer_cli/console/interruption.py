"""Ctrl-C while instances are being changed: a wish to stop, not the end of the process."""

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
"""What shells give a command that Ctrl-C has ended."""

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_HANG_UP = getattr(signal, "SIGHUP", None)
_STDERR = 2
_SHOW_CURSOR = b"\x1b[?25h"
"""What shows that something is going on hides it, and has no time to show it again."""

_LOOK_SECONDS = 0.1

T = TypeVar("T")


class Interruption:
    """Whether the user wants the command to stop: by Ctrl-C, SIGTERM, or by closing the terminal.

    In a `with` block the first signal is noted, and the second ends the process at once, unless it is that the
    terminal is closed, which may come twice: from the shell, and when that ends. A signal that is ignored, as
    SIGHUP is under nohup, stays so. `under_way` gives the instances whose change was sent and is not read back:
    the second signal writes them to standard error.
    """

    def __init__(self) -> None:
        self.asked = False
        self.under_way: Callable[[], Sequence[str]] = list
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
            end_at_once(f"Sent, and not read back: {', '.join(self.under_way()) or 'none'}.")
        self.asked = True


class BackgroundCall(Generic[T]):
    """A call in a thread of its own, so that a signal finds the main thread ready; it may be abandoned."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name="background-call", daemon=True).start()

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
        call = BackgroundCall(work)
        while not call.done():
            pass
    except KeyboardInterrupt:
        say("Interrupted; nothing was changed.")
        sys.stderr.flush()
        end_at_once()
    return call.result()


def end_at_once(last_words: str = "") -> NoReturn:
    """End the process, whatever its threads are waiting for; what is not flushed is lost."""
    with suppress(OSError):
        if last_words:
            # Not through `sys.stderr`, which the thread that was interrupted may hold.
            os.write(_STDERR, f"\n{last_words}\n".encode())
        if os.isatty(_STDERR):
            os.write(_STDERR, _SHOW_CURSOR)
    os._exit(EXIT_CODE)
