"""A picture of a terminal: an SVG of what a command writes to one."""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def picture(write: Callable[[], None], *, command: str, columns: int) -> str:
    """An SVG of this command, and below it what `write` writes to standard output, in a terminal of that width."""
    with _terminal(columns) as screen:
        write()
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bright_black"), (command, "bold")))
    console.print(Text.from_ansi(screen.getvalue()), no_wrap=True, crop=False)
    return console.export_svg(title="", code_format=_format(), unique_id="terminal")


def _format() -> str:
    """Rich's own format, without the font that it makes browsers download."""
    return re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
        "font-family: Fira Code, monospace", f"font-family: {_FONT}"
    )


class _Screen(io.StringIO):
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def _terminal(columns: int) -> Iterator[_Screen]:
    """Standard output as a terminal of that width."""
    screen, before, width = _Screen(), sys.stdout, os.environ.get("COLUMNS")
    sys.stdout, os.environ["COLUMNS"] = screen, str(columns)
    try:
        yield screen
    finally:
        sys.stdout = before
        if width is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = width
