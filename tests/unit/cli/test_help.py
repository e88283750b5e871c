"""Every command's manual, those that are added later included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imds_enforcer_cli import VERSION
from imds_enforcer_cli.main import app
from tests.fakes.command_tree import commands, listed

ROOT = Path(__file__).parents[3]
WIDTH = 80
PANELS = ["One instance", "The fleet", "The deployed enforcer", "What was changed, and the way back", "Prevention"]
WITHOUT_AWS = {"policy check", "policy schema"}
"""What asks nothing of AWS, and so takes neither profile nor region."""

ONE_FORMAT = {"policy schema", "guardrails scp"}
"""What writes a document of one format, which is not the command's to choose."""


COMMANDS = commands()


def manual(*names: str) -> str:
    """What `--help` writes for a command on a terminal of the usual width."""
    result = CliRunner().invoke(app, [*names, "--help"], catch_exceptions=False, env={"COLUMNS": str(WIDTH)})
    assert (result.exit_code, result.stderr) == (0, "")
    return str(result.stdout)


def words(text: str) -> str:
    """The text without frames and line breaks."""
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_manual_of_a_command(name: str) -> None:
    """What it does, what it needs, how it ends, and an example; plain, and no wider than a terminal."""
    text = manual(*name.split())
    said = words(text)
    assert f"Usage: imds-enforcer {name} " in said
    assert f"Example: imds-enforcer {name}" in said
    assert "Exit codes: 0 " in said
    assert "; 2 usage error or access denied." in said
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    offline = name in WITHOUT_AWS
    assert ("Needs the IAM actions " in said) != offline
    assert ({"--profile", "--region"} <= options) != offline
    assert ("--output" in options) == (name not in ONE_FORMAT)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize("name", COMMANDS)
def test_its_first_sentence_stands_alone(name: str) -> None:
    """It is what the list of commands has of it."""
    [summary, *_] = (COMMANDS[name].help or "").split("\n\n")
    assert summary.endswith(".")
    assert len(summary) <= 2 * WIDTH


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is(name: str) -> None:
    """And every argument."""
    assert [each.name for each in COMMANDS[name].params if not getattr(each, "help", None)] == []


@pytest.mark.parametrize("name", listed())
def test_the_list_has_the_first_sentence_of_each(name: str) -> None:
    """Written down beside its name, so that the list needs no command to be imported."""
    command = listed()[name]
    [summary, *_] = (command.loaded.help or "").split("\n\n")
    assert command.help == " ".join(summary.split())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["nonsense"]])
def test_what_needs_no_command_imports_none(arguments: list[str]) -> None:
    """Nor AWS's libraries, which take several times as long to import as all the rest."""
    program = (
        "import sys\nfrom imds_enforcer_cli.__main__ import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*(name for name in sys.modules if name.startswith(('boto', 'imds_enforcer_cli.commands'))))"
    )
    ended = subprocess.run(  # noqa: S603  # itself
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "lambda_src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines()[-1] == ""


def test_the_manual_of_the_whole() -> None:
    """Each command in the panel of what it is for."""
    text = manual()
    panels = [line.strip("╭─╮ ") for line in text.splitlines() if line.startswith("╭")]
    assert panels[0] == "Options"
    assert panels[1:] == [name for name in PANELS if name in panels]
    assert max(map(len, text.splitlines())) <= WIDTH
    said = words(text)
    assert all(f" {name.partition(' ')[0]} " in said for name in COMMANDS)
    assert "Exit codes: 0 done" in said
    assert "Example: imds-enforcer " in said
    assert all(option in said for option in ("--version", "--install-completion", "--show-completion"))


def test_the_version() -> None:
    """That of the project."""
    result = CliRunner().invoke(app, ["--version"], catch_exceptions=False)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"imds-enforcer {VERSION}\n", "")


def completed(line: str) -> list[str]:
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "lambda_src"),
        "_IMDS_ENFORCER_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    command = [sys.executable, "-m", "imds_enforcer_cli"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()  # noqa: S603


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("imds-enforcer re", ["redrive", "revert", "release"]),
        ("imds-enforcer policy s", ["show", "set", "schema"]),
        ("imds-enforcer toggle ", ["required", "optional"]),
        ("imds-enforcer history --output ", ["table", "json", "csv"]),
        ("imds-enforcer revert --dr", ["--dry-run"]),
    ],
)
def test_a_shell_completes(line: str, offered: list[str]) -> None:
    """Commands, options and their values."""
    assert completed(line) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how(shell: str) -> None:
    """By what `--install-completion` puts into its configuration."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "lambda_src"),
        "_IMDS_ENFORCER_COMPLETE": f"source_{shell}",
    }
    command = [sys.executable, "-m", "imds_enforcer_cli"]
    script = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert "_IMDS_ENFORCER_COMPLETE" in script
    assert f"complete_{shell}" in script
