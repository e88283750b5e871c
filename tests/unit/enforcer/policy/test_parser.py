from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from imds_enforcer.model import HttpTokens, Switch
from imds_enforcer.model.wording import shown
from imds_enforcer.policy import (
    AccountDefaults,
    CountedBy,
    Exemption,
    Gate,
    Match,
    Mode,
    Policy,
    PolicyVersions,
    RegionSelection,
    Watch,
)
from imds_enforcer.policy.parser import PolicyInvalidError, parse_policy
from imds_enforcer.policy.safeguards import DEFAULT_WATCH
from tests.fakes.examples import HUGE_NUMBER

VERSIONS = PolicyVersions(3, 7)
TEXT = "non-empty text"
WHOLE_NUMBER = "a whole number from 1 to 64, or null"
ON_OFF = "enabled, disabled, null"
REGION_NAMES = "text that matches ^[a-z]{2,}(-[a-z]+)+-[0-9]+$"
POLICY_FIELDS = (
    "mode, http_put_response_hop_limit, container_hop_limit, container_host_tags, http_protocol_ipv6, "
    "instance_metadata_tags, regions, exemptions, rollout_percent, launch_grace_seconds, max_changes_per_sweep, "
    "legacy_calls, watch, account_defaults"
)
EXEMPTION_FIELDS = "match, reason, owner, expires"
MATCH_FIELDS = "instance_id, image_id, auto_scaling_group, launch_template, region, tag, tags"
GATE_FIELDS = "lookback_days, tolerate, enforce_after, by"
DEFAULTS_FIELDS = "http_put_response_hop_limit, instance_metadata_tags, enforce_tokens"
WATCH_FIELDS = "hours, rejected_calls"
LEDGER_REMOVED = "a change that cannot be recorded always waits; remove it"
REVERT_REMOVED = "the watch only reports, and its mail has the command that reverts; remove it"
A_DAY = "text that matches ^[0-9]{4}-[0-9]{2}-[0-9]{2}$, or null"
LOOKBACK = "a whole number from 1 to 455"
TOLERATE = "a whole number from 0 to 1000000"
CHANGES = "a whole number from 1 to 1000000, or null"
GRACE = "a whole number from 0 to 900"


def _parsed(document: object) -> Policy:
    text = document if isinstance(document, str) else json.dumps(document)
    return parse_policy("required", text, VERSIONS)


def _refusal(document: object) -> str:
    with pytest.raises(PolicyInvalidError) as refused:
        _parsed(document)
    return str(refused.value)


def _exempting(**match: Any) -> dict[str, Any]:
    return {"exemptions": [{"match": match, "reason": "old SDK"}]}


def test_an_empty_policy_enforces_the_toggle_and_nothing_else() -> None:
    """A new deployment stores this policy."""
    assert _parsed("{}") == Policy(http_tokens=HttpTokens.REQUIRED, versions=VERSIONS)


@pytest.mark.parametrize("tokens", HttpTokens)
def test_the_toggle_is_required_or_optional(tokens: HttpTokens) -> None:
    """Both are valid."""
    assert parse_policy(tokens.value, "{}", VERSIONS).http_tokens is tokens


