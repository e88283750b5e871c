from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import HttpTokens
from imds_enforcer_cli.guardrails.scp import QUOTA, Roles, TooLongError, document, statements
from tests.fakes.clock import START
from tests.fakes.examples import a_policy, an_exemption
from tests.fakes.scp_cases import CASES, TAGGED
from tests.fakes.scp_evaluator import refusing
from tests.fakes.scp_requests import ROLES, STATE, Case, an_scp

if TYPE_CHECKING:
    from imds_enforcer.policy import Policy

LAUNCHES = ["Launches", "LaunchConfigurations", "TemplateVersions", "NoLaunchConfigurations"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_request(case: Case) -> None:
    """Is refused by the statement that is meant to, or by none."""
    assert refusing(case.scp, case.request) == [*case.refused]


@pytest.mark.parametrize(
    ("policy", "role_delivery", "sids"),
    [
        (a_policy(), False, [*LAUNCHES, "Options", "State"]),
        (TAGGED, True, [*LAUNCHES, "Options", "ExemptingTags", "State", "RoleDelivery"]),
        (a_policy(HttpTokens.OPTIONAL), False, ["Options", "State"]),
    ],
)
def test_the_statements_that_a_policy_needs(policy: Policy, role_delivery: bool, sids: list[str]) -> None:  # noqa: FBT001
    """No more than these, each with a reason."""
    found = statements(policy, ROLES, STATE, START, role_delivery=role_delivery)
    assert [each.sid for each in found] == sids
    assert all(each.reason for each in found)


def test_every_statement_refuses_a_request_of_the_table() -> None:
    """A new one too."""
    assert {sid for case in CASES for sid in case.refused} == {
        each.sid for each in statements(TAGGED, ROLES, STATE, START, role_delivery=True)
    }


def test_it_is_json_without_white_space_in_ascii() -> None:
    """As the size counts white space, and a terminal may know no other characters."""
    text = an_scp(a_policy(exemptions=(an_exemption(tag_key="Größe"),)))
    assert json.dumps(json.loads(text), separators=(",", ":")) + "\n" == text
    assert text.isascii()
    assert " " not in text


def test_another_partition() -> None:
    """All ARNs are of that of the roles."""
    roles = Roles(enforcer="arn:aws-cn:iam::*:role/imds", operators=["arn:aws-cn:iam::*:role/ops"])
    assert "arn:aws:" not in an_scp(TAGGED, roles)


def test_what_is_too_long_is_refused() -> None:
    """By a single character."""
    [*others, last] = statements(a_policy(), ROLES, STATE, START)
    room = QUOTA - len(document([*others, last]))
    filled = replace(last, sid=last.sid + "x" * room)
    assert len(document([*others, filled])) == QUOTA
    with pytest.raises(TooLongError, match=r"the SCP is 10,241 characters long; allowed: 10,240"):
        document([*others, replace(filled, sid=f"{filled.sid}x")])
