"""A Chromium of the machine's own, without a window: nothing is downloaded for it."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")


def installed() -> str | None:
    """Where the browser is; None if there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def opened(path: str) -> Iterator[Browser]:
    """The browser at this path, running."""
    with sync_playwright() as playwright:
        # Root has no sandbox to go into, in a container above all; what is opened here was made here.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
