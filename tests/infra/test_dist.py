"""`make dist`: a release, and the command from its wheel alone."""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from email.parser import Parser
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from infra import dist, package, templates
from infra.arguments import ROOT, DeployError
from infra.checks import SCHEMA
from infra.local.client import LocalAws

ACCOUNT = "210987654322"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
WHEELS = Path(sys.prefix) / "wheels"
"""The command's libraries, which `make` fetches."""


def test_the_same_sources_make_the_same_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the rights of the files, and whatever was there before; the sums are those of the files."""
    first, second = tmp_path / "first", tmp_path / "second"
    dist.write(first)
    files = {path.name: path.read_bytes() for path in first.iterdir()}
    [code] = (name for name in files if name.endswith(".zip"))
    assert {*files} == {
        f"imds_enforcer-{VERSION}-py3-none-any.whl",
        f"imds_enforcer-{VERSION}.tar.gz",
        "ImdsEnforcer.template.json",
        "ImdsEnforcerForwarder.template.json",
        "ImdsEnforcerState.template.json",
        "ImdsEnforcerState.first-values.json",
        "ImdsEnforcerState.stack-policy.json",
        "policy.schema.json",
        "SHA256SUMS",
        code,
    }
    assert files["policy.schema.json"] == SCHEMA.read_bytes()
    assert json.loads(files["ImdsEnforcer.template.json"])["Outputs"]["Version"]["Value"] == VERSION
    sums = files["SHA256SUMS"].decode()
    assert sums.splitlines() == [
        f"{sha256(files[name]).hexdigest()}  {name}" for name in sorted(files) if name != "SHA256SUMS"
    ]

    second.mkdir()
    (second / "imds_enforcer-0.1.0.tar.gz").touch()
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    usual = os.umask(0o077)
    try:
        dist.write(second)
    finally:
        os.umask(usual)
    assert [name for name, content in files.items() if (second / name).read_bytes() != content] == []
    assert len([*second.iterdir()]) == len(files)


def test_without_templates_there_is_no_release(
    default_context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of the project's own context: what a user has beside it would make a release of his own."""
    (tmp_path / ".cdk.json").write_text('{"context": {"floor": "required"}}')
    monkeypatch.setenv("HOME", str(tmp_path))
    contexts: list[Mapping[str, Any]] = []

    def refuse(_folder: Path, context: Mapping[str, Any], *_: object) -> str:
        contexts.append(context)
        return ""

    monkeypatch.setattr(templates, "write", refuse)
    with pytest.raises(DeployError, match=r"^there is no release without its templates$"):
        dist.write(tmp_path / "release")
    assert contexts == [default_context]


def test_it_says_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And on what the bytes depend, beside the sources."""
    monkeypatch.setattr(dist, "FOLDER", tmp_path)
    monkeypatch.setattr(dist, "write", lambda folder: (folder / dist.SUMS).touch())
    monkeypatch.setattr(package, "RUNTIME", (3, 99))
    dist.main()
    written = capsys.readouterr().out
    assert written.startswith(f"In {os.path.relpath(tmp_path)}:\n  SHA256SUMS\n")
    assert f"version of Python, here {sys.version_info[0]}.{sys.version_info[1]}:" in written
    assert written.endswith(package.byte_code_missing())


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the command's sdist and wheel."""
    folder = tmp_path_factory.mktemp("command")
    dist.write_command(folder)
    return folder


def test_the_wheel_has_every_file_of_the_packages(command: Path) -> None:
    """What says that they are typed, the policy's schema and the page of the report included; and so has the sdist."""
    sources = {
        path.relative_to(ROOT / "lambda_src").as_posix(): path.read_bytes()
        for name in ("imds_enforcer", "imds_enforcer_cli")
        for path in (ROOT / "lambda_src" / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"imds_enforcer/py.typed", "imds_enforcer_cli/py.typed", "imds_enforcer/policy/schema.json"} <= {*sources}
    [wheel] = command.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        notes = f"imds_enforcer-{VERSION}.dist-info/"
        contents = {name: packed.read(name) for name in packed.namelist() if not name.startswith(notes)}
        metadata = Parser().parsestr(packed.read(f"{notes}METADATA").decode())
    assert contents == sources
    assert metadata["Version"] == VERSION
    [sdist] = command.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {*archive.getnames()}
        assert {f"imds_enforcer-{VERSION}/lambda_src/{name}" for name in sources} <= names
        assert {(each.mtime, each.uid, each.uname, each.mode) for each in archive} == {(315_532_800, 0, "", 0o644)}


def test_twine_finds_nothing(command: Path) -> None:
    """No errors and no warnings."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "twine", "check", "--strict", *command.iterdir()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done.stdout + done.stderr


def test_the_wheel_is_all_that_an_operator_needs(command: Path, local_aws: LocalAws, tmp_path: Path) -> None:
    """In a bare environment, without an index: the command says its version, prints the schema and audits."""
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False, symlinks=True)
    [wheel] = command.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--isolated", f"--python={bare}"]
    options = ["--quiet", "--no-compile", "--no-index", f"--find-links={WHEELS}"]
    subprocess.run([*pip, "install", *options, str(wheel)], check=True)  # noqa: S603
    aws = local_aws.in_account(ACCOUNT)
    [instance] = aws.launch(HttpTokens="optional")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603
            [bare / "bin" / "imds-enforcer", *arguments],
            cwd=tmp_path,
            env={name: value for name, value in aws.environment().items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("--version").stdout == f"imds-enforcer {VERSION}\n"
    assert run("policy", "schema").stdout == SCHEMA.read_text("utf-8")
    audit = run("audit", "--regions", aws.region, "--output", "json")
    assert audit.returncode == 1, audit.stderr
    found = {each["instance_id"]: each["status"] for each in json.loads(audit.stdout)["instances"]}
    assert found == {instance: "DRIFT"}
