from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from tests.bench.parts import BUILD, OTHERS, OWN, PARSE, SIGN, Parts, table


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The thread's CPU time, which the test's functions spend."""
    spent = [0.0]
    monkeypatch.setattr(time, "thread_time", lambda: spent[0])
    return spent


def test_what_a_part_spends_in_another_counts_for_that_one(cpu: list[float]) -> None:
    """The inner part is in its caller's row, also where it fails; what is called alone is among the others."""

    def call(_: str) -> None:
        cpu[0] += 1
        code.sign()
        with pytest.raises(ValueError, match="cut short"):
            code.parse()
        cpu[0] += 2

    def sign() -> None:
        cpu[0] += 4

    def parse() -> None:
        cpu[0] += 8
        raise ValueError("cut short")

    code = SimpleNamespace(call=call, sign=sign, parse=parse)
    parts = Parts()
    parts.measure(code, "call", lambda name: name, BUILD)
    parts.measure(code, "sign", column=SIGN)
    parts.measure(code, "parse", column=PARSE)
    code.call("Describe")
    code.sign()
    assert sorted(parts.taken()["parts"]) == [
        ("Describe", BUILD, 3),
        ("Describe", PARSE, 8),
        ("Describe", SIGN, 4),
        (OTHERS, SIGN, 4),
    ]
    assert parts.taken() == {"parts": []}


def test_the_table_is_in_milliseconds_a_change() -> None:
    """The largest row first; the rest is what the process took beside its parts."""
    parts = [(OWN, "", 0.1), ("Modify", BUILD, 0.2), ("Modify", SIGN, 0.3)]
    assert table(parts, cpu_s=1, changes=100) == [
        "| ms a change | build | sign | send, receive | parse | in all |",
        "|---|---:|---:|---:|---:|---:|",
        "| Modify | 2.00 | 3.00 |  |  | 5.00 |",
        "| the enforcer's own code |  |  |  |  | 1.00 |",
        "| the rest: threads, the watch |  |  |  |  | 4.00 |",
        "| in all |  |  |  |  | 10.00 |",
    ]
