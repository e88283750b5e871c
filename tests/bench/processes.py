"""A measured process that can answer line by line."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

MEASURED = Path(__file__).with_name("measured.py")
PATIENCE_SECONDS = 900.0


class ProcessFailedError(RuntimeError):
    """A measured process ended with an error. The message ends with its output."""


class MeasuredProcess:
    """A command in its own folder, measured from its start to its end.

    Args:
        command: the command and its arguments.
        environment: its whole environment; HOME is the folder.
        folder: the working directory, in which it may leave files.

    Attributes:
        output: once `usage` is known, what it wrote to its standard output beside its answers.
    """

    output = ""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._command = command
        self._report = folder / "usage.json"
        self._errors = folder / "stderr.log"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603  # the commands are this module's callers'
                [sys.executable, "-I", "-S", str(MEASURED), str(self._report), *command],
                cwd=folder,
                env={**environment, "HOME": str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> Self:
        """Enter the `with` block, which ends the process."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def ask(self, question: object) -> Any:
        """Write a line of JSON, and read the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise self._failed()
        return json.loads(line)

    def usage(self, text: str = "") -> dict[str, Any]:
        """Write this text to it, and wait for its end; returns its time and memory."""
        self.output, _ = self._process.communicate(text, timeout=PATIENCE_SECONDS)
        if not self._report.exists():
            raise self._failed()
        usage: dict[str, Any] = json.loads(self._report.read_text(encoding="utf-8"))
        return usage

    def written(self) -> str:
        """The end of its standard error."""
        return self._errors.read_text(encoding="utf-8", errors="replace")[-3000:]

    def _failed(self) -> ProcessFailedError:
        return ProcessFailedError(f"{' '.join(self._command)} failed:\n{self.written()}")


def folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder for one process."""
    return tempfile.TemporaryDirectory(prefix="imds-enforcer-bench-")
