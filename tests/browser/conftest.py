"""A real browser for the tests, if the machine has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra.pictures.browser import NAMES, installed, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, closed after each module: its event loop in this thread would break tests that need their own."""
    path = installed()
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(NAMES)} is on the PATH")
    with opened(path) as browser:
        yield browser
