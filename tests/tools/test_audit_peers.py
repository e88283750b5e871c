"""The comparison of auditors, with fakes: it names each auditor that finds something else, which is no agreement."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from tests.audit_peers import __main__ as audit_peers
from tests.fakes.examples import an_id

if TYPE_CHECKING:
    from pathlib import Path

    from infra.local.client import LocalAws

AUDITORS = ("imds_enforcer", "prowler", "custodian")


def look(monkeypatch: pytest.MonkeyPatch, folder: Path, *found: set[str]) -> bool:
    """Whether the auditors agree on the first instance, given the findings of each."""
    for name, ids in zip(AUDITORS, found, strict=True):
        monkeypatch.setattr(audit_peers, name, lambda *_, ids=ids: ids)
    return audit_peers.look(cast("LocalAws", None), folder, "now", folder, frozenset({an_id(1)}))


def test_they_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With each other, and with the launched fleet."""
    assert look(monkeypatch, tmp_path, *({an_id(1)} for _ in AUDITORS))
    assert "missed" not in capsys.readouterr().out


@pytest.mark.parametrize("odd", range(3))
def test_one_finds_something_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], odd: int
) -> None:
    """Any of the auditors may be the odd one."""
    found = [{an_id(2)} if number == odd else {an_id(1)} for number in range(3)]
    assert not look(monkeypatch, tmp_path, *found)
    out = capsys.readouterr().out
    assert f"1; unexpected: ['{an_id(2)}'], missed: ['{an_id(1)}']" in out


def test_all_find_something_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Agreement with each other is not enough."""
    assert not look(monkeypatch, tmp_path, set(), set(), set())
