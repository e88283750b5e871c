from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import HttpTokens
from imds_enforcer.policy import Mode
from imds_enforcer_cli.guardrails.caveats import caveats
from imds_enforcer_cli.guardrails.scp import FORMER_QUOTA
from tests.fakes.clock import START
from tests.fakes.examples import a_policy, an_exemption, an_id
from tests.fakes.scp_requests import ROLES

if TYPE_CHECKING:
    from imds_enforcer.policy import Policy

IAM = (
    "Anyone who can create or change a role that matches arn:aws:iam::*:role/security/imds-enforcer can bypass this "
    "SCP: protect IAM in every account."
)
EXEMPT = "An exempt launch is denied unless it requires tokens:"
PAST = date(2020, 1, 1)


def said(policy: Policy, *, role_delivery: bool = False, characters: int = 1) -> list[str]:
    """The caveats without the one about IAM, which is always there."""
    [*others, last] = caveats(policy, ROLES, START, role_delivery=role_delivery, characters=characters)
    if characters > FORMER_QUOTA:
        others, last = others[:-1], others[-1]
    assert last == IAM
    return others


def test_a_policy_without_exemptions_has_no_other_caveats() -> None:
    """The SCP denies nothing that the policy would allow."""
    assert said(a_policy(), role_delivery=True) == []


@pytest.mark.parametrize(
    ("policy", "sentences"),
    [
        (
            a_policy(mode=Mode.AUDIT),
            ["The policy is in audit mode, but an SCP denies calls as soon as it is attached."],
        ),
        (
            a_policy(HttpTokens.OPTIONAL, exemptions=(an_exemption(region="eu-*"),)),
            ["The SCP does not restrict launches, because the toggle is optional."],
        ),
        (a_policy(exemptions=(an_exemption(region="eu-*"),)), [f"{EXEMPT} (region eu-*) legacy SDK"]),
        (a_policy(exemptions=(an_exemption(instance_id="i-*[12]"),)), [f"{EXEMPT} (instance_id i-*[12]) legacy SDK"]),
        (a_policy(exemptions=(an_exemption(instance_id=an_id()),)), []),
        (a_policy(exemptions=(an_exemption(region="eu-*", expires=PAST),)), []),
        (
            a_policy(launch_grace_seconds=60),
            ["A launch that relies on launch_grace_seconds (60) is denied unless it requires tokens."],
        ),
        (
            a_policy(HttpTokens.OPTIONAL, exemptions=(an_exemption(tag_key="*", tag_value="v1"),)),
            [
                "The SCP does not restrict launches, because the toggle is optional.",
                "The SCP does not protect the tag key '*' of an exemption, because it matches every tag.",
            ],
        ),
        (
            a_policy(HttpTokens.OPTIONAL, exemptions=(an_exemption(tag_key="imds"),)),
            [
                "The SCP does not restrict launches, because the toggle is optional.",
                (
                    "The SCP does not stop an Auto Scaling group from giving its instances exempting tags: it launches "
                    "with a service-linked role."
                ),
            ],
        ),
    ],
)
def test_a_caveat_for_each_deviation_from_the_policy(policy: Policy, sentences: list[str]) -> None:
    """In one sentence each."""
    assert said(policy) == sentences


def test_role_delivery_also_affects_exempt_instances() -> None:
    """The caveat appears only with an exemption in force."""
    sentence = "RoleDelivery also denies calls by exempt instances with credentials fetched through IMDSv1."
    policy = a_policy(exemptions=(an_exemption(instance_id=an_id()),))
    assert said(policy, role_delivery=True) == [sentence]
    assert said(a_policy(exemptions=(an_exemption(region="*", expires=PAST),)), role_delivery=True) == []


def test_without_a_deploy_role_only_operators_can_deploy() -> None:
    """The SCP denies it to everyone else."""
    roles = replace(ROLES, deployers=())
    [sentence, _] = caveats(a_policy(), roles, START, role_delivery=False, characters=1)
    assert sentence == (
        "Without --deploy-role, only operators can deploy, update and delete the stack ImdsEnforcerState."
    )


def test_a_length_over_the_former_quota() -> None:
    """AWS raised the quota, but perhaps not everywhere at once."""
    *_, last = caveats(a_policy(), ROLES, START, role_delivery=False, characters=5_121)
    assert last == "The SCP has 5,121 characters, too many where the quota is still 5,120."
    assert len(list(caveats(a_policy(), ROLES, START, role_delivery=False, characters=5_120))) == 1
