"""Where fixes of launch templates are written down where there is no ledger: a file, one line for each writing."""

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
    """What was done about launch templates, the latest writing of each fix."""

    def write(self, fix: TemplateFix) -> None:
        """Write a fix, in place of its older version; raises `AwsError` if it cannot be written."""

    def all(self) -> list[TemplateFix]:
        """Every fix, oldest first; raises `AwsError` or `CommandError` if they cannot be read."""


class FileRecord:
    """Fixes in a file, which need not be there yet. A line is on the disk before the change it is about."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, fix: TemplateFix) -> None:
        """Add a line, of its own also after one that was cut short.

        Raises:
            AwsError: if the file cannot be written, with a code of our own, as where a table cannot be.
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
        """The last line of each fix; one that was cut short, as when the disk is full, is left out.

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
    """Where fixes are written down: in the file that is named, else the ledger, else the file of this folder."""
    if path is None and reached.deployed:
        return reached.clients.ledger_table.template_fixes
    return FileRecord(path or DEFAULT_FILE)
