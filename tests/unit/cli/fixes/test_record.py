from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imds_enforcer.ledger.template_fix import TemplateFix
from imds_enforcer_cli.fixes.record import FileRecord
from tests.fakes.clock import START

if TYPE_CHECKING:
    from pathlib import Path

FIX = TemplateFix(
    run_id="run-1", region="eu-west-1", template_id="lt-web", name="web", source="1", moves_default=True, at=START
)


def test_a_fix_recorded_after_a_line_that_was_cut_short_is_kept(tmp_path: Path) -> None:
    """As after a process that was killed while writing: the next intent begins on a line of its own."""
    record = FileRecord(tmp_path / "fixes.jsonl")
    record.write(FIX)
    with record.path.open("a") as file:
        file.write('{"run_id": "')
    later = replace(FIX, run_id="run-2")
    record.write(later)
    assert record.all() == [FIX, later]