def test_every_field_is_read() -> None:
    """The policy has each field with its own type."""
    policy = _parsed(
        {
            "mode": "audit",
            "http_put_response_hop_limit": 2,
            "container_hop_limit": 3,
            "container_host_tags": [{"key": "role", "value": "docker-*"}, {"key": "swarm"}],
            "http_protocol_ipv6": "enabled",
            "instance_metadata_tags": "disabled",
            "regions": {"include": ["eu-west-1", "us-gov-west-1"]},
            "exemptions": [
                {
                    "match": {
                        "instance_id": "i-1*",
                        "image_id": "ami-1",
                        "auto_scaling_group": "web-*",
                        "region": "eu-*",
                        "tag": {"key": "team", "value": ""},
                        "launch_template": "lt-1",
                        "tags": [{"key": "Env", "value": "prod"}, {"key": "imds"}],
                    },
                    "reason": "old SDK",
                    "owner": "payments",
                    "expires": "2027-03-31",
                },
                {"match": {"tag": {"key": "legacy"}}, "reason": "being replaced"},
            ],
            "rollout_percent": 25,
            "launch_grace_seconds": 300,
            "max_changes_per_sweep": 500,
            "legacy_calls": {"lookback_days": 30, "tolerate": 10, "enforce_after": "2027-03-31", "by": "group"},
            "watch": {"hours": 48, "rejected_calls": 5},
            "account_defaults": {
                "http_put_response_hop_limit": 2.0,
                "instance_metadata_tags": "disabled",
                "enforce_tokens": True,
            },
        }
    )
    assert policy == Policy(
        http_tokens=HttpTokens.REQUIRED,
        mode=Mode.AUDIT,
        http_put_response_hop_limit=2,
        container_hop_limit=3,
        container_host_tags=(Match(tag_key="role", tag_value="docker-*"), Match(tag_key="swarm")),
        http_protocol_ipv6=Switch.ENABLED,
        instance_metadata_tags=Switch.DISABLED,
        regions=RegionSelection(include=("eu-west-1", "us-gov-west-1")),
        exemptions=(
            Exemption(
                match=Match(
                    instance_id="i-1*",
                    image_id="ami-1",
                    auto_scaling_group="web-*",
                    region="eu-*",
                    tag_key="team",
                    tag_value="",
                    launch_template="lt-1",
                    tags=(Match(tag_key="Env", tag_value="prod"), Match(tag_key="imds")),
                ),
                reason="old SDK",
                owner="payments",
                expires=date(2027, 3, 31),
            ),
            Exemption(match=Match(tag_key="legacy", tag_value="*"), reason="being replaced"),
        ),
        rollout_percent=25,
        launch_grace_seconds=300,
        max_changes_per_sweep=500,
        gate=Gate(lookback_days=30, tolerate=10, enforce_after=date(2027, 3, 31), by=CountedBy.GROUP),
        watch=Watch(hours=48, rejected_calls=5),
        account_defaults=AccountDefaults(
            http_put_response_hop_limit=2, instance_metadata_tags=Switch.DISABLED, enforce_tokens=True
        ),
        versions=VERSIONS,
    )


def test_regions_may_be_excluded() -> None:
    """A policy excludes regions or includes them."""
    assert _parsed({"regions": {"exclude": ["us-east-1"]}}).regions == RegionSelection(exclude=("us-east-1",))


def test_null_keeps_each_instances_own_options() -> None:
    """It means the same as leaving the field out."""
    names = ("http_put_response_hop_limit", "http_protocol_ipv6", "instance_metadata_tags")
    assert _parsed(dict.fromkeys(names)) == _parsed({})


def test_container_hosts_get_two_hops_unless_the_field_is_null() -> None:
    """Leaving the field out is safe."""
    assert _parsed({}).container_hop_limit == 2
    assert _parsed({"container_hop_limit": None}).container_hop_limit is None


def test_by_default_only_the_safeguard_that_delays_nothing_is_on() -> None:
    """Changes are watched; no instance is gated, and none waits."""
    policy = _parsed({})
    assert policy.watch == DEFAULT_WATCH
    assert (policy.gate, policy.launch_grace_seconds, policy.max_changes_per_sweep) == (None, 0, None)


