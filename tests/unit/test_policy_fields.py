"""Every place that lists the policy's fields lists them all: a field added to only one of them fails here."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from imds_enforcer.policy import AccountDefaults, Exemption, Gate, Match, Policy, PolicyVersions, RegionSelection, Watch
from imds_enforcer.policy.container_hosts import CONTAINER_HOSTS
from imds_enforcer.policy.document import as_document, as_text, as_words, columns, differences
from imds_enforcer.policy.parser import parse_policy, schema
from imds_enforcer_cli.commands.weakening import weakened

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
SCHEMA = schema()
FIELDS: dict[str, Any] = SCHEMA["properties"]
EXEMPTION: dict[str, Any] = SCHEMA["definitions"]["exemption"]["properties"]
MATCH: dict[str, Any] = EXEMPTION["match"]["properties"]
ATTRIBUTES = {"gate": "legacy_calls"}
"""Attributes whose name differs from their field's."""


class Step(NamedTuple):
    """Two values of a field; the second protects less or is less careful, and no part of it is the default."""

    strong: Any
    weak: Any


STEPS = {
    "mode": Step("enforce", "audit"),
    "http_put_response_hop_limit": Step(1, 3),
    "container_hop_limit": Step(3, 4),
    "container_host_tags": Step(
        [{"key": "nomad", "value": "yes"}, {"key": "k", "value": "v"}], [{"key": "k", "value": "*"}]
    ),
    "http_protocol_ipv6": Step("disabled", "enabled"),
    "instance_metadata_tags": Step("disabled", "enabled"),
    "regions": Step({"exclude": ["us-east-1"]}, {"include": ["eu-west-1"]}),
    "exemptions": Step(
        [{"match": {"tag": {"key": "team", "value": "old"}}, "reason": "legacy"}],
        [
            {
                "match": {
                    "instance_id": "i-1",
                    "image_id": "ami-1",
                    "auto_scaling_group": "web-*",
                    "launch_template": "lt-1",
                    "region": "eu-*",
                    "tag": {"key": "team", "value": "old"},
                    "tags": [{"key": "env", "value": "prod"}, {"key": "imds", "value": "*"}],
                },
                "reason": "vendor",
                "owner": "ann",
                "expires": "2026-11-21",
            }
        ],
    ),
    "rollout_percent": Step(50, 5),
    "launch_grace_seconds": Step(30, 60),
    "max_changes_per_sweep": Step(10, 20),
    "legacy_calls": Step(
        {"lookback_days": 7, "tolerate": 1, "enforce_after": "2027-01-01", "by": "instance"},
        {"lookback_days": 8, "tolerate": 2, "enforce_after": "2028-01-01", "by": "group"},
    ),
    "watch": Step({"hours": 12, "rejected_calls": 5}, None),
    "account_defaults": Step(
        {"http_put_response_hop_limit": 2, "instance_metadata_tags": "disabled", "enforce_tokens": True},
        {"http_put_response_hop_limit": 3, "instance_metadata_tags": "enabled", "enforce_tokens": None},
    ),
}
"""For each field, a step that the operator must confirm."""


def parsed(**fields: Any) -> Policy:
    """The policy with these fields of the document."""
    return parse_policy("required", json.dumps(fields), PolicyVersions())


def hold(place: str, found: Iterable[str], fields: Iterable[str] = FIELDS) -> None:
    """Check the names in one place against those of the schema."""
    missing, unknown = [name for name in fields if name not in found], sorted({*found} - {*fields})
    assert not missing, f"{place} lacks {', '.join(missing)}, which schema.json has"
    assert not unknown, f"{place} has {', '.join(unknown)}, which schema.json lacks"


def names_of(part: type) -> list[str]:
    """The fields of a data class, by their names in the document."""
    return [ATTRIBUTES.get(each.name, each.name) for each in dataclasses.fields(part)]


def rows_of_readme() -> dict[str, list[str]]:
    """The cells beside each field of the README's policy table, wherever it is."""
    text = (ROOT / "README.md").read_text("utf-8")
    tables = re.findall(r"^\| field \| values \| default \|\n\|[-| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert len(tables) == 1, "README.md has no table with the header row | field | values | default |, or several"
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in tables[0].splitlines()]
    return {name: cells for names, *cells in rows for name in re.findall(r"`(\w+)`", names)}


README = rows_of_readme()


