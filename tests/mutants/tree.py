"""The copy of the project that mutmut works in: it wants the sources in src, and its options in pyproject.toml."""

from __future__ import annotations

import ast
import json
import shutil
import tomllib
from typing import TYPE_CHECKING, Any

from tests.mutants.configuration import FOLDERS, NOT_TESTS, PACKAGE, TESTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONTROL = "mutation_control.x_without_effect__mutmut_1"
"""A mutant without effect, for every test: if it does not survive, something other than the mutation fails tests."""

_CONTROL_MODULE = """\
def without_effect() -> None:
    _ = 1
"""

_CONFTEST = """\
from mutation_control import without_effect
from tests.mutants.plugin import pytest_collection_modifyitems


def pytest_runtest_setup():
    without_effect()
"""

_IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "results")


def plant(project: Path, tree: Path) -> None:
    """Copy the project to a new folder, ready for mutation."""
    shutil.copytree(project / "lambda_src", tree / "src", ignore=_IGNORED)
    for name in ("infra", "tests"):
        shutil.copytree(project / name, tree / name, ignore=_IGNORED)
    for modules in mutated(tree).values():
        for path in modules:
            path.write_text(with_plain_properties(path.read_text()))
    (tree / "src" / "mutation_control.py").write_text(_CONTROL_MODULE)
    (tree / "conftest.py").write_text(_CONFTEST)
    pytest_options = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    pytest_options |= {"pythonpath": ["src", "."], "addopts": []}
    tables = {"tool.pytest.ini_options": pytest_options, "tool.mutmut": _mutmut_options(tree)}
    (tree / "pyproject.toml").write_text("\n".join(_table(name, values) for name, values in tables.items()))


def mutated(tree: Path) -> dict[str, list[Path]]:
    """The modules that are mutated, by folder.

    Raises:
        FileNotFoundError: A pattern of the configuration matches no module.
    """
    modules: dict[str, list[Path]] = {}
    for folder, patterns in FOLDERS.items():
        for pattern in patterns:
            found = sorted((tree / "src" / PACKAGE).glob(pattern))
            if not found:
                raise FileNotFoundError(f"no module matches {PACKAGE}/{pattern}: correct FOLDERS in configuration.py")
            modules.setdefault(folder, []).extend(found)
    return modules


def with_plain_properties(source: str) -> str:
    """Make each `@property` an assignment after its function: mutmut leaves decorated functions alone."""
    lines = source.splitlines(keepends=True)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for function in sorted(functions, key=lambda node: node.lineno, reverse=True):
        if [ast.unparse(decorator) for decorator in function.decorator_list] == ["property"]:
            assert function.end_lineno is not None
            indent = " " * function.col_offset
            lines.insert(function.end_lineno, f"{indent}{function.name} = property({function.name})\n")
            del lines[function.decorator_list[0].lineno - 1]
    return "".join(lines)


def _mutmut_options(tree: Path) -> dict[str, Any]:
    modules = [str(path.relative_to(tree)) for paths in mutated(tree).values() for path in paths]
    return {
        "source_paths": ["src"],
        "also_copy": ["infra", "conftest.py"],
        "only_mutate": [*modules, "src/mutation_control.py"],
        # A worker is forked after pytest has collected the tests and closed its captured output, so nothing may be
        # captured.
        "pytest_add_cli_args": ["-s", "-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": [*TESTS, *(f"--ignore-glob={pattern}" for pattern in NOT_TESTS)],
        # Tests start threads, so each worker is forked from a process that has run no test.
        "process_isolation": "forkserver",
        # Three times as long as without a mutation, plus 15 s for a busy machine.
        "timeout_multiplier": 3.0,
        "timeout_constant": 5.0,
        "track_dependencies": False,
        "use_git_change_detection": False,
        # The output of a failing test goes to the log.
        "debug": True,
    }


def _table(name: str, values: Mapping[str, Any]) -> str:
    """A table of TOML; JSON's strings, numbers, booleans and lists are TOML's too."""
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])