@pytest.mark.parametrize(
    ("document", "field", "value"),
    [
        ({"legacy_calls": {}}, "gate", Gate(lookback_days=14, tolerate=0, enforce_after=None)),
        ({"legacy_calls": None}, "gate", None),
        ({"legacy_calls": {"enforce_after": None}}, "gate", Gate()),
        ({"legacy_calls": {"lookback_days": 1}}, "gate", Gate(lookback_days=1)),
        ({"legacy_calls": {"by": "group"}}, "gate", Gate(by=CountedBy.GROUP)),
        ({"legacy_calls": {"by": "instance"}}, "gate", Gate()),
        (
            {"legacy_calls": {"lookback_days": 455, "tolerate": 1000000}},
            "gate",
            Gate(lookback_days=455, tolerate=10**6),
        ),
        ({"watch": {}}, "watch", Watch(hours=24, rejected_calls=1)),
        ({"watch": None}, "watch", None),
        ({"watch": {"hours": 336, "rejected_calls": 1000000}}, "watch", Watch(hours=336, rejected_calls=10**6)),
        ({"watch": {"hours": 1}}, "watch", Watch(hours=1)),
        ({"account_defaults": None}, "account_defaults", None),
        ({"account_defaults": {}}, "account_defaults", AccountDefaults()),
        ({"account_defaults": {"enforce_tokens": None}}, "account_defaults", AccountDefaults()),
        ({"launch_grace_seconds": 0}, "launch_grace_seconds", 0),
        ({"launch_grace_seconds": 900}, "launch_grace_seconds", 900),
        ({"max_changes_per_sweep": 1}, "max_changes_per_sweep", 1),
        ({"max_changes_per_sweep": None}, "max_changes_per_sweep", None),
    ],
)
def test_each_safeguard_may_be_given_in_part_at_its_bounds_or_not_at_all(
    document: object, field: str, value: Any
) -> None:
    """A missing part has the schema's default. Null switches the safeguard off."""
    policy = _parsed(document)
    assert getattr(policy, field) == value
    assert policy == replace(_parsed({}), **{field: value})


def test_whole_numbers_with_a_decimal_point_become_integers_in_every_field() -> None:
    """JSON Schema accepts 2.0 as a whole number; the policy holds 2."""
    policy = _parsed(
        {
            "launch_grace_seconds": 60.0,
            "max_changes_per_sweep": 5.0,
            "legacy_calls": {"lookback_days": 7.0, "tolerate": 3.0},
            "watch": {"hours": 2.0, "rejected_calls": 4.0},
        }
    )
    gate, watch = policy.gate, policy.watch
    assert gate is not None
    assert watch is not None
    numbers = (
        policy.launch_grace_seconds,
        policy.max_changes_per_sweep,
        gate.lookback_days,
        gate.tolerate,
        watch.hours,
        watch.rejected_calls,
    )
    assert numbers == (60, 5, 7, 3, 2, 4)
    assert set(map(type, numbers)) == {int}


@pytest.mark.parametrize("hops", [1, 64, 2.0])
def test_a_hop_limit_is_an_integer_for_ec2_too(hops: float) -> None:
    """JSON Schema accepts 2.0 as a whole number; EC2's API requires 2."""
    limit = _parsed({"http_put_response_hop_limit": hops}).http_put_response_hop_limit
    assert (limit, type(limit)) == (int(hops), int)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (None, "http-tokens is missing; allowed: required or optional"),
        ("", 'http-tokens is ""; allowed: required or optional'),
        ("Required", 'http-tokens is "Required"; allowed: required or optional'),
        ("required\n", 'http-tokens is "required\\n"; allowed: required or optional'),
    ],
)
def test_any_other_toggle_is_refused(tokens: str | None, message: str) -> None:
    """The parameter's own pattern refuses it too, but the parser does not rely on that."""
    with pytest.raises(PolicyInvalidError) as refused:
        parse_policy(tokens, "{}", VERSIONS)
    assert str(refused.value) == message


