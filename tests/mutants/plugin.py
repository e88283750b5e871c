"""What pytest does otherwise when it tests mutants: few examples, the same every time, and quick tests first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import is_hypothesis_test, settings

from tests.mutants.configuration import EXAMPLES

if TYPE_CHECKING:
    import pytest

PROFILE = "mutants"

settings.register_profile(PROFILE, derandomize=True, database=None, deadline=None, max_examples=EXAMPLES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests, those with many examples last: the first failure ends a run."""
    items.sort(key=lambda item: (is_hypothesis_test(getattr(item, "obj", None)), item.nodeid))
