"""The content of the pictures in the README."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from imds_enforcer_cli.console.output import write_table
from infra.pictures.fleet import document
from infra.pictures.terminal import picture


def test_a_terminal_picture_has_the_text_and_fetches_no_font() -> None:
    """In the requested width, with the colors of a terminal."""
    before = sys.stdout
    svg = picture(
        lambda: write_table(("OUTCOME",), [(("FAILED",),)]), command="imds-enforcer history", columns=40
    ).replace("&#160;", " ")
    assert sys.stdout is before
    texts = re.findall(r'<text class="terminal-r(\d+)"[^>]*>([^<]*)</text>', svg)
    assert [text.strip() for _, text in texts if text.strip()] == ["$", "imds-enforcer history", "OUTCOME", "FAILED"]
    assert len({style for style, _ in texts}) > 2
    assert "url(http" not in svg


@pytest.mark.parametrize("instances", [None, 57, 1000])
def test_the_fleet_adds_up(instances: int | None) -> None:
    """For any size: by status, by region and by source; and every instance has its own id."""
    fleet: dict[str, Any] = document(instances)
    summary, every = fleet["summary"], fleet["instances"]
    assert len({each["instance_id"] for each in every}) == summary["instances"] == (instances or 57)
    assert sum(summary["statuses"].values()) == summary["instances"]
    assert sum(region["instances"] for region in fleet["regions"]) == summary["instances"]
    assert sum(source["instances"] for source in fleet["sources"]) == summary["instances"]
    assert sum(source["findings"] for source in fleet["sources"]) == summary["statuses"]["DRIFT"]