def test_a_missing_policy_is_refused() -> None:
    """If someone deleted the parameter, the exemptions are unknown, so the enforcer changes nothing."""
    with pytest.raises(PolicyInvalidError, match=r"^policy is missing; allowed: a JSON object, \{\} at least$"):
        parse_policy("required", None, VERSIONS)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", 'policy is not JSON: Expecting value: line 1 column 1 (char 0), in ""; allowed: a JSON object'),
        ("{'a': 1}", ("policy is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 "
         "(char 1), in \"{'a': 1}\"; allowed: a JSON object")),
        ('{"mode":\n "audit"', ("policy is not JSON: Expecting ',' delimiter: line 2 column 9 (char 17), "
         'in "{\\"mode\\":\\n \\"audit\\""; allowed: a JSON object')),
        ("[]", f"policy is []; allowed: an object with the fields {POLICY_FIELDS}"),
        ("null", f"policy is null; allowed: an object with the fields {POLICY_FIELDS}"),
        ({"mod": "audit"}, f'policy has the unknown field "mod"; allowed: {POLICY_FIELDS}'),
        ({"z": 1, "a": 2}, (f'policy has the unknown field "a"; allowed: {POLICY_FIELDS}; '
         f'also policy has the unknown field "z"; allowed: {POLICY_FIELDS}')),
        ({"": 1}, f'policy has the unknown field ""; allowed: {POLICY_FIELDS}'),
        ({"\ud800": 1}, f'policy has the unknown field "\\ud800"; allowed: {POLICY_FIELDS}'),
        ({"mode": "off"}, 'mode is "off"; allowed: enforce, audit'),
        ({"mode": None}, "mode is null; allowed: enforce, audit"),
        ({"mode": ["audit"]}, 'mode is ["audit"]; allowed: enforce, audit'),
        ({"http_put_response_hop_limit": 0}, f"http_put_response_hop_limit is 0; allowed: {WHOLE_NUMBER}"),
        ({"http_put_response_hop_limit": 65}, f"http_put_response_hop_limit is 65; allowed: {WHOLE_NUMBER}"),
        ({"http_put_response_hop_limit": 1.5}, f"http_put_response_hop_limit is 1.5; allowed: {WHOLE_NUMBER}"),
        ({"http_put_response_hop_limit": "2"}, f'http_put_response_hop_limit is "2"; allowed: {WHOLE_NUMBER}'),
        ({"http_put_response_hop_limit": True}, f"http_put_response_hop_limit is true; allowed: {WHOLE_NUMBER}"),
        ('{"http_put_response_hop_limit": NaN}', f"http_put_response_hop_limit is NaN; allowed: {WHOLE_NUMBER}"),
        ({"container_hop_limit": 0}, f"container_hop_limit is 0; allowed: {WHOLE_NUMBER}"),
        ({"container_host_tags": ["eks"]},
         'container_host_tags[0] is "eks"; allowed: an object with the fields key, value'),
        ({"rollout_percent": 101}, "rollout_percent is 101; allowed: a whole number from 0 to 100"),
        ({"rollout_percent": None}, "rollout_percent is null; allowed: a whole number from 0 to 100"),
        ({"http_protocol_ipv6": "on"}, f'http_protocol_ipv6 is "on"; allowed: {ON_OFF}'),
        ({"instance_metadata_tags": False}, f"instance_metadata_tags is false; allowed: {ON_OFF}"),
        ({"regions": ["eu-west-1"]}, 'regions is ["eu-west-1"]; allowed: an object with the fields include, exclude'),
        ({"regions": {}}, "regions is {}; allowed: exactly one of include, exclude"),
        ({"regions": {"include": []}}, "regions.include is []; allowed: a list with at least one entry"),
        ({"regions": {"include": "all"}}, 'regions.include is "all"; allowed: a list with at least one entry'),
        ({"regions": {"exclude": ["Paris"]}}, f'regions.exclude[0] is "Paris"; allowed: {REGION_NAMES}'),
        ({"regions": {"exclude": ["eu-west-1\n"]}}, f'regions.exclude[0] is "eu-west-1\\n"; allowed: {REGION_NAMES}'),
        ({"regions": {"include": ["eu-west-1"], "exclude": ["us-east-1"]}},
         'regions is {"include": ["eu-west-1"], "exclude": ["us-east-1"]}; allowed: exactly one of include, exclude'),
        ({"regions": {"only": ["eu-west-1"]}}, 'regions has the unknown field "only"; allowed: include, exclude'),
        ({"exemptions": {}}, "exemptions is {}; allowed: a list"),
        ({"exemptions": ["i-1"]},
         f'exemptions[0] is "i-1"; allowed: an object with the fields {EXEMPTION_FIELDS}'),
        ({"exemptions": [{"match": {"region": "*"}}]},
         'exemptions[0] lacks the field reason: {"match": {"region": "*"}}; allowed: ' + EXEMPTION_FIELDS),
        ({"exemptions": [{"reason": "r"}]},
         'exemptions[0] lacks the field match: {"reason": "r"}; allowed: ' + EXEMPTION_FIELDS),
        ({"exemptions": [{"match": {"region": "*"}, "reason": "r", "until": "x"}]},
         f'exemptions[0] has the unknown field "until"; allowed: {EXEMPTION_FIELDS}'),
        ({"exemptions": [{"match": {"region": "*"}, "reason": ""}]}, f'exemptions[0].reason is ""; allowed: {TEXT}'),
        ({"exemptions": [{"match": {"region": "*"}, "reason": "r", "owner": None}]},
         f"exemptions[0].owner is null; allowed: {TEXT}"),
        (_exempting(), f"exemptions[0].match is {{}}; allowed: at least one of {MATCH_FIELDS}"),
        (_exempting(ami="x"), f'exemptions[0].match has the unknown field "ami"; allowed: {MATCH_FIELDS}'),
        (_exempting(region=""), f'exemptions[0].match.region is ""; allowed: {TEXT}'),
        (_exempting(image_id=["ami-1"]), f'exemptions[0].match.image_id is ["ami-1"]; allowed: {TEXT}'),
        (_exempting(tag="team"), 'exemptions[0].match.tag is "team"; allowed: an object with the fields key, value'),
        (_exempting(tag={"value": "x"}),
         'exemptions[0].match.tag lacks the field key: {"value": "x"}; allowed: key, value'),
        (_exempting(tag={"key": "team", "value": 1}), "exemptions[0].match.tag.value is 1; allowed: text"),
        (_exempting(tags=[]), "exemptions[0].match.tags is []; allowed: a list with at least one entry"),
        (_exempting(tags={"key": "team"}),
         'exemptions[0].match.tags is {"key": "team"}; allowed: a list with at least one entry'),
        (_exempting(tags=[{"key": "team"}, {}]),
         "exemptions[0].match.tags[1] lacks the field key: {}; allowed: key, value"),
        (_exempting(launch_template=""), f'exemptions[0].match.launch_template is ""; allowed: {TEXT}'),
        ({"launch_grace_seconds": -1}, f"launch_grace_seconds is -1; allowed: {GRACE}"),
        ({"launch_grace_seconds": 901}, f"launch_grace_seconds is 901; allowed: {GRACE}"),
        ({"launch_grace_seconds": None}, f"launch_grace_seconds is null; allowed: {GRACE}"),
        ({"launch_grace_seconds": "5m"}, f'launch_grace_seconds is "5m"; allowed: {GRACE}'),
        ({"max_changes_per_sweep": 0}, f"max_changes_per_sweep is 0; allowed: {CHANGES}"),
        ({"max_changes_per_sweep": 1000001}, f"max_changes_per_sweep is 1000001; allowed: {CHANGES}"),
        ({"max_changes_per_sweep": True}, f"max_changes_per_sweep is true; allowed: {CHANGES}"),
        ({"legacy_calls": True},
         f"legacy_calls is true; allowed: an object with the fields {GATE_FIELDS}, or null"),
        ({"legacy_calls": {"days": 14}}, f'legacy_calls has the unknown field "days"; allowed: {GATE_FIELDS}'),
        ({"legacy_calls": {"lookback_days": 0}}, f"legacy_calls.lookback_days is 0; allowed: {LOOKBACK}"),
        ({"legacy_calls": {"lookback_days": 456}}, f"legacy_calls.lookback_days is 456; allowed: {LOOKBACK}"),
        ({"legacy_calls": {"lookback_days": None}}, f"legacy_calls.lookback_days is null; allowed: {LOOKBACK}"),
        ({"legacy_calls": {"tolerate": -1}}, f"legacy_calls.tolerate is -1; allowed: {TOLERATE}"),
        ({"legacy_calls": {"tolerate": 1000001}}, f"legacy_calls.tolerate is 1000001; allowed: {TOLERATE}"),
        ({"legacy_calls": {"tolerate": "few"}}, f'legacy_calls.tolerate is "few"; allowed: {TOLERATE}'),
        ({"legacy_calls": {"by": "Group"}}, 'legacy_calls.by is "Group"; allowed: instance, group'),
        ({"legacy_calls": {"by": None}}, "legacy_calls.by is null; allowed: instance, group"),
        ({"legacy_calls": {"enforce_after": "31.03.2027"}},
         f'legacy_calls.enforce_after is "31.03.2027"; allowed: {A_DAY}'),
        ({"legacy_calls": {"enforce_after": 20270331}}, f"legacy_calls.enforce_after is 20270331; allowed: {A_DAY}"),
        ({"legacy_calls": {"enforce_after": "2027-02-29"}},
         'legacy_calls.enforce_after is "2027-02-29"; allowed: a calendar date as YYYY-MM-DD, or null'),
        ({"ledger": "best_effort"}, f"policy has the removed field ledger: {LEDGER_REMOVED}"),
        ({"ledger": "required"}, f"policy has the removed field ledger: {LEDGER_REMOVED}"),
        ({"ledger": None, "a": 1}, (f"policy has the removed field ledger: {LEDGER_REMOVED}; "
         f'also policy has the unknown field "a"; allowed: {POLICY_FIELDS}')),
        ({"ledger": None, "mode": "audit", "watch": {"ledger": "required"}},
         (f"policy has the removed field ledger: {LEDGER_REMOVED}; "
         f'also watch has the unknown field "ledger"; allowed: {WATCH_FIELDS}')),
        ({"watch": False}, f"watch is false; allowed: an object with the fields {WATCH_FIELDS}, or null"),
        ({"watch": {"days": 1}}, f'watch has the unknown field "days"; allowed: {WATCH_FIELDS}'),
        ({"account_defaults": True},
         f"account_defaults is true; allowed: an object with the fields {DEFAULTS_FIELDS}, or null"),
        ({"account_defaults": {"http_tokens": "required"}},
         f'account_defaults has the unknown field "http_tokens"; allowed: {DEFAULTS_FIELDS}'),
        *(({"account_defaults": {"enforce_tokens": value}},
           f"account_defaults.enforce_tokens is {json.dumps(value)}; allowed: true, null")
          for value in (False, 1, "yes")),
        ({"account_defaults": {"http_put_response_hop_limit": 65}},
         f"account_defaults.http_put_response_hop_limit is 65; allowed: {WHOLE_NUMBER}"),
        ({"watch": {"hours": 0}}, "watch.hours is 0; allowed: a whole number from 1 to 336"),
        ({"watch": {"hours": 337}}, "watch.hours is 337; allowed: a whole number from 1 to 336"),
        ({"watch": {"rejected_calls": 0}}, "watch.rejected_calls is 0; allowed: a whole number from 1 to 1000000"),
        ({"watch": {"rejected_calls": 1000001}},
         "watch.rejected_calls is 1000001; allowed: a whole number from 1 to 1000000"),
        ({"watch": {"revert": True}}, f"watch has the removed field revert: {REVERT_REMOVED}"),
        ({"watch": {"hours": 12, "revert": False}}, f"watch has the removed field revert: {REVERT_REMOVED}"),
        ({"watch": {"revert": None, "a": 1}}, (f"watch has the removed field revert: {REVERT_REMOVED}; "
         f'also watch has the unknown field "a"; allowed: {WATCH_FIELDS}')),
        ({"revert": True}, f'policy has the unknown field "revert"; allowed: {POLICY_FIELDS}'),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_field_its_value_and_what_is_allowed(document: object, message: str) -> None:
    """The message alone is enough to fix it."""
    assert _refusal(document) == message


