from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imds_enforcer.model import HttpTokens, Switch
from imds_enforcer.policy import AccountDefaults, Exemption, Gate, Match, Mode, RegionSelection, Watch
from imds_enforcer.policy.document import as_document, as_text, as_words, columns, differences
from tests.fakes.clock import START
from tests.fakes.examples import a_policy, an_exemption

OLD = an_exemption("old SDK", auto_scaling_group="web-*")
EXPIRED = Exemption(match=Match(region="eu-*"), reason="vendor", owner="ann", expires=date(2026, 11, 21))
ALL_OF_THEM = "hop limit 2, InstanceMetadataTags disabled, optional tokens refused"
ALL_DEFAULTS = AccountDefaults(
    http_put_response_hop_limit=2, instance_metadata_tags=Switch.DISABLED, enforce_tokens=True
)


def test_the_text_has_both_versions_and_every_field() -> None:
    """It is the mail that follows a change of the policy."""
    policy = a_policy(
        HttpTokens.OPTIONAL,
        mode=Mode.AUDIT,
        http_put_response_hop_limit=2,
        instance_metadata_tags=Switch.DISABLED,
        regions=RegionSelection(exclude=("us-east-1",)),
        exemptions=(OLD,),
    )
    assert as_text(policy) == (
        "HttpTokens: optional (version 3)\n"
        "Policy (version 7):\n"
        "mode: audit\n"
        "http_put_response_hop_limit: 2\n"
        "container_hop_limit: 2\n"
        "container_host_tags: none\n"
        "http_protocol_ipv6: each instance keeps its own\n"
        "instance_metadata_tags: disabled\n"
        "regions: all but us-east-1\n"
        "exemptions: (auto_scaling_group web-*) old SDK\n"
        "rollout_percent: 100\n"
        "launch_grace_seconds: 0\n"
        "max_changes_per_sweep: no limit\n"
        "legacy_calls: no gate\n"
        "watch: for 24 hours; 1 or more rejected IMDSv1 calls are reported\n"
        "account_defaults: each region keeps its own"
    )


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({"launch_grace_seconds": 300}, ["launch_grace_seconds: 300"]),
        ({"max_changes_per_sweep": 500}, ["max_changes_per_sweep: 500"]),
        ({"container_hop_limit": None}, ["container_hop_limit: no hops are added"]),
        (
            {"container_host_tags": (Match(tag_key="nomad"), Match(tag_key="team", tag_value="k8s"))},
            ["container_host_tags: tag nomad=*", "container_host_tags: tag team=k8s"],
        ),
        (
            {"exemptions": (OLD, EXPIRED)},
            [
                "exemptions: (auto_scaling_group web-*) old SDK",
                "exemptions: (region eu-*) vendor, owner ann, until 2026-11-21",
            ],
        ),
        ({"gate": Gate()}, ["legacy_calls: more than 0 IMDSv1 calls in 14 days"]),
        (
            {"gate": Gate(lookback_days=30, tolerate=10, enforce_after=date(2027, 3, 31))},
            ["legacy_calls: more than 10 IMDSv1 calls in 30 days, until 2027-03-31"],
        ),
        ({"watch": None}, ["watch: off"]),
        (
            {"watch": Watch(hours=48, rejected_calls=5)},
            ["watch: for 48 hours; 5 or more rejected IMDSv1 calls are reported"],
        ),
        ({"account_defaults": AccountDefaults()}, ["account_defaults: HttpTokens follows the toggle"]),
        (
            {"account_defaults": ALL_DEFAULTS},
            [f"account_defaults: HttpTokens follows the toggle, {ALL_OF_THEM}"],
        ),
    ],
)
def test_a_field_has_a_line_of_its_own(fields: dict[str, Any], lines: list[str]) -> None:
    """Exactly one, or one for each entry of a list."""
    default = as_text(a_policy()).splitlines()
    assert [line for line in as_text(a_policy(**fields)).splitlines() if line not in default] == lines


def test_an_exemption_is_in_the_document_as_the_policy_has_it() -> None:
    """Fields that it does not have are left out."""
    assert as_document(a_policy(exemptions=(OLD, EXPIRED)))["exemptions"] == [
        {"match": {"auto_scaling_group": "web-*"}, "reason": "old SDK"},
        {"match": {"region": "eu-*"}, "reason": "vendor", "owner": "ann", "expires": "2026-11-21"},
    ]


def test_expired_exemptions_are_marked() -> None:
    """As of the moment given, if one is given."""
    policy = a_policy(exemptions=(OLD, EXPIRED))
    kept, expired = "(auto_scaling_group web-*) old SDK", "(region eu-*) vendor, owner ann, until 2026-11-21"
    assert as_words(policy)["exemptions"] == [kept, expired]
    assert as_words(policy, START)["exemptions"] == [kept, f"{expired} (expired)"]
    assert [each["expired"] for each in as_document(policy, START)["exemptions"]] == [False, True]
    assert not any("expired" in each for each in as_document(policy)["exemptions"])


def test_a_table_has_a_column_for_each_field_of_an_object() -> None:
    """In the order of the schema; a list has one column."""
    assert columns() == [
        *("mode", "http_put_response_hop_limit", "container_hop_limit", "container_host_tags", "http_protocol_ipv6"),
        *("instance_metadata_tags", "regions.include", "regions.exclude", "exemptions", "rollout_percent"),
        *("launch_grace_seconds", "max_changes_per_sweep", "legacy_calls.lookback_days", "legacy_calls.tolerate"),
        *("legacy_calls.enforce_after", "legacy_calls.by", "watch.hours", "watch.rejected_calls"),
        *("account_defaults.http_put_response_hop_limit", "account_defaults.instance_metadata_tags"),
        "account_defaults.enforce_tokens",
    ]


def test_fields_differ_by_their_values() -> None:
    """The versions and the toggle are not fields of the document."""
    assert differences(a_policy(), a_policy(HttpTokens.OPTIONAL)) == []
    assert differences(a_policy(), a_policy(mode=Mode.AUDIT, watch=None)) == ["mode", "watch"]
