from __future__ import annotations

import pytest

from imds_enforcer.model.wording import count, each_count, launched_by, shown


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
    """So control characters and unpaired surrogates show too."""
    assert shown(value) == text


def test_a_long_value_is_cut() -> None:
    """The log line stays readable, and an ellipsis marks the cut."""
    assert shown("x" * 118) == f'"{"x" * 118}"'
    assert shown("x" * 119) == f'"{"x" * 119}…'


def test_a_value_that_json_cannot_represent_is_shown_too() -> None:
    """A message about a bad value must never fail because of it."""
    assert shown({1}) == '"{1}"'


@pytest.mark.parametrize(("number", "text"), [(0, "0 instances"), (1, "1 instance"), (1234, "1234 instances")])
def test_a_number_has_its_noun(number: int, text: str) -> None:
    """In the singular for 1, else in the plural."""
    assert count(number, "instance") == text


def test_thousands_are_separated_on_demand() -> None:
    """People read pages; programs may parse tables."""
    assert count(1234, "instance", ",") == "1,234 instances"


def test_each_name_that_was_counted_is_a_phrase() -> None:
    """A name that did not occur is left out."""
    assert each_count({"FAILED": 2, "HELD": 0, "PENDING": 1}) == ["2 FAILED", "1 PENDING"]


def test_what_launched_an_instance_is_named_by_its_kind() -> None:
    """An unknown name is left out, or replaced by the caller's word for it."""
    assert launched_by("web", None, "ami-1") == ["Auto Scaling group web", "image ami-1"]
    assert launched_by(None, "lt-1", "", missing="none") == [
        "Auto Scaling group none",
        "launch template lt-1",
        "image none",
    ]
