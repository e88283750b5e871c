from __future__ import annotations

from datetime import date

import pytest

from imds_enforcer.policy import Match
from imds_enforcer_cli.guardrails.tag_keys import exempting_tag_keys
from tests.fakes.clock import START
from tests.fakes.examples import a_policy, an_exemption


@pytest.mark.parametrize(
    ("pattern", "protected"),
    [
        ("imds", "imds"),
        ("imds-*", "imds-*"),
        ("im?s", "im?s"),
        ("[iI]mds", "?mds"),
        ("[!a]mds", "?mds"),
        ("imds[[]1]", "imds[1]"),
        ("imds[*]", "imds${*}"),
        ("imds[?]", "imds${?}"),
        ("a$b", "a${$}b"),
        ("a[", "a["),
        ("[!]", "[!]"),
        ("[]]", "]"),
    ],
)
def test_a_pattern_becomes_an_iam_pattern(pattern: str, protected: str) -> None:
    """It matches the same keys, or a few more if IAM has no equivalent."""
    policy = a_policy(exemptions=(an_exemption(tag_key=pattern),))
    assert exempting_tag_keys(policy, START) == ([protected], [])


@pytest.mark.parametrize("pattern", ["*", "??", "?*", "[ab]", "*[!x]"])
def test_a_pattern_that_matches_every_key_is_not_protected(pattern: str) -> None:
    """It would stop all tagging."""
    policy = a_policy(exemptions=(an_exemption(tag_key=pattern),))
    assert exempting_tag_keys(policy, START) == ([], [pattern])


def test_the_keys_of_exemptions_in_force_are_protected_once() -> None:
    """Including those of exemptions by several tags. Other exemptions have no tag keys."""
    several = (Match(tag_key="b"), Match(tag_key="a"))
    policy = a_policy(
        exemptions=(
            an_exemption(tags=several),
            an_exemption(tag_key="a"),
            an_exemption(tag_key="late", expires=date(2020, 1, 1)),
            an_exemption(region="eu-*"),
        )
    )
    assert exempting_tag_keys(policy, START) == (["a", "b"], [])
