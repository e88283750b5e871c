from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from imds_enforcer.policy import PolicyVersions
from imds_enforcer.policy.parser import parse_policy
from imds_enforcer_cli.guardrails.caveats import caveats
from imds_enforcer_cli.guardrails.scp import QUOTA, Roles, TooLongError
from tests.fakes.clock import START
from tests.fakes.examples import AWAY, HOME, OTHER_ACCOUNT
from tests.fakes.scp_evaluator import refusing
from tests.fakes.scp_requests import (
    DEFAULTS,
    ENFORCER,
    INSTANCE,
    MODIFY,
    OPERATOR,
    PARAMETERS,
    ROLES,
    TABLE,
    a_role,
    an_scp,
)
from tests.fakes.strategies import AUDITING, ENFORCING

if TYPE_CHECKING:
    from imds_enforcer.policy import Policy
    from tests.fakes.rules import Rules

POLICIES = ENFORCING | AUDITING
NAMES = st.lists(st.text("ab*?", min_size=1, max_size=60).map("operators".__add__), max_size=90)

OF_THE_ENFORCER = [
    *((f"ec2:{name}", "*") for name in ("DescribeRegions", "DescribeInstances", "GetInstanceMetadataDefaults")),
    *((MODIFY, INSTANCE), (DEFAULTS, "*"), ("cloudwatch:GetMetricData", "*")),
    *(("ssm:GetParameters", each) for each in PARAMETERS),
    *((f"dynamodb:{name}", TABLE) for name in ("Query", "BatchWriteItem", "PutItem")),
]
OF_OPERATORS = [*OF_THE_ENFORCER, *(("ssm:PutParameter", each) for each in PARAMETERS)]


def policy_of(rules: Rules) -> Policy:
    """The policy that these rules express."""
    return parse_policy(rules.tokens, rules.text, PolicyVersions())


def refused(scp: str, by: str, calls: list[tuple[str, str]]) -> list[Any]:
    """The calls that the SCP denies, in either region."""
    keys: dict[str, Any] = {"aws:PrincipalArn": by}
    return [
        (action, resource, region)
        for action, resource in calls
        for region in (HOME, AWAY)
        if refusing(scp, {"action": action, "resource": resource, "context": {**keys, "aws:RequestedRegion": region}})
    ]


@given(POLICIES, st.booleans())
def test_the_enforcer_and_its_operators_are_never_denied(rules: Rules, role_delivery: bool) -> None:  # noqa: FBT001
    """Under any policy, in any account."""
    scp = an_scp(policy_of(rules), role_delivery=role_delivery)
    for enforcer in (ENFORCER, a_role("security/imds-enforcer", OTHER_ACCOUNT)):
        assert refused(scp, enforcer, OF_THE_ENFORCER) == []
    assert refused(scp, OPERATOR, OF_OPERATORS) == []


@given(POLICIES, NAMES)
def test_an_scp_is_complete_or_an_error(rules: Rules, names: list[str]) -> None:
    """JSON within the quota. One that is too long is never cut off."""
    roles = Roles(enforcer=ROLES.enforcer, operators=[OPERATOR, *map(a_role, names)])
    try:
        scp = an_scp(policy_of(rules), roles)
    except TooLongError:
        assert len(names) > 10
        return
    assert len(scp) <= QUOTA
    assert json.loads(scp)["Version"] == "2012-10-17"
    assert all(a_role(name) in scp for name in names)


@given(POLICIES)
def test_each_exemption_whose_launches_the_scp_denies_is_named(rules: Rules) -> None:
    """If it is in force and the SCP restricts launches at all."""
    policy = policy_of(rules)
    said = list(caveats(policy, ROLES, START, role_delivery=False, characters=1))
    for exemption in policy.exemptions:
        launches = exemption.match.instance_id is None or "*" in exemption.match.instance_id
        named = f"An exempt launch is denied unless it requires tokens: {exemption.named()}" in said
        assert named == (policy.http_tokens == "required" and launches and not exemption.expired(START))
