from __future__ import annotations

import pytest

from imds_enforcer.model.wording import shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("required", '"required"'),
        (None, "null"),
        (True, "true"),
        ({"a": [1]}, '{"a": [1]}'),
        ("é\ud800\n", '"\\u00e9\\ud800\\n"'),
    ],
)
def test_a_value_is_shown_as_ascii_json(value: object, text: str) -> None:
    """What a parameter or an event really holds, control characters and halves of characters too."""
    assert shown(value) == text


def test_a_long_value_is_cut() -> None:
    """A log line stays readable, and the cut shows."""
    assert shown("x" * 118) == f'"{"x" * 118}"'
    assert shown("x" * 119) == f'"{"x" * 119}…'


def test_a_value_that_json_does_not_know_is_shown_all_the_same() -> None:
    """A message about a bad value must never fail over it."""
    assert shown({1}) == '"{1}"'
