"""What every sub-command shares: its streams, and its libraries."""

from __future__ import annotations

import gc
import io
import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imds_enforcer_cli import __main__ as start
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.console import output
from imds_enforcer_cli.main import app

ROOT = Path(__file__).parents[3]


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Always true."""
        return True


@pytest.mark.parametrize("group", [(), ("policy",)])
def test_without_a_command_it_shows_its_help(group: tuple[str, ...]) -> None:
    """The output is that of `--help`; a group of commands does the same."""
    alone, asked = (CliRunner().invoke(app, [*group, *option]) for option in ((), ("--help",)))
    assert (alone.exit_code, alone.stderr) == (0, "")
    assert f"Usage: {' '.join(('imds-enforcer', *group))} [OPTIONS] COMMAND" in alone.stdout
    assert alone.stdout == asked.stdout


@pytest.mark.parametrize("group", [(), ("policy",)])
def test_an_unknown_command(group: tuple[str, ...]) -> None:
    """One line names the help to read."""
    result = CliRunner().invoke(app, [*group, "fix"])
    assert (result.exit_code, result.stdout) == (2, "")
    where = " ".join(("imds-enforcer", *group))
    assert result.stderr == f"imds-enforcer: No such command 'fix'. (see {where} --help)\n"


def test_an_interrupt_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is the one that shells report for it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "connect", interrupt)
    result = CliRunner().invoke(app, ["history"])
    assert (result.exit_code, result.output) == (130, "")


def test_an_end_of_input_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may happen while a profile asks for an MFA code."""

    def end(*_: object) -> None:
        raise EOFError

    monkeypatch.setattr(connection, "connect", end)
    assert CliRunner().invoke(app, ["history"]).exit_code == 130


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_full_disk_ends_without_a_traceback(tmp_path: Path, form: str) -> None:
    """One line says so, even if Python would write the data only at exit."""
    (tmp_path / "policy.json").write_text('{"mode": 1}')
    command = [sys.executable, "-m", "imds_enforcer_cli", "policy", "check", "policy.json", "--output", form]
    environment = {"PYTHONPATH": str(ROOT / "lambda_src")}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(  # noqa: S603  # itself
            command, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, env=environment, text=True, check=False
        )
    refusal = "imds-enforcer: standard output cannot be written: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (2, refusal)


def test_a_bug_ends_in_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user needs the traceback to report the bug."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(connection, "connect", fail)
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(app, ["history"], catch_exceptions=False)


ROWS = [(("i-1", "eu-west-1"), ("REMEDIATED",)), (("i-2",), ("FAILED",))]


def test_a_table_on_a_terminal_has_colours_and_a_line_for_each_phrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """People read it."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.write_table(["INSTANCE", "OUTCOME"], ROWS)
    text = terminal.getvalue()
    assert "\x1b[32mREMEDIATED" in text
    assert "\x1b[31mFAILED" in text
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["i-1", "eu-west-1", "i-2"]


def test_a_table_elsewhere_has_a_line_for_each_row_and_columns_below_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As a reader sees them: some characters take two columns."""
    output.write_table(["INSTANCE", "OUTCOME"], [*ROWS, (("i-3", "\u6771\u4eac"), ())])
    assert capsys.readouterr().out.splitlines() == [
        "INSTANCE        OUTCOME",
        "i-1; eu-west-1  REMEDIATED",
        "i-2             FAILED",
        "i-3; \u6771\u4eac",
    ]


