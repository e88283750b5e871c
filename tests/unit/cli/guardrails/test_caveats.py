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
    "Anyone who may create or change a role that fits arn:aws:iam::*:role/security/imds-enforcer gets past this SCP: "
    "protect IAM in every account."
)
EXEMPT = "A launch that is exempt is refused unless it requires tokens:"
PAST = date(2020, 1, 1)


def said(policy: Policy, *, role_delivery: bool = False, characters: int = 1) -> list[str]:
    """What is said beside the one thing that is always said."""
    [*others, last] = caveats(policy, ROLES, START, role_delivery=role_delivery, characters=characters)
    if characters > FORMER_QUOTA:
        others, last = others[:-1], others[-1]
    assert last == IAM
    return others


def test_a_policy_without_exemptions() -> None:
    """Has nothing that the SCP refuses all the same."""
    assert said(a_policy(), role_delivery=True) == []


@pytest.mark.parametrize(
    ("policy", "sentences"),
    [
        (
            a_policy(mode=Mode.AUDIT),
            ["The policy is in audit mode; an SCP refuses as soon as it is attached."],
        ),
        (
            a_policy(HttpTokens.OPTIONAL, exemptions=(an_exemption(region="eu-*"),)),
            ["No statement is about launches, since the toggle is optional."],
        ),
        (a_policy(exemptions=(an_exemption(region="eu-*"),)), [f"{EXEMPT} (region eu-*) legacy SDK"]),
        (a_policy(exemptions=(an_exemption(instance_id="i-*[12]"),)), [f"{EXEMPT} (instance_id i-*[12]) legacy SDK"]),
        (a_policy(exemptions=(an_exemption(instance_id=an_id()),)), []),
        (a_policy(exemptions=(an_exemption(region="eu-*", expires=PAST),)), []),
        (
            a_policy(launch_grace_seconds=60),
            ["A launch that counts on launch_grace_seconds (60) is refused unless it requires tokens."],
        ),
        (
            a_policy(HttpTokens.OPTIONAL, exemptions=(an_exemption(tag_key="*", tag_value="v1"),)),
            [
                "No statement is about launches, since the toggle is optional.",
                "The tags of an exemption are not protected: the key '*' fits every tag.",
            ],
        ),
        (
            a_policy(HttpTokens.OPTIONAL, exemptions=(an_exemption(tag_key="imds"),)),
            [
                "No statement is about launches, since the toggle is optional.",
                (
                    "Exempting tags that an Auto Scaling group gives its instances are not refused: it launches with a "
                    "service-linked role."
                ),
            ],
        ),
    ],
)
def test_what_a_policy_means_otherwise(policy: Policy, sentences: list[str]) -> None:
    """A sentence for each."""
    assert said(policy) == sentences


def test_exempt_instances_may_lose_their_credentials() -> None:
    """By an exemption in force."""
    sentence = "RoleDelivery also refuses what exempt instances call with credentials fetched through IMDSv1."
    policy = a_policy(exemptions=(an_exemption(instance_id=an_id()),))
    assert said(policy, role_delivery=True) == [sentence]
    assert said(a_policy(exemptions=(an_exemption(region="*", expires=PAST),)), role_delivery=True) == []


def test_without_a_role_that_deploys() -> None:
    """Operators do it, or it is refused."""
    roles = replace(ROLES, deployers=())
    [sentence, _] = caveats(a_policy(), roles, START, role_delivery=False, characters=1)
    assert sentence == (
        "No --deploy-role is named: only operators can deploy, update and delete the stack ImdsEnforcerState."
    )


def test_a_length_that_was_too_much_once() -> None:
    """The quota was raised, and not everywhere at once."""
    *_, last = caveats(a_policy(), ROLES, START, role_delivery=False, characters=5_121)
    assert last == "It is 5,121 characters long: too long where the quota is still 5,120."
    assert len(list(caveats(a_policy(), ROLES, START, role_delivery=False, characters=5_120))) == 1
