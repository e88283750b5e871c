"""Where a command writes: data on standard output, everything else on standard error."""

import csv
import errno
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TextIO

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.errors import CommandError

Cell = Sequence[str]
"""What stands in one field of a table: phrases, below each other on a terminal and in one line elsewhere."""

_UNBOUNDED = 100_000
"""Columns that every table fits into."""

_IDS, _ID_WIDTH = "INSTANCE", len("i-0123456789abcdef0")
"""The heading above the ids of instances, and what one takes."""

_STYLES = {
    "REMEDIATED": "green",
    "COMPLIANT": "green",
    "PASSED": "green",
    "PENDING": "yellow",
    "under way": "yellow",
    "HELD": "yellow",
    "FAILED": "red",
    "DRIFT": "red",
    "UNREADABLE": "red",
    "interrupted": "red",
}


_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""Errors of the file that the data goes to. That a reader has left, as `head` does, is Typer's business."""


@contextmanager
def output_written() -> Iterator[None]:
    """Make it a matter of the user's if what is written within cannot be.

    Raises:
        CommandError: if the disk is full or broken.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        sys.stdout = io.StringIO()  # Python would try once more at its end, and complain
        raise CommandError(f"standard output cannot be written: {error.strerror}") from None


def say(message: str) -> None:
    """Write one line for the user to standard error; that it cannot be written changes nothing."""
    with suppress(OSError):
        typer.echo(_plain(message), err=True)


def confirmed(question: str) -> bool:
    """Ask the user; no answer is a no."""
    typer.echo(f"{_plain(question)} [y/N] ", err=True, nl=False)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def require_yes(question: str) -> None:
    """Ask the user whether to go on.

    Raises:
        Exit: with 1, unless the answer is yes.
    """
    if not confirmed(question):
        say("Nothing was changed.")
        raise typer.Exit(1)


def interactive() -> bool:
    """True if the user can be asked."""
    return sys.stdin.isatty()


def require_terminal() -> None:
    """Make sure that the user can be asked.

    Raises:
        CommandError: if there is no terminal.
    """
    if not interactive():
        raise CommandError("no terminal to ask at, so nothing was done; --yes goes on without asking")


def write_json(document: Any) -> None:
    """Write one JSON document as the command's data."""
    write_text(json.dumps(document, indent=2))


def write_text(text: str) -> None:
    r"""Write a text as the command's data: in UTF-8 and with `\n`, whatever the terminal's encoding and line ends."""
    written = text if text.endswith("\n") else f"{text}\n"
    # The name of a file may have bytes that are no text: Python has surrogates for these, and UTF-8 has none.
    typer.echo(written.encode(errors="backslashreplace"), nl=False)


def write_csv(columns: Sequence[str], documents: Sequence[Mapping[str, Any]]) -> None:
    """Write documents, as in JSON, as rows with these columns; what a map has within is a column `outer.inner`.

    A value that a spreadsheet would take for a formula is marked as text: tags are free text.
    """
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    for document in documents:
        fields = dict(_flat(document))
        writer.writerow(_field(fields.get(column)) for column in columns)
    write_text(table.getvalue())


def write_documents(
    form: Format,
    documents: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    headings: Sequence[str],
    rows: Sequence[Sequence[Cell]],
) -> None:
    """Write documents as a JSON list, as CSV with these columns, or as a table with these headings and rows."""
    match form:
        case Format.JSON:
            write_json(documents)
        case Format.CSV:
            write_csv(columns, documents)
        case Format.TABLE:
            write_table(headings, rows)


def write_document(form: Format, document: Mapping[str, Any], headings: Sequence[str], row: Sequence[Cell]) -> None:
    """Write one document, whose fields are plain values, as JSON, as CSV, or as a table of one row."""
    match form:
        case Format.JSON:
            write_json(document)
        case Format.CSV:
            write_csv(tuple(document), [document])
        case Format.TABLE:
            write_table(headings, [row])


def _flat(document: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{outer}{name}.")
        else:
            yield f"{outer}{name}", value


def _field(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(map(_field, value))
    if not isinstance(value, str):
        return json.dumps(value)
    text = _plain(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def write_table(headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, aside: bool = False) -> None:
    """Write a table as the command's data, or `aside`, on standard error; nothing if it has no rows."""
    if not rows:
        return
    stream = sys.stderr if aside else sys.stdout
    if stream.isatty():
        _print_table(stream, headings, rows)
    else:
        typer.echo("\n".join(_lines(headings, rows)), file=stream)


def _lines(headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """A line for each row, for grep and for files: rich takes half a millisecond for each, with nothing to wrap."""
    table = [headings, *(["; ".join(_phrases(cell)) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    for row in table:
        padded = (text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _print_table(terminal: TextIO, headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    console = Console(file=terminal, force_terminal=True)
    if console.measure(table, options=console.options.update(max_width=_UNBOUNDED)).maximum > console.width:
        _keep_ids_whole(table)
    console.print(table)


def _keep_ids_whole(table: Table) -> None:
    """Let the other columns give way in a table that is too wide: an id in two pieces cannot be copied."""
    for column in table.columns:
        if column.header == _IDS:
            column.width = _ID_WIDTH


def working(what: str) -> AbstractContextManager[object]:
    """Show that something is going on, at a terminal."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        return Console(stderr=True).status(Text(_plain(what)))
    return nullcontext()


def _text(cell: Cell) -> Text:
    phrases = _phrases(cell)
    style = _STYLES.get(phrases[0], "") if phrases else ""
    return Text("\n".join(phrases), style=style)


def _phrases(cell: Cell) -> list[str]:
    return [_plain(phrase) for phrase in cell if phrase]


def _plain(text: str) -> str:
    """The text in one line, and without what a terminal would obey: it may quote what others wrote."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)