def test_ids_stay_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user can copy them. Nothing else is lost, and on a wide terminal nothing is wrapped."""
    row = (("i-0123456789abcdef0", "the name of an instance"), *[("what takes place",)] * 6)
    headings = ["INSTANCE", *"ABCDEF"]
    texts = {}
    for columns in (80, 150):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        output.write_table(headings, [row])
        texts[columns] = terminal.getvalue()
        assert max(map(len, texts[columns].splitlines()[1:])) <= columns
        assert texts[columns].count("what") == 6
    assert "i-0123456789abcdef0 " in texts[80]
    assert "the name of an instance" in texts[150]


def test_a_table_off_a_terminal_is_plain_with_one_line_per_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That suits grep, however long a line is, even if the environment forces colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    long = "x" * 300
    output.write_table(["INSTANCE", "OUTCOME"], [*ROWS, (("i-3",), (long, ""))])
    table = [
        "INSTANCE        OUTCOME",
        "i-1; eu-west-1  REMEDIATED",
        "i-2             FAILED",
        f"i-3             {long}",
    ]
    assert capsys.readouterr().out.splitlines() == table


def test_a_table_without_rows_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that counts lines finds none, not even headings."""
    output.write_table(["INSTANCE"], [])
    assert capsys.readouterr().out == ""


def test_text_from_others_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """It may be a reason with escape sequences, or with markup."""
    output.write_table(["REASON"], [(("\x1b]0;pwned\x07 [red]no[/red]\nnext",),)])
    output.say("\x1b[2J and\nso on")
    out, err = capsys.readouterr()
    assert out == "REASON\n�]0;pwned� [red]no[/red] next\n"
    assert err == "�[2J and so on\n"


def test_progress_is_shown_only_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the stream without data."""
    with output.working("Reverting"):
        pass
    assert capsys.readouterr() == ("", "")
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    with output.working("Reverting"):
        pass
    assert "Reverting" in err.getvalue()
    assert out.getvalue() == ""


def test_json_is_plain_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """Every reader can decode it, whatever its encoding."""
    output.write_json({"reason": "→"})
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {"reason": "→"}


def test_it_can_ask_only_if_the_input_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no user at the end of a pipe."""
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert output.interactive()
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert not output.interactive()


def test_the_usage_line_has_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts even on a terminal whose encoding lacks an arrow."""
    written = io.BytesIO()
    out = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["__main__.py", "--help"])
    with pytest.raises(SystemExit) as ending:
        start.main()
    assert ending.value.code == 0
    out.flush()
    assert b"Usage: imds-enforcer" in written.getvalue()
    assert out.errors == "backslashreplace"


def test_garbage_collections_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fleet in memory is in use to the end."""
    thresholds: list[int] = []
    monkeypatch.setattr(gc, "set_threshold", thresholds.append)
    monkeypatch.setattr(sys, "argv", ["__main__.py", "--version"])
    with pytest.raises(SystemExit):
        start.main()
    assert thresholds == [10_000]


def test_an_answer_that_cannot_be_decoded_means_no(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not end in a traceback."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xc3\xa4\n"), encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["__main__.py", "--version"])
    with pytest.raises(SystemExit):
        start.main()
    assert not output.confirmed("Change 2 instances?")
    assert capsys.readouterr().err == "Change 2 instances? [y/N] "


def test_the_tests_use_the_installed_versions() -> None:
    """The command and the tests take their pins from the same files."""
    dynamic = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["dynamic"]
    files = dynamic["dependencies"]["file"]
    assert files == ["lambda_src/requirements.in", "lambda_src/cli.in"]
    tested = (ROOT / "tests" / "requirements.in").read_text()
    assert not [file for file in files if f"-r ../{file}\n" not in tested]


def test_the_crt_version_is_the_one_that_botocore_requires() -> None:
    """The command's botocore is the function's, which is packaged without the CRT."""
    [crt] = [each for each in metadata.requires("botocore") or () if "crt" in each.partition(";")[2]]
    [version] = re.findall(r"^awscrt *\(?==([\d.]+)", crt)
    for file in ("lambda_src/cli.txt", "tests/requirements.txt"):
        assert f"\nawscrt=={version} " in (ROOT / file).read_text()
    functions = (ROOT / "lambda_src" / "requirements.txt").read_text()
    [botocore] = re.findall(r"^botocore\[crt\](.*)", (ROOT / "lambda_src" / "cli.in").read_text(), re.MULTILINE)
    assert f"\nbotocore{botocore} " in functions
    assert "awscrt" not in functions