def _problems(document: object, tokens: str | None = "required") -> tuple[str, ...]:
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(PolicyInvalidError) as refused:
        parse_policy(tokens, text, VERSIONS)
    return refused.value.problems


MANY: dict[str, Any] = {
    "watch": {"hours": 0, "rejected_calls": 0},
    "exemptions": [
        {"match": {"region": ""}, "expires": "2027-02-30"},
        {"match": {}, "reason": "\ud83d"},
        *[{"match": {"region": "*"}, "reason": "r"}] * 8,
        {"match": {"ami": "x", "tag": {"value": 1}}, "reason": "r"},
    ],
    "mode": "off",
    "rollout": 5,
    "ledger": None,
    "regions": {"include": ["Paris", "eu-west-1"], "only": []},
}
ALL_OF_THEM = (
    f"policy has the removed field ledger: {LEDGER_REMOVED}",
    f'policy has the unknown field "rollout"; allowed: {POLICY_FIELDS}',
    'mode is "off"; allowed: enforce, audit',
    'regions has the unknown field "only"; allowed: include, exclude',
    f'regions.include[0] is "Paris"; allowed: {REGION_NAMES}',
    'exemptions[0] lacks the field reason: {"match": {"region": ""}, "expires": "2027-02-30"}; allowed: '
    + EXEMPTION_FIELDS,
    f'exemptions[0].match.region is ""; allowed: {TEXT}',
    'exemptions[0].expires is "2027-02-30"; allowed: a calendar date as YYYY-MM-DD',
    f"exemptions[1].match is {{}}; allowed: at least one of {MATCH_FIELDS}",
    'exemptions[1].reason has an unpaired surrogate: "\\ud83d"; allowed: valid Unicode text',
    f'exemptions[10].match has the unknown field "ami"; allowed: {MATCH_FIELDS}',
    'exemptions[10].match.tag lacks the field key: {"value": 1}; allowed: key, value',
    "exemptions[10].match.tag.value is 1; allowed: text",
    "watch.hours is 0; allowed: a whole number from 1 to 336",
    "watch.rejected_calls is 0; allowed: a whole number from 1 to 1000000",
)


