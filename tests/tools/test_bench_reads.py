"""Reads of a storm, told apart by what had happened to their batch."""

from __future__ import annotations

from typing import Any

from tests.bench.measurement import DESCRIBE, MODIFY
from tests.bench.reads import reads_of


def read(*ids: str) -> dict[str, Any]:
    """A request that names these."""
    return {"action": DESCRIBE, "ids": list(ids)}


def change(instance_id: str) -> dict[str, Any]:
    """A change, whether it was granted or not."""
    return {"action": MODIFY, "ids": [instance_id]}


def test_a_read_before_the_first_change_is_a_look_and_one_after_it_a_read_back() -> None:
    """The usual course of a batch."""
    assert reads_of([read("a", "b"), change("a"), read("a")]) == {"first_looks": 1, "read_backs": 1}


def test_a_second_read_before_anything_was_changed_counts_as_well() -> None:
    """A batch that came back, for one."""
    assert reads_of([read("a"), read("a"), change("a")]) == {"first_looks": 2, "read_backs": 0}


def test_once_a_batch_is_being_changed_its_others_are_refreshed() -> None:
    """Their observation may have grown too old to write on."""
    assert reads_of([read("a", "b"), change("a"), read("b")]) == {"first_looks": 1, "read_backs": 1}


def test_a_batch_beside_one_that_is_being_changed_is_looked_at_for_itself() -> None:
    """A read of both counts as a look: it may be one."""
    assert reads_of([read("a"), change("a"), read("b"), read("a", "b")]) == {"first_looks": 3, "read_backs": 0}


def test_a_whole_region_is_no_batch() -> None:
    """It names nobody."""
    assert reads_of([read(), change("a")]) == {"first_looks": 0, "read_backs": 0}
