"""Makes the pictures in the README, from an audit of a fleet that does not exist."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imds_enforcer_cli.audit.judge import Status
from imds_enforcer_cli.console.output import write_table
from imds_enforcer_cli.formats.html_page import html_report
from imds_enforcer_cli.formats.tables import INSTANCE_HEADINGS, instance_row
from infra.pictures.browser import NAMES, installed, opened
from infra.pictures.fleet import document
from infra.pictures.terminal import picture

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent
REPORT, TERMINAL = FOLDER / "report.png", FOLDER / "terminal.svg"
_WIDTH, _HEIGHT = 1280, 960
_COLUMNS, _OF_EACH = 140, 2


def main() -> None:
    """Make both."""
    path = installed()
    if path is None:
        sys.exit(f"no browser is installed: none of {', '.join(NAMES)} is on the PATH")
    audit = document()
    TERMINAL.write_text(
        picture(lambda: _table(audit), command="imds-enforcer audit", columns=_COLUMNS), encoding="utf-8"
    )
    _report(path, audit)


def _report(path: str, audit: Mapping[str, Any]) -> None:
    """The first screen of the report, on a light desk."""
    with tempfile.TemporaryDirectory() as folder, opened(path) as browser:
        file = Path(folder) / "audit.html"
        file.write_text(html_report(audit), encoding="utf-8")
        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, color_scheme="light")
        page.goto(file.as_uri())
        page.screenshot(path=REPORT)


def _table(audit: Mapping[str, Any]) -> None:
    """Some instances that are not as the policy wants them, as on a terminal: the first of each status."""
    by_status = {status: [each for each in audit["instances"] if each["status"] == status] for status in Status}
    shown = [each for status, found in by_status.items() if not status.compliant for each in found[:_OF_EACH]]
    write_table(INSTANCE_HEADINGS, [instance_row(each) for each in shown])


main()