def test_all_mistakes_are_named_at_once() -> None:
    """They are in the order of the schema, whatever the order of the document."""
    assert _problems(MANY) == ALL_OF_THEM
    assert _problems(dict(reversed(MANY.items()))) == ALL_OF_THEM


def test_mistakes_in_the_toggle_and_in_the_document_are_named_together() -> None:
    """Either may be wrong or missing."""
    assert _problems({"mode": "off"}, "on") == (
        'http-tokens is "on"; allowed: required or optional',
        'mode is "off"; allowed: enforce, audit',
    )
    assert _problems("{", None)[0] == "http-tokens is missing; allowed: required or optional"
    assert len(_problems("{", None)) == 2


def test_fields_given_twice_are_named_with_the_other_mistakes() -> None:
    """The parser names them for each object in which a field appears twice."""
    assert _problems('{"watch": {"hours": 1, "hours": 2}, "mode": "off", "mode": "on"}') == (
        'policy has "hours" more than once; allowed: each field once',
        'policy has "mode" more than once; allowed: each field once',
        'mode is "on"; allowed: enforce, audit',
    )


def test_a_message_names_three_mistakes_and_counts_the_rest() -> None:
    """It goes into logs and mails, so it must not grow with the document."""
    assert _refusal(MANY) == f"{'; also '.join(ALL_OF_THEM[:3])}; and 12 more"
    assert len(_refusal({"exemptions": [None] * 1_000})) < 1_000


