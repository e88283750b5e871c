"""What is mutated, what it is tested by, and the limits: everything that `make mutants` can be set to."""

from __future__ import annotations

from pathlib import Path

PACKAGE = "imds_enforcer"
"""The package in lambda_src whose modules are mutated."""

FOLDERS = {
    "decision": ("decision.py", "legacy_calls.py", "verification.py"),
    "limits": ("allowance.py", "breaker.py", "limits.py", "mandate.py", "pacing.py"),
    "ledger": ("ledger.py", "recovery.py", "undo.py"),
    "policy": ("policy.py", "policy_parser.py", "safeguards.py"),
}
"""The modules that are mutated, as patterns within the package, by the folder that the report counts them under."""

TESTS = ("tests/unit",)
"""What pytest collects. Each mutant is given those of these tests that call the mutated function."""

NOT_TESTS = (
    # Not tests of the enforcer.
    "tests/unit/test_audit_peers.py",
    "tests/unit/test_bench_*.py",
    "tests/unit/test_cli_*.py",
    "tests/unit/test_costs.py",
    "tests/unit/test_mutants.py",
    "tests/unit/test_pictures.py",
    # It looks for the modules in lambda_src.
    "tests/unit/test_imports.py",
    # Its fleets take as long as all others together.
    "tests/unit/test_sweep_at_scale.py",
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
