from __future__ import annotations

from datetime import date

import pytest

from imds_enforcer.policy import AccountDefaults, CountedBy, Gate, Policy
from imds_enforcer.policy.account_defaults import consequences, contradictions
from tests.fakes.clock import START
from tests.fakes.examples import a_policy, an_exemption

PLAIN, ENFORCING = AccountDefaults(), AccountDefaults(enforce_tokens=True)
NOW, PAST = an_exemption(), an_exemption("over", expires=date(2026, 11, 21))


def test_to_enforce_tokens_beside_an_exemption_contradicts() -> None:
    """Each exemption in force is named."""
    policy = a_policy(account_defaults=ENFORCING, exemptions=(NOW, PAST))
    [sentence] = contradictions(policy, START)
    assert sentence == (
        "with account_defaults.enforce_tokens EC2 refuses the launches that this exemption allows: "
        "(instance_id *) legacy SDK"
    )


@pytest.mark.parametrize(
    "policy",
    [
        a_policy(exemptions=(NOW,)),
        a_policy(account_defaults=PLAIN, exemptions=(NOW,)),
        a_policy(account_defaults=ENFORCING, exemptions=(PAST,)),
        a_policy(account_defaults=ENFORCING),
    ],
)
def test_what_does_not_contradict(policy: Policy) -> None:
    """An exemption that has expired allows nothing."""
    assert contradictions(policy, START) == []


def test_what_required_defaults_come_before_is_named() -> None:
    """Grace, gate by group and rollout are for instances; a launch asks none of them."""
    policy = a_policy(
        account_defaults=PLAIN, launch_grace_seconds=60, gate=Gate(by=CountedBy.GROUP), rollout_percent=99
    )
    assert [each.partition(", but ")[0] for each in consequences(policy)] == [
        "launch_grace_seconds is 60",
        "legacy_calls.by is group",
        "rollout_percent is 99",
    ]


@pytest.mark.parametrize(
    "policy",
    [a_policy(account_defaults=PLAIN, gate=Gate()), a_policy(launch_grace_seconds=60, rollout_percent=0)],
)
def test_what_needs_no_name(policy: Policy) -> None:
    """Without account defaults, or with what holds existing instances back."""
    assert consequences(policy) == []