@pytest.mark.parametrize("expires", ["2027-02-29", "2027-13-01", "0000-01-01"])
def test_a_day_that_is_not_in_the_calendar_is_refused(expires: str) -> None:
    """A pattern cannot check leap years."""
    good = {"match": {"region": "*"}, "reason": "r"}
    message = _refusal({"exemptions": [good, {**good, "expires": expires}]})
    assert message == f'exemptions[1].expires is "{expires}"; allowed: a calendar date as YYYY-MM-DD'


@pytest.mark.parametrize("expires", ["2027-3-31", "31.03.2027", "2027-03-31T00:00:00", "20270331", ""])
def test_a_day_in_another_format_is_refused(expires: str) -> None:
    """With a single format it is clear which number is the month."""
    message = _refusal({"exemptions": [{"match": {"region": "*"}, "reason": "r", "expires": expires}]})
    assert message.startswith(f'exemptions[0].expires is "{expires}"; allowed: text that matches')


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ('{"mode": "audit", "mode": "enforce"}', '"mode"'),
        ('{"regions": {"include": ["a-b-1"], "include": ["c-d-1"]}}', '"include"'),
        ('{"b": 1, "a": 1, "b": 2, "a": 2, "c": 3}', '"a", "b"'),
        # A name with an unpaired surrogate could be neither logged nor mailed.
        (r'{"\ud800": 1, "\ud800": 2}', r'"\ud800"'),
    ],
)
def test_a_field_given_twice_is_refused(document: str, names: str) -> None:
    """Python's parser would silently take the last one: audit could turn out to be enforce."""
    assert _problems(document)[0] == f"policy has {names} more than once; allowed: each field once"


