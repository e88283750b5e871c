"""The machine's own Chromium, without a window: nothing is downloaded for it."""

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
    """The path of the browser; None if no browser is installed."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def opened(path: str) -> Iterator[Browser]:
    """The browser at this path, running."""
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses root, the usual user in a container; the pages opened here were made here.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
