from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imds_enforcer.policy import Match
from imds_enforcer_cli.commands.pattern_warnings import pattern_warnings
from tests.fakes.examples import a_policy, an_exemption

ONE = "matches one character; write [[] for a literal ["
SPACE = "the white space at its beginning or end must match too"


def warnings(**match: Any) -> list[str]:
    """The warnings about an exemption's fields, without the exemption's path."""
    return [
        each.removeprefix("exemptions[0].match.")
        for each in pattern_warnings(a_policy(exemptions=(an_exemption(**match),)))
    ]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"tag_key": "env", "tag_value": "[prod]"}, [f'tag.value is "[prod]": [prod] {ONE}']),
        ({"tag_key": "[env]"}, [f'tag.key is "[env]": [env] {ONE}']),
        ({"auto_scaling_group": "web-[12]*"}, [f'auto_scaling_group is "web-[12]*": [12] {ONE}']),
        (
            {"tags": (Match(tag_key="a"), Match(tag_key="b", tag_value="[]x]"))},
            [f'tags[1].value is "[]x]": []x] {ONE}'],
        ),
        ({"tag_key": "env", "tag_value": "[[]prod]"}, []),
        ({"tag_key": "env", "tag_value": "[[]a] [b]"}, [f'tag.value is "[[]a] [b]": [b] {ONE}']),
        ({"tag_key": "env", "tag_value": "[prod"}, []),
        ({"tag_key": "env", "tag_value": "[]"}, []),
        ({"tag_key": "env ", "tag_value": ""}, [f'tag.key is "env ": {SPACE}']),
        ({"tag_key": "a b", "tag_value": "p r"}, []),
        (
            {"launch_template": "web"},
            ['launch_template is "web": it matches no instance, because these ids begin with lt-'],
        ),
        ({"image_id": "i-1"}, ['image_id is "i-1": it matches no instance, because these ids begin with ami-']),
        ({"instance_id": "web-*"}, ['instance_id is "web-*": it matches no instance, because these ids begin with i-']),
        ({"launch_template": "lt-*", "image_id": "a*", "instance_id": "?-1"}, []),
        ({"instance_id": "*", "region": "eu-*", "auto_scaling_group": "i-?"}, []),
    ],
)
def test_a_suspicious_pattern_is_named(match: dict[str, Any], expected: list[str]) -> None:
    """The warning has the field, its value, and what that matches."""
    assert warnings(**match) == expected


def test_tags_of_container_hosts_are_patterns_too() -> None:
    """Every suspicious pattern has a warning, with its place in the list."""
    policy = a_policy(
        container_host_tags=(Match(tag_key="nomad"), Match(tag_key="[k8s]", tag_value=" ")),
        exemptions=(an_exemption(), an_exemption(region="[eu]*")),
    )
    assert pattern_warnings(policy) == [
        f'container_host_tags[1].key is "[k8s]": [k8s] {ONE}',
        f'container_host_tags[1].value is " ": {SPACE}',
        f'exemptions[1].match.region is "[eu]*": [eu] {ONE}',
    ]


@given(st.text(alphabet="[]!^a-"))
def test_a_pattern_without_a_warning_matches_itself(pattern: str) -> None:
    """The exception is a pattern that already has an escaped literal."""
    if "[[]" not in pattern and not warnings(tag_key="env", tag_value=pattern):
        assert fnmatchcase(pattern, pattern)
