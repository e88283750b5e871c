"""What counts as reported by an audit."""

from __future__ import annotations

import json

import pytest

from tests.bench.audits import reported

FIRST, SECOND = "i-0123456789abcdef0", "i-0123456789abcdef1"


@pytest.mark.parametrize(
    "text",
    [
        f"INSTANCE  STATUS\n{FIRST}; eu-west-1  DRIFT  ami-0123456789abcdef0\n{SECOND}; eu-west-1  DRIFT\n",
        json.dumps({"instances": [{"instance_id": each} for each in (FIRST, SECOND)], "sources": [{"ids": [FIRST]}]}),
    ],
)
def test_each_instance_counts_once_and_no_image_does(text: str) -> None:
    """The ids of images look like those of instances."""
    assert reported(text) == 2


def test_of_nothing_there_is_nothing() -> None:
    """A command that fails writes no text."""
    assert reported("") == 0
