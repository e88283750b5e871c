"""Reads of a storm, classified by the state of their batch."""

from __future__ import annotations

from typing import Any

from tests.bench.measurement import DESCRIBE, MODIFY
from tests.bench.reads import reads_of


def read(*ids: str) -> dict[str, Any]:
    """A request that names these instances."""
    return {"action": DESCRIBE, "ids": list(ids)}


def change(instance_id: str) -> dict[str, Any]:
    """A change, successful or not."""
    return {"action": MODIFY, "ids": [instance_id]}


def test_a_read_before_the_first_change_is_a_look_and_one_after_it_a_read_back() -> None:
    """The usual course of a batch."""
    assert reads_of([read("a", "b"), change("a"), read("a")]) == {"first_looks": 1, "read_backs": 1}


def test_a_second_read_before_anything_was_changed_counts_as_well() -> None:
    """A batch that came back is one example."""
    assert reads_of([read("a"), read("a"), change("a")]) == {"first_looks": 2, "read_backs": 0}


def test_a_read_of_other_instances_of_a_changed_batch_is_a_read_back() -> None:
    """Their observation may have become too old for a change."""
    assert reads_of([read("a", "b"), change("a"), read("b")]) == {"first_looks": 1, "read_backs": 1}


def test_a_read_of_a_changed_and_an_unchanged_batch_is_a_look() -> None:
    """It may be the first read of the unchanged one."""
    assert reads_of([read("a"), change("a"), read("b"), read("a", "b")]) == {"first_looks": 3, "read_backs": 0}


def test_a_whole_region_is_no_batch() -> None:
    """Its request names no instance."""
    assert reads_of([read(), change("a")]) == {"first_looks": 0, "read_backs": 0}
