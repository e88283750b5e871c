"""The import contracts of `make lint`: each is kept, and breaks if an import is added that it forbids."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "pyproject.toml"
PACKAGES = ("imds_enforcer", "imds_enforcer_cli")


class Case(NamedTuple):
    """An import in a module, and the contract that forbids it."""

    contract: str
    module: str
    statement: str
    reported: str


ENFORCER = "The enforcer's folders import downwards only"
COMMAND = "The command's folders import downwards only"
UPLOADED = "The enforcer does not import the command"
BOTO3 = "Only aws/ imports boto3"
COMMAND_BOTO3 = "Of the command, only account/ imports boto3"
GUARDRAILS = "guardrails/ imports the policy and no AWS client"
POWERTOOLS = "Only reporting/telemetry imports Powertools"

CASES = [
    Case(ENFORCER, "imds_enforcer.model.wording", "from imds_enforcer.policy import Policy", "imds_enforcer.policy"),
    Case(
        ENFORCER,
        "imds_enforcer.limits.pacing",
        "from imds_enforcer.ledger.entry import Entry",
        "imds_enforcer.ledger.entry",
    ),
    Case(
        ENFORCER,
        "imds_enforcer.enforcement.gate",
        "from imds_enforcer.reporting import telemetry",
        "imds_enforcer.reporting.telemetry",
    ),
    Case(
        ENFORCER,
        "imds_enforcer.policy.safeguards",
        "if TYPE_CHECKING:\n    from imds_enforcer.application import Application",
        "imds_enforcer.application",
    ),
    Case(
        COMMAND,
        "imds_enforcer_cli.console.progress",
        "from imds_enforcer_cli.account import regions",
        "imds_enforcer_cli.account.regions",
    ),
    Case(
        COMMAND,
        "imds_enforcer_cli.audit.judge",
        "from imds_enforcer_cli.runs import sweep_report",
        "imds_enforcer_cli.runs.sweep_report",
    ),
    Case(UPLOADED, "imds_enforcer.settings", "from imds_enforcer_cli import VERSION", "imds_enforcer_cli"),
    Case(BOTO3, "imds_enforcer.runs.run", "import boto3", "boto3"),
    Case(BOTO3, "imds_enforcer.runs.batch", "if TYPE_CHECKING:\n    import botocore.client", "botocore"),
    Case(COMMAND_BOTO3, "imds_enforcer_cli.commands.hold", "import boto3", "boto3"),
    Case(
        GUARDRAILS,
        "imds_enforcer_cli.guardrails.scp",
        "from imds_enforcer.aws import services",
        "imds_enforcer.aws.services",
    ),
    Case(POWERTOOLS, "imds_enforcer.handler", "import aws_lambda_powertools", "aws_lambda_powertools"),
]
UNLISTED = "imds_enforcer.helpers"


def lint(sources: Path) -> tuple[int, str]:
    """The linter's exit code for the packages in this folder, and its output."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo", str(SETTINGS)]
    done = subprocess.run(  # noqa: S603  # the linter that is installed beside this interpreter
        command, cwd=sources, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the linter reports about each contract, by name, once every forbidden import is added."""
    sources = tmp_path_factory.mktemp("sources")
    for package in PACKAGES:
        shutil.copytree(ROOT / "lambda_src" / package, sources / package, ignore=shutil.ignore_patterns("__pycache__"))
    for case in CASES:
        with (sources / f"{case.module.replace('.', '/')}.py").open("a") as module:
            module.write(f"\n{case.statement}\n")
    (sources / f"{UNLISTED.replace('.', '/')}.py").touch()
    status, said = lint(sources)
    assert status == 1
    sections, name = {"": ""}, ""
    for line in said.partition("Broken contracts\n")[2].splitlines():
        if line in names():
            name = line
        sections[name] = f"{sections.get(name, '')}{line}\n"
    return sections


def names() -> set[str]:
    """The names of the contracts."""
    settings = tomllib.loads(SETTINGS.read_text("utf-8"))["tool"]["importlinter"]
    return {contract["name"] for contract in settings["contracts"]}


def test_all_contracts_are_kept() -> None:
    """The packages as they are break none."""
    status, said = lint(ROOT / "lambda_src")
    assert status == 0, said


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.module}->{case.reported}")
def test_a_forbidden_import_breaks_its_contract(broken: dict[str, str], case: Case) -> None:
    """Also between folders of one layer, and for type checkers only."""
    assert f"{case.module} -> {case.reported} (l." in broken[case.contract]


def test_a_new_folder_or_module_needs_a_layer(broken: dict[str, str]) -> None:
    """Without one it could import anything."""
    assert f"- {UNLISTED}\n" in broken[ENFORCER]


def test_every_contract_has_a_case() -> None:
    """A new contract needs one too."""
    assert {case.contract for case in CASES} == names()
