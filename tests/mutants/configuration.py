"""What is mutated, what it is tested by, and the limits: everything that `make mutants` can be set to."""

from __future__ import annotations

from pathlib import Path

PACKAGE = "imds_enforcer"
"""The package in lambda_src whose modules are mutated."""

FOLDERS = {name: (f"{name}/*.py",) for name in ("decision", "limits", "ledger", "policy")}
"""The modules that are mutated, as patterns within the package, by the folder that the report counts them under."""

TESTS = (
    "tests/unit/enforcer",
    "tests/unit/invariants",
    # The command alone shows policy/document.py at work.
    "tests/unit/cli/commands/test_policy.py",
    "tests/unit/cli/commands/test_policy_set.py",
)
"""What pytest collects. Each mutant is given those of these tests that call the mutated function."""

NOT_TESTS = (
    # Its fleets take a fifth of the time of all tests.
    "tests/unit/enforcer/runs/test_sweep_at_scale.py",
)
"""What is left out of TESTS, as patterns."""

EXAMPLES = 30
"""The examples that Hypothesis tries for a mutant, the same every time."""

SAMPLE = Path(__file__).with_name("sample.txt")
"""The mutants that are tested, a line each."""

SEED = 11
SIZE = 400
WORKERS = 2
MINUTES = 20
