"""The app, synthesized once, and a local AWS for what templates alone cannot show."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.cx_api import CloudAssembly

from infra import app, deploy
from infra.arguments import ROOT
from infra.local.client import LocalAws
from tests.infra.synthesized import FORWARDED, HOME, Stack, Synthesize


@pytest.fixture(scope="session")
def default_context() -> dict[str, Any]:
    """The context that cdk.json gives the app."""
    context: dict[str, Any] = json.loads((ROOT / "cdk.json").read_text())["context"]
    return context


@pytest.fixture(scope="session")
def synthesize(default_context: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Synthesize:
    """Synthesize the app with these values and the context's defaults; the same values only once."""
    done: dict[str, CloudAssembly] = {}

    def synthesize(**context: object) -> CloudAssembly:
        key = json.dumps(context, sort_keys=True)
        if key not in done:
            outdir = tmp_path_factory.mktemp("assembly")
            built = app.build(home_region=HOME, account=None, context=default_context | context, outdir=str(outdir))
            done[key] = built.synth()
        return done[key]

    return synthesize


@pytest.fixture(scope="session")
def assembly(synthesize: Synthesize) -> CloudAssembly:
    """The home stack and one forwarder."""
    return synthesize(regions=[FORWARDED])


@pytest.fixture(scope="session")
def home(assembly: CloudAssembly) -> Stack:
    """The home stack."""
    return Stack(assembly.get_stack_by_name("ImdsEnforcer").template)


@pytest.fixture(scope="session")
def forwarder(assembly: CloudAssembly) -> Stack:
    """The forwarder."""
    return Stack(assembly.get_stack_by_name(f"ImdsEnforcerForwarder-{FORWARDED}").template)


@pytest.fixture(scope="session")
def templates(assembly: CloudAssembly) -> list[Path]:
    """The templates as files."""
    return sorted(Path(assembly.directory).glob("*.template.json"))


@pytest.fixture(scope="session")
def asset(assembly: CloudAssembly) -> Path:
    """The function's package, as it is uploaded."""
    [folder] = Path(assembly.directory).glob("asset.*")
    return folder


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `make template`, written on a machine without AWS; `printed` is a file with the output."""
    folder = tmp_path_factory.mktemp("template")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "infra.deploy", "template", "-c", "mode=audit", f"--output={folder}"],
        cwd=ROOT,
        env={"HOME": str(Path.home()), "PATH": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder


@pytest.fixture(scope="session")
def local_aws() -> Iterator[LocalAws]:
    """A local AWS of these tests' own."""
    with LocalAws(HOME) as aws:
        yield aws


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that the CDK CLI would run, and does not run here; the deployer agrees to bootstrapping."""
    commands: list[str] = []

    def cli(arguments: list[str], _environment: Mapping[str, str], _folder: Path | str) -> int:
        commands.extend({"bootstrap", "deploy", "destroy"} & {*arguments})
        return 0

    monkeypatch.setattr(deploy, "_cli", cli)
    monkeypatch.setenv("BOOTSTRAP", "yes")
    return commands


def lead_to(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> LocalAws:
    """Point this process's environment to an account of a local AWS."""
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return aws


class Terminal(io.StringIO):
    """A terminal at which this text was typed."""

    def isatty(self) -> bool:
        """Yes, so the deployer is asked."""
        return True


def typed(monkeypatch: pytest.MonkeyPatch, answer: str) -> Terminal:
    """Replace standard input by a terminal at which the answer is typed."""
    terminal = Terminal(answer)
    monkeypatch.setattr("sys.stdin", terminal)
    return terminal
