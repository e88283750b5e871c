"""The settings of `make mutants`: the modules that are mutated, their tests, and the limits."""

from __future__ import annotations

from pathlib import Path

PACKAGE = "imds_enforcer"
"""The package in lambda_src whose modules are mutated."""

FOLDERS = {name: (f"{name}/*.py",) for name in ("decision", "limits", "ledger", "policy")}
"""The modules that are mutated, as patterns within the package, by the folder under which the report counts them."""

TESTS = (
    "tests/unit/enforcer",
    "tests/unit/invariants",
    # Only the command uses policy/document.py.
    "tests/unit/cli/commands/test_policy.py",
    "tests/unit/cli/commands/test_policy_set.py",
)
"""The tests that pytest collects. For each mutant it runs those that call the mutated function."""

NOT_TESTS = (
    # Its fleets take a fifth of the time of all tests.
    "tests/unit/enforcer/runs/test_sweep_at_scale.py",
)
"""Patterns of tests to leave out of TESTS."""

EXAMPLES = 30
"""The number of examples that Hypothesis tries for a mutant, the same ones in every run."""

SAMPLE = Path(__file__).with_name("sample.txt")
"""The file with the mutants to test, one a line."""

SEED = 11
SIZE = 400
WORKERS = 2
MINUTES = 20
