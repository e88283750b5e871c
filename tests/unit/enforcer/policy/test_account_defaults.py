from __future__ import annotations

from datetime import date

import pytest

from imds_enforcer.policy import AccountDefaults, CountedBy, Gate, Policy
from imds_enforcer.policy.account_defaults import consequences, contradictions
from tests.fakes.clock import START
from tests.fakes.examples import a_policy, an_exemption

PLAIN, ENFORCING = AccountDefaults(), AccountDefaults(enforce_tokens=True)
NOW, PAST = an_exemption(), an_exemption("over", expires=date(2026, 11, 21))


def test_enforced_tokens_contradict_an_exemption() -> None:
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
def test_other_policies_do_not_contradict_themselves(policy: Policy) -> None:
    """An exemption that has expired allows nothing."""
    assert contradictions(policy, START) == []


def test_fields_that_required_defaults_override_are_named() -> None:
    """Grace, gate by group and rollout are about instances; the defaults apply at the launch itself."""
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
def test_no_other_field_is_named(policy: Policy) -> None:
    """Without account defaults, or with a gate for existing instances, there is no conflict."""
    assert consequences(policy) == []