@pytest.mark.parametrize(
    "document", [HUGE_NUMBER, f'{{"http_put_response_hop_limit": {HUGE_NUMBER}}}'], ids=["alone", "in a field"]
)
def test_a_number_with_thousands_of_digits_is_refused(document: str) -> None:
    """JSON has no limit for digits, but Python does."""
    message = _refusal(document)
    assert message.startswith("policy is not JSON: Exceeds the limit (4300 digits) for integer string conversion")
    assert message.endswith(f", in {shown(document)}; allowed: a JSON object")


def test_a_policy_that_is_too_large_is_refused_with_its_size() -> None:
    """The size is in bytes, as Parameter Store counts: é takes two."""
    assert _parsed("{}" + " " * 8190).mode is Mode.ENFORCE
    assert _refusal("{}" + " " * 8191) == "policy is 8,193 bytes long; allowed: up to 8,192 bytes"
    assert _refusal('{"é":1}' + " " * 8185) == "policy is 8,193 bytes long; allowed: up to 8,192 bytes"


def test_a_policy_that_is_nested_too_deeply_is_refused() -> None:
    """The JSON parser refuses it, or the schema does because of its type."""
    document = "[" * 4096 + "]" * 4096
    assert _refusal(document) in {
        f"policy is nested too deeply: {shown(document)}; allowed: a JSON object",
        f"policy is {'[' * 120}…; allowed: an object with the fields {POLICY_FIELDS}",
    }


def test_an_unpaired_surrogate_is_refused_wherever_the_schema_allows_text() -> None:
    """It could be neither logged nor mailed."""
    message = _refusal('{"exemptions": [{"match": {"region": "*"}, "reason": "\\ud83d"}]}')
    assert message == 'exemptions[0].reason has an unpaired surrogate: "\\ud83d"; allowed: valid Unicode text'
    assert "an unpaired surrogate" in _refusal(_exempting(tag={"key": "\udc00"}))


def test_a_surrogate_pair_is_allowed() -> None:
    """JSON writes many characters as two escapes."""
    policy = _parsed('{"exemptions": [{"match": {"region": "*"}, "reason": "\\ud83d\\ude00"}]}')
    assert policy.exemptions[0].reason == "😀"
