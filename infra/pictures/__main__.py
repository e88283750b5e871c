"""Makes the pictures in the README, from an audit of a fleet that does not exist."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imds_enforcer_cli.html_report import html_report
from imds_enforcer_cli.output import write_table
from infra.pictures.browser import NAMES, installed, opened
from infra.pictures.fleet import document
from infra.pictures.terminal import picture

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent
REPORT, TERMINAL = FOLDER / "report.png", FOLDER / "terminal.svg"
_WIDTH, _HEIGHT = 1280, 960
_COLUMNS, _ROWS = 118, 12


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
    """The table of the instances that need somebody, as on a terminal."""
    asking = [each for each in audit["instances"] if each["status"] not in {"COMPLIANT", "IMDS_OFF", "MANAGED"}]
    rows = [
        (
            (each["name"], each["instance_id"]),
            (each["region"],),
            (each["status"], f"until {each['until']}" if each["until"] else ""),
            (each["reason"], f"by {each['by']}" if each["by"] else ""),
        )
        for each in asking[:_ROWS]
    ]
    write_table(("INSTANCE", "REGION", "STATUS", "REASON"), rows)


main()
