from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer_cli.console import output
from tests.fakes.command import Command
from tests.fakes.examples import an_id, an_instance

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2


@pytest.fixture
def command(clients: FakeClients, home: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, after a run that has changed an instance."""
    home.launch(an_instance(1))
    command = Command(clients, monkeypatch)
    command.sweep("run-1")
    return command


def rows(command: Command, *arguments: str, exit_code: int = 0) -> list[dict[str, str]]:
    """The rows that it writes as CSV."""
    result = command(*arguments, "--output", "csv")
    assert result.exit_code == exit_code, result.stderr
    return list(csv.DictReader(result.stdout.splitlines()))


def names(document: dict[str, Any], outer: str = "") -> set[str]:
    """The fields of a document; a nested field has both names."""
    inner = [names(value, f"{outer}{name}.") for name, value in document.items() if isinstance(value, dict)]
    own = {f"{outer}{name}" for name, value in document.items() if not isinstance(value, dict)}
    return own.union(*inner)


@pytest.mark.parametrize(
    "arguments",
    [("history", an_id(1)), ("hold", an_id(1), "--reason", "audit", "--until", "2027-01-01"), ("release", an_id(1))],
)
def test_every_field_has_a_column(command: Command, arguments: tuple[str, ...]) -> None:
    """The columns are exactly the fields of the JSON document: programs get the same data in each format."""
    command("hold", an_id(1), "--reason", "audit")
    [document] = command.json(*arguments)
    command("hold", an_id(1), "--reason", "audit")
    [row] = rows(command, *arguments)
    # The history has entries of two kinds; fields of account defaults have their own columns.
    others = {f"{of}.HttpTokensEnforced" for of in ("before", "wanted", "after")} if "history" in arguments else set()
    assert set(row) == names(document) | others


def test_a_rehearsed_revert(command: Command) -> None:
    """Its row has the plan, without an outcome."""
    [row] = rows(command, "revert", an_id(1), "--dry-run")
    assert (row["set_back.HttpTokens.now"], row["set_back.HttpTokens.before"]) == ("required", "optional")
    assert "run-1" in row["undoes"]
    assert (row["problem"], row["outcome"], row["after.HttpTokens"]) == ("", "", "")


def test_lists_and_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """A list is one field. The header is there even if there are no documents."""
    output.write_csv(["a", "b.c", "d"], [{"a": ["x", None, 1], "b": {"c": True}, "e": 3}])
    assert capsys.readouterr().out == "a,b.c,d\nx; ; 1,true,\n"
    output.write_csv(["a", "b.c"], [])
    assert capsys.readouterr().out == "a,b.c\n"
