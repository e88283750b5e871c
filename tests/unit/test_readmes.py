"""The READMEs name only what exists, and everything that a reader must know."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "lambda_src"
PACKAGES = ("imds_enforcer", "imds_enforcer_cli")
START = (SOURCES / "README.md").read_text("utf-8")
PATHS = {
    "README.md": [ROOT],
    "lambda_src/README.md": [SOURCES / "imds_enforcer", SOURCES / "imds_enforcer_cli", SOURCES, ROOT],
    "tests/README.md": [ROOT / "tests", ROOT / "tests" / "unit", SOURCES / "imds_enforcer", ROOT],
    "tests/bench/README.md": [ROOT],
}
"""The READMEs that name paths, each with the folders that its paths start from."""

READMES = [*PATHS, "infra/README.md", "infra/local/README.md"]

MADE = (".venv", ".build")
"""Folders that `make` creates."""

_CODE_BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_PATH = re.compile(r"`(\w[\w.-]*/[\w./-]*|[\w./-]+\.(?:py|json|md|txt))`")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def prose(readme: str) -> str:
    """A README without its examples."""
    return _CODE_BLOCK.sub("", (ROOT / readme).read_text("utf-8"))


@pytest.mark.parametrize("readme", PATHS)
def test_every_path_that_is_named_exists(readme: str) -> None:
    """Paths of folders too."""
    paths = [path for path in _PATH.findall(prose(readme)) if not path.startswith(MADE)]
    assert [path for path in paths if not any((folder / path).exists() for folder in PATHS[readme])] == []


@pytest.mark.parametrize("readme", READMES)
def test_every_link_leads_somewhere(readme: str) -> None:
    """Every link within the project."""
    folder = (ROOT / readme).parent
    assert [link for link in _LINK.findall(prose(readme)) if not (folder / link).exists()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_folder_has_a_line(package: str) -> None:
    """In its package's table, which has no other lines."""
    table = re.search(rf"^\| `{package}/` \|.*\n((?:\|.*\n)+)", START, re.MULTILINE)
    assert table
    folders = {path.parent.name for path in (SOURCES / package).glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)/` \|", table[1], re.MULTILINE)) == folders


def test_the_drawing_matches_the_contracts() -> None:
    """Layer by layer, as import-linter enforces them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = {package: contract["layers"] for contract in contracts for package in contract.get("containers", ())}
    drawing = re.search(r"```text\nimds_enforcer  .*\n\n((?:.+\n)+)```", START)
    assert drawing
    columns = zip(*(re.split(r" {2,}", line) for line in drawing[1].splitlines()), strict=True)
    assert dict(zip(PACKAGES, (list(filter(None, each)) for each in columns), strict=True)) == layers


def test_the_root_readme_can_be_read_in_one_go() -> None:
    """It has 1,700 words at most; anything more belongs in a folder's README."""
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 1_700
