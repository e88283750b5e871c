"""Changes to pytest for mutants: few examples, the same in every run, and the most likely tests first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import Phase, is_hypothesis_test, settings

from tests.mutants.configuration import EXAMPLES

if TYPE_CHECKING:
    import pytest

PROFILE = "mutants"

# One failure is enough: Hypothesis would take minutes to search for a smaller one.
settings.register_profile(
    PROFILE,
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests; mutmut names the current mutant in the environment."""
    mutant = os.environ.get("MUTANT_UNDER_TEST", "")
    items.sort(key=lambda item: rank(mutant, item.nodeid, of_examples=is_hypothesis_test(getattr(item, "obj", None))))


def rank(mutant: str, test: str, *, of_examples: bool) -> tuple[bool, bool, str]:
    """The position of a test: first those named after the mutant's module or folder, and of these the fast ones.

    The first failure ends the run.
    """
    module_and_folder = mutant.split(".")[1:-1]
    path = test.partition("::")[0]
    return not any(name in path for name in module_and_folder), of_examples, test
