"""Data for programs is UTF-8 in every locale; text for people follows their terminal."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path

import pytest

from tests.fakes.command_process import FOREIGN_LINE_ENDS, NAME, written
from tests.fakes.examples import an_id
from tests.unit.cli.test_help import COMMANDS

POLICY = "policy.json"
"""A placeholder for the name of a file that has a policy in UTF-16."""

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "verify": (an_id(2),),
    "audit": (),
    "enforce": ("--dry-run",),
    "policy show": (),
    "policy check": (POLICY,),
    "policy set": ("--yes", POLICY),
    "toggle": ("required",),
    "status": (),
    "sweep": ("--no-wait",),
    "redrive": (),
    "history": (),
    "revert": (an_id(1), "--dry-run"),
    "hold": (an_id(1), "--reason", NAME),
    "release": (an_id(1),),
    "launches": (),
    "launches fix": ("--all", "--dry-run"),
    "launches undo": (NAME, "--dry-run"),
    "set": ("--version-2-state", "required", "--instance-id", an_id(2)),
}
"""The arguments of every command that writes data in several formats."""

FORMATS = dict.fromkeys(ARGUMENTS, ("json", "csv", "table")) | {
    "audit": ("json", "csv", "table", "html", "asff", "sarif"),
    "launches": ("json", "csv", "table", "html", "sarif"),
}
WALK = [(name, form) for name, forms in FORMATS.items() for form in forms]
BEYOND_ASCII = {("audit", "csv"), ("audit", "html"), ("hold", "csv"), ("launches", "html"), ("launches undo", "csv")}
"""Outputs that show a name unchanged, or have non-ASCII text of their own; JSON escapes such characters."""

WITHOUT_ROWS = {(name, "table") for name in ("policy check", "policy set", "release", "launches fix")}

PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TERMINALS = {
    "ascii": PLAIN | {"PYTHONIOENCODING": "ascii"},
    "cp1252": PLAIN | {"PYTHONIOENCODING": "cp1252", FOREIGN_LINE_ENDS: "1"},
    "utf-8": {"LC_ALL": "C.UTF-8"},
}


def test_every_command_with_formats_is_here() -> None:
    """A new command must be added to the list."""
    formats = {name for name, command in COMMANDS.items() if any("--output" in each.opts for each in command.params)}
    assert set(ARGUMENTS) == formats


@pytest.mark.parametrize("encoding", TERMINALS)
def test_what_a_command_writes(encoding: str, tmp_path: Path) -> None:
    r"""Data is UTF-8 with `\n` and without a byte order mark; a table is what the terminal can show."""
    policy = tmp_path / POLICY
    policy.write_text('{"mode": "audit"}', encoding="utf-16")
    commands = [
        (*name.split(), *(str(policy) if each == POLICY else each for each in ARGUMENTS[name]), "--output", form)
        for name, form in WALK
    ]
    texts = dict(zip(WALK, written(commands, **TERMINALS[encoding]), strict=True))
    assert {each for each in WALK if not texts[each]} == WITHOUT_ROWS
    data = {each: content.decode("utf-8") for each, content in texts.items() if each[1] != "table"}
    assert [each for each, text in data.items() if "\r" in text or text[0] == "\N{BYTE ORDER MARK}"] == []
    assert {each for each, text in data.items() if not text.isascii()} == BEYOND_ASCII
    assert NAME in data["audit", "csv"]
    assert NAME in data["hold", "csv"]
    for (_, form), text in data.items():
        if form not in {"csv", "html"}:
            json.loads(text)
    shown = NAME.encode(encoding, "backslashreplace")
    line_end = b"\r\n" if FOREIGN_LINE_ENDS in TERMINALS[encoding] else b"\n"
    for name in ("audit", "hold"):
        assert shown in texts[name, "table"]
        assert texts[name, "table"].endswith(line_end)


def test_the_schema_is_data_too() -> None:
    """It is unchanged even on a terminal with other line ends."""
    [schema] = written([("policy", "schema")], **TERMINALS["cp1252"])
    assert schema == (files("imds_enforcer.policy") / "schema.json").read_bytes()


def test_a_file_name_that_is_not_text(tmp_path: Path) -> None:
    """The data has its bytes as escapes, as a terminal does."""
    policy = os.fsencode(tmp_path) + b"/\xff.json"
    Path(os.fsdecode(policy)).write_text("[]")
    commands = [("policy", "check", os.fsdecode(policy), "--output", form) for form in ("json", "csv", "table")]
    texts = written(commands, **TERMINALS["utf-8"])
    assert [b".json" in text and text.decode("utf-8") for text in texts] == [text.decode("utf-8") for text in texts]
