"""Records fixes of launch templates in a file if there is no ledger: each write appends a line."""

import json
import os
from pathlib import Path
from typing import Protocol

from imds_enforcer.ledger.template_fix import TemplateFix
from imds_enforcer.model import AwsError, Failure, Kind
from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.console.errors import CommandError

DEFAULT_FILE = Path("imds-enforcer-launches.jsonl")


class FixRecord(Protocol):
    """The record of fixes, with the latest state of each."""

    def write(self, fix: TemplateFix) -> None:
        """Write a fix, replacing its earlier state; raises `AwsError` if it cannot be written."""

    def all(self) -> list[TemplateFix]:
        """Every fix, oldest first; raises `AwsError` or `CommandError` if they cannot be read."""


class FileRecord:
    """Records fixes in a file, which need not exist yet. A line is on the disk before the change that it records."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, fix: TemplateFix) -> None:
        """Append the fix on a line of its own, even if the last line was cut short.

        Raises:
            AwsError: if the file cannot be written; with a code of our own, so that callers treat it like the table's.
        """
        try:
            cut_short = self.path.exists() and self.path.read_bytes()[-1:] not in {b"", b"\n"}
            line = f"{json.dumps(fix.as_json())}\n"
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}" if cut_short else line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            failure = Failure("RecordNotWritten", f"{self.path} cannot be written: {error.strerror}", Kind.FINAL)
            raise AwsError(failure) from None

    def all(self) -> list[TemplateFix]:
        """The last line of each fix, without lines that were cut short, for example by a full disk.

        Raises:
            CommandError: if the file cannot be read.
        """
        try:
            lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        except OSError as error:
            raise CommandError(f"{self.path} cannot be read: {error.strerror}") from None
        found: dict[tuple[str, str], TemplateFix] = {}
        for line in lines:
            try:
                fix = TemplateFix.parsed(json.loads(line))
            except (KeyError, TypeError, ValueError):
                continue
            found[fix.key] = fix
        return list(found.values())


def record_of(reached: Connection, path: Path | None) -> FixRecord:
    """The record to use: the named file, else the ledger, else the default file in the current folder."""
    if path is None and reached.deployed:
        return reached.clients.ledger_table.template_fixes
    return FileRecord(path or DEFAULT_FILE)
