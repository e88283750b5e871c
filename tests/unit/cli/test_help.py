"""The help of every command, including commands added later."""

from __future__ import annotations

import os
import re
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
PANELS = ["One instance", "The fleet", "The deployed enforcer", "Changes, reverts and holds", "Prevention"]
WITHOUT_AWS = {"policy check", "policy schema"}
"""Commands that do not call AWS, so they have neither a profile nor a region."""

ONE_FORMAT = {"policy schema", "guardrails scp"}
"""Commands whose document has only one possible format."""


COMMANDS = commands()


def manual(*names: str) -> str:
    """A command's `--help` on a terminal of the usual width."""
    result = CliRunner().invoke(app, [*names, "--help"], catch_exceptions=False, env={"COLUMNS": str(WIDTH)})
    assert (result.exit_code, result.stderr) == (0, "")
    return str(result.stdout)


def words(text: str) -> str:
    """The text without frames and line breaks."""
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_shown_as_they_are_typed(name: str) -> None:
    """The manual is Markdown, which would take the asterisks of two role patterns for italics."""
    examples = re.findall(r"^Example: `?(.*?)`?$", COMMANDS[name].epilog or "", re.MULTILINE)
    assert examples
    said = words(manual(*name.split()))
    assert [example for example in examples if example not in said] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name: str) -> None:
    """It says what the command does and needs, its exit codes and an example, in plain text that fits the terminal."""
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
def test_the_first_sentence_stands_alone(name: str) -> None:
    """The list of commands shows only this sentence."""
    [summary, *_] = (COMMANDS[name].help or "").split("\n\n")
    assert summary.endswith(".")
    assert len(summary) <= 2 * WIDTH


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    """Every argument has one too."""
    assert [each.name for each in COMMANDS[name].params if not getattr(each, "help", None)] == []


@pytest.mark.parametrize("name", listed())
def test_the_list_has_the_first_sentence_of_each_command(name: str) -> None:
    """It is repeated beside the command's name, so that listing the commands imports none of them."""
    command = listed()[name]
    [summary, *_] = (command.loaded.help or "").split("\n\n")
    assert command.help == " ".join(summary.split())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["nonsense"]])
def test_help_and_usage_errors_import_no_command(arguments: list[str]) -> None:
    """They do not import the AWS libraries either, which take several times as long as everything else."""
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


def test_help_of_the_whole_program() -> None:
    """It lists every command, in panels by purpose."""
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
    """`--version` prints the project's version."""
    result = CliRunner().invoke(app, ["--version"], catch_exceptions=False)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"imds-enforcer {VERSION}\n", "")


def completed(line: str) -> list[str]:
    """What bash completion offers at the end of a line."""
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
def test_shell_completion(line: str, offered: list[str]) -> None:
    """It completes commands, options and their values."""
    assert completed(line) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_of_each_shell(shell: str) -> None:
    """It is what `--install-completion` adds to the shell's configuration."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "lambda_src"),
        "_IMDS_ENFORCER_COMPLETE": f"source_{shell}",
    }
    command = [sys.executable, "-m", "imds_enforcer_cli"]
    script = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert "_IMDS_ENFORCER_COMPLETE" in script
    assert f"complete_{shell}" in script
