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
def test_a_request_is_denied_only_by_the_intended_statements(case: Case) -> None:
    """Or allowed, if the case names no statement."""
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
    """Exactly these, each with a reason."""
    found = statements(policy, ROLES, STATE, START, role_delivery=role_delivery)
    assert [each.sid for each in found] == sids
    assert all(each.reason for each in found)


def test_every_statement_denies_a_request_in_the_table() -> None:
    """So a new statement needs a case."""
    assert {sid for case in CASES for sid in case.refused} == {
        each.sid for each in statements(TAGGED, ROLES, STATE, START, role_delivery=True)
    }


def test_an_scp_is_json_in_ascii_without_white_space() -> None:
    """White space counts towards the quota, and a terminal may not support other characters."""
    text = an_scp(a_policy(exemptions=(an_exemption(tag_key="Größe"),)))
    assert json.dumps(json.loads(text), separators=(",", ":")) + "\n" == text
    assert text.isascii()
    assert " " not in text


def test_all_arns_have_the_partition_of_the_roles() -> None:
    """Here that of China."""
    roles = Roles(enforcer="arn:aws-cn:iam::*:role/imds", operators=["arn:aws-cn:iam::*:role/ops"])
    assert "arn:aws:" not in an_scp(TAGGED, roles)


def test_an_scp_that_is_too_long_is_an_error() -> None:
    """Even by a single character."""
    [*others, last] = statements(a_policy(), ROLES, STATE, START)
    room = QUOTA - len(document([*others, last]))
    filled = replace(last, sid=last.sid + "x" * room)
    assert len(document([*others, filled])) == QUOTA
    with pytest.raises(TooLongError, match=r"the SCP is 10,241 characters long; allowed: 10,240"):
        document([*others, replace(filled, sid=f"{filled.sid}x")])