def test_the_data_class_has_the_fields_of_the_schema() -> None:
    """Besides the toggle, which is the other parameter, and the versions, which Parameter Store adds."""
    hold("Policy (policy/policy.py)", [name for name in names_of(Policy) if name not in ("http_tokens", "versions")])


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        (RegionSelection, list(FIELDS["regions"]["properties"])),
        (Gate, list(FIELDS["legacy_calls"]["properties"])),
        (Watch, list(FIELDS["watch"]["properties"])),
        (AccountDefaults, list(FIELDS["account_defaults"]["properties"])),
        (Exemption, list(EXEMPTION)),
        (Match, [*(name for name in MATCH if name != "tag"), "tag_key", "tag_value"]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_parts_have_the_fields_of_the_schema(part: type, fields: list[str]) -> None:
    """A tag has two attributes."""
    hold(part.__name__, names_of(part), fields)


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("STEPS of this test", list(STEPS)),
        ("_fields (policy/document.py)", list(as_document(parsed()))),
        ("as_text (policy/document.py)", [line.partition(": ")[0] for line in as_text(parsed()).splitlines()[2:]]),
        ("The policy table of README.md", list(README)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_place_has_the_fields_of_the_schema(place: str, found: list[str]) -> None:
    """All of them, under the same names."""
    hold(place, found)


@pytest.mark.parametrize(
    ("place", "example", "fields"),
    [
        ("legacy_calls", STEPS["legacy_calls"].strong, FIELDS["legacy_calls"]["properties"]),
        ("watch", STEPS["watch"].strong, FIELDS["watch"]["properties"]),
        ("account_defaults", STEPS["account_defaults"].strong, FIELDS["account_defaults"]["properties"]),
        ("regions", STEPS["regions"].strong | STEPS["regions"].weak, FIELDS["regions"]["properties"]),
        ("exemptions", STEPS["exemptions"].weak[0], EXEMPTION),
        ("exemptions.match", STEPS["exemptions"].weak[0]["match"], MATCH),
    ],
)
def test_the_examples_have_every_part(place: str, example: dict[str, Any], fields: dict[str, Any]) -> None:
    """Else the tests below would not notice a part left out."""
    hold(f"STEPS of this test, at {place},", example, fields)


@pytest.mark.parametrize("name", STEPS)
def test_the_document_is_what_was_parsed(name: str) -> None:
    """Storing the document that is shown changes nothing."""
    for value in STEPS[name]:
        policy = parsed(**{name: value})
        shown = as_document(policy).get(name)
        assert parsed(**{name: shown}) == policy, f"parse_policy and as_document differ about {name}"
        assert shown == value, f"as_document (policy/document.py) or parse_policy leaves out a part of {name}"


@pytest.mark.parametrize("name", STEPS)
def test_a_field_is_read_into_its_own_attribute(name: str) -> None:
    """And into no other."""
    policy, default = parsed(**{name: STEPS[name].weak}), parsed()
    attributes = [each.name for each in dataclasses.fields(Policy)]
    changed = [each for each in attributes if getattr(policy, each) != getattr(default, each)]
    assert [ATTRIBUTES.get(each, each) for each in changed] == [name], f"parse_policy reads {name} as {changed}"


@pytest.mark.parametrize("name", STEPS)
def test_a_difference_in_the_field_is_noticed(name: str) -> None:
    """In the diff, in the mail, and by the question to the operator."""
    old, new = (parsed(**{name: value}) for value in STEPS[name])
    assert differences(old, new) == [name], f"differences (policy/document.py) does not see {name}"
    assert as_words(old).get(name) != as_words(new).get(name), (
        f"as_words (policy/document.py) does not say what {name} is"
    )
    lines = set(as_text(old).splitlines()) ^ set(as_text(new).splitlines())
    assert {line.partition(": ")[0] for line in lines} == {name}, f"as_text (policy/document.py) does not say {name}"
    assert weakened(old, new), f"weakened (commands/weakening.py) does not ask about {name}"


def test_the_columns_are_those_of_a_document() -> None:
    """Each field of an object has its own column; a list has one."""
    full = as_document(parsed(**{name: step.strong for name, step in STEPS.items()}))
    full["regions"] |= STEPS["regions"].weak
    parts = [[f"{n}.{inner}" for inner in value] if isinstance(value, dict) else [n] for n, value in full.items()]
    differing = {*columns()} ^ {name for part in parts for name in part}
    assert not differing, f"columns and as_document (policy/document.py) differ about {', '.join(sorted(differing))}"


@pytest.mark.parametrize("name", README)
def test_the_readme_says_what_the_schema_allows(name: str) -> None:
    """The parts, the values and the bounds of each field, and whether it may be null."""
    values, field = README[name][0], FIELDS[name]
    wanted = [f'"{inner}"' for inner in field.get("properties", ())]
    wanted += ["`null`" if value is None else f"`{value}`" for value in field.get("enum", ())]
    wanted += ["`null`"] if "null" in field.get("type", ()) else []
    for words in wanted:
        assert words in values, f"README.md does not say that {name} may have {words}"
    if "minimum" in field:
        bounds = (f"{field['minimum']}\u2013{field['maximum']}", f"{field['minimum']} or more")
        assert values.startswith(bounds), f"README.md does not say that {name} goes {bounds[0]}"


@pytest.mark.parametrize("name", MATCH)
def test_the_readme_says_what_a_match_may_have(name: str) -> None:
    """In the sentence below the example."""
    [sentence] = re.findall(r"^A `match` holds [^;]*;", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert f"`{name}`" in sentence, f"README.md does not say that a match may have {name}"


@pytest.mark.parametrize("service", sorted({each.service for each in CONTAINER_HOSTS}))
def test_the_services_whose_hosts_are_known_are_named(service: str) -> None:
    """Next to the field that adds more of them."""
    assert service in README["container_host_tags"][0], f"README.md does not name {service}"
    assert service in FIELDS["container_host_tags"]["description"], f"schema.json does not name {service}"


@pytest.mark.parametrize("name", README)
def test_the_readme_says_the_default(name: str) -> None:
    """It is the default of an empty document."""
    values, default = README[name]
    words = {"none": "[]", "every enabled region": "null"}
    text = re.findall(r"`(\{.*?\})`", values)[0] if default == "as shown" else words.get(default, default.strip("`"))
    value = text if "enum" in FIELDS[name] and text != "null" else json.loads(text)
    if default == "as shown":
        assert parsed(**{name: value}) == parsed(), f"README.md shows another default of {name}"
    else:
        assert as_document(parsed()).get(name) == value, f"README.md has another default of {name}"
