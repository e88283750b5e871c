"""A command's output: data on standard output, everything else on standard error."""

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
"""One field of a table, as phrases: one below the other on a terminal, on one line elsewhere."""

_UNBOUNDED = 100_000
"""A width that every table fits into."""

_IDS, _ID_WIDTH = "INSTANCE", len("i-0123456789abcdef0")
"""The heading above instance ids, and the width of one id."""

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
"""Errors of the file that receives the data. Typer itself handles a closed pipe, as from `head`."""


@contextmanager
def output_written() -> Iterator[None]:
    """Turn a failure to write the output into an error for the user.

    Raises:
        CommandError: if the disk is full or broken.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        sys.stdout = io.StringIO()  # Python would try to write it again at exit, and complain
        raise CommandError(f"standard output cannot be written: {error.strerror}") from None


def say(message: str) -> None:
    """Write one line for the user to standard error; ignore it if standard error cannot be written."""
    with suppress(OSError):
        typer.echo(_plain(message), err=True)


def confirmed(question: str) -> bool:
    """Ask the user; no answer means no."""
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
    """True if there is a terminal to ask the user at."""
    return sys.stdin.isatty()


def require_terminal() -> None:
    """Make sure that there is a terminal to ask the user at.

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
    # A file name may have bytes that are not text: Python represents them as surrogates, which UTF-8 cannot encode.
    typer.echo(written.encode(errors="backslashreplace"), nl=False)


def write_csv(columns: Sequence[str], documents: Sequence[Mapping[str, Any]]) -> None:
    """Write JSON documents as CSV rows with these columns; a nested field is the column `outer.inner`.

    A value that a spreadsheet would read as a formula is marked as text, because tags are free text.
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
    """Write the documents as a JSON list, as CSV with these columns, or as a table with these headings and rows."""
    match form:
        case Format.JSON:
            write_json(documents)
        case Format.CSV:
            write_csv(columns, documents)
        case Format.TABLE:
            write_table(headings, rows)


def write_document(form: Format, document: Mapping[str, Any], headings: Sequence[str], row: Sequence[Cell]) -> None:
    """Write one flat document as JSON, as CSV, or as a table of one row."""
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
    """Write a table as the command's data, or with `aside` to standard error; a table without rows is not written."""
    if not rows:
        return
    stream = sys.stderr if aside else sys.stdout
    if stream.isatty():
        _print_table(stream, headings, rows)
    else:
        typer.echo("\n".join(_lines(headings, rows)), file=stream)


def _lines(headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """A line for each row, for grep and for files.

    For each row rich would take half a millisecond, although there is nothing to wrap.
    """
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
    """In a table that is too wide, wrap the other columns: an id on two lines cannot be copied."""
    for column in table.columns:
        if column.header == _IDS:
            column.width = _ID_WIDTH


def working(what: str) -> AbstractContextManager[object]:
    """Show on a terminal that the command is working."""
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
    """The text on one line, without control characters: it may quote text from others."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)
