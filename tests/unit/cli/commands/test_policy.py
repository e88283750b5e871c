from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import HttpTokens
from imds_enforcer.policy import PolicyVersions
from imds_enforcer.policy.document import as_document, columns
from imds_enforcer.policy.parser import parse_policy
from tests.fakes.command import Command, lines
from tests.fakes.examples import POLICY_PARAMETER, TOKENS_PARAMETER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.clients import FakeClients

EVERYTHING = {
    "mode": "audit",
    "http_put_response_hop_limit": 3,
    "container_hop_limit": 4,
    "container_host_tags": [{"key": "nomad", "value": "*"}],
    "http_protocol_ipv6": "disabled",
    "instance_metadata_tags": "enabled",
    "regions": {"exclude": ["us-east-1"]},
    "exemptions": [
        {
            "match": {"tag": {"key": "team", "value": "old"}},
            "reason": "legacy",
            "owner": "ann",
            "expires": "2026-11-21",
        },
        {"match": {"region": "eu-*", "image_id": "ami-1"}, "reason": "vendor", "expires": "2026-11-22"},
    ],
    "rollout_percent": 50,
    "launch_grace_seconds": 60,
    "max_changes_per_sweep": 100,
    "legacy_calls": {"lookback_days": 7, "tolerate": 1, "enforce_after": "2027-01-01", "by": "group"},
    "watch": {"hours": 12, "rejected_calls": 5},
    "account_defaults": {
        "http_put_response_hop_limit": 2,
        "instance_metadata_tags": "disabled",
        "enforce_tokens": True,
    },
}
WRONG = '{"mode": "audits"}'
PROBLEM = 'mode is "audits"; allowed: enforce, audit'


def test_the_policy_in_force(command: Command) -> None:
    """Each field has one row, which says if its value is a default."""
    result = command("policy", "show")
    assert (result.exit_code, result.stderr) == (0, "")
    table = lines(result.stdout)
    assert table[:3] == [
        "FIELD VALUE FROM",
        "http_tokens required version 1; since 2026-11-22 12:00 UTC",
        "mode enforce default",
    ]
    assert "regions all default" in table
    assert "watch for 24 hours; 1 or more rejected IMDSv1 calls are reported default" in table


def test_a_policy_without_defaults(clients: FakeClients, command: Command) -> None:
    """Each row says since when the value is set; expired exemptions say so."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps(EVERYTHING))
    table = lines(command("policy", "show").stdout)
    assert not any(line.endswith(" default") for line in table)
    assert "mode audit version 2; since 2026-11-22 12:00 UTC" in table
    assert any("(tag team=old) legacy, owner ann, until 2026-11-21 (expired);" in line for line in table)
    assert any("(image_id ami-1, region eu-*) vendor, until 2026-11-22 version" in line for line in table)


def test_the_policy_in_force_as_json(clients: FakeClients, command: Command) -> None:
    """It has the whole policy, as it was stored."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps(EVERYTHING))
    document = command.json("policy", "show")
    expired = [each.pop("expired") for each in document["policy"]["exemptions"]]
    assert expired == [True, False]
    assert document == {
        "valid": True,
        "problem": None,
        "http_tokens": "required",
        "versions": {"http_tokens": 1, "policy": 2},
        "changed": {"http_tokens": "2026-11-22T12:00:00+00:00", "policy": "2026-11-22T12:00:00+00:00"},
        "policy": EVERYTHING,
    }


def test_the_policy_in_force_as_csv(clients: FakeClients, command: Command) -> None:
    """It has one row."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps(EVERYTHING))
    [row] = csv.DictReader(command("policy", "show", "--output", "csv").stdout.splitlines())
    assert list(row) == [
        *("valid", "problem", "http_tokens", "versions.http_tokens", "versions.policy"),
        *("changed.http_tokens", "changed.policy", *(f"policy.{name}" for name in columns())),
    ]
    assert [name for name, value in row.items() if not value] == ["problem", "policy.regions.include"]
    assert row["policy.regions.exclude"] == "us-east-1"


@pytest.mark.parametrize("document", [{}, {"legacy_calls": {}}, {"watch": None}, {"account_defaults": {}}, EVERYTHING])
def test_storing_the_shown_fields_changes_nothing(document: dict[str, object]) -> None:
    """The shown fields parse to the same policy."""
    policy = parse_policy(HttpTokens.REQUIRED, json.dumps(document), PolicyVersions())
    fields = {name: value for name, value in as_document(policy).items() if name != "regions" or value}
    assert parse_policy(HttpTokens.REQUIRED, json.dumps(fields), PolicyVersions()) == policy


def test_an_invalid_policy(clients: FakeClients, command: Command) -> None:
    """The command shows the stored document, and what is wrong with it."""
    clients.ssm.put(POLICY_PARAMETER, WRONG)
    result = command("policy", "show")
    assert result.exit_code == 1
    assert lines(result.stdout)[2] == f"policy {WRONG} version 2; since 2026-11-22 12:00 UTC"
    assert result.stderr == f"The policy is invalid, so nothing is enforced: {PROBLEM}\n"
    document = command.json("policy", "show", exit_code=1)
    assert (document["valid"], document["problem"], document["policy"]) == (False, PROBLEM, None)


def test_a_missing_policy(clients: FakeClients, command: Command) -> None:
    """It counts as invalid: nothing is enforced."""
    del clients.ssm.values[TOKENS_PARAMETER], clients.ssm.values[POLICY_PARAMETER]
    result = command("policy", "show")
    assert result.exit_code == 1
    assert lines(result.stdout)[1:] == ["http_tokens missing", "policy missing"]
    assert "http-tokens is missing; allowed: required or optional" in result.stderr


def test_a_valid_document(command: Command, tmp_path: Path) -> None:
    """There are no findings, and no call to AWS."""
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(EVERYTHING | {"account_defaults": None}))
    result = command("policy", "check", str(file))
    assert (result.exit_code, result.output) == (0, "")
    assert command.json("policy", "check", str(file)) == []
    assert command.profiles == []


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (WRONG, PROBLEM),
        ('{"exemptions": [{"match": {}, "reason": "x"}]}', "exemptions[0].match is {}; allowed: at least one of"),
        ("{", "policy is not JSON: "),
        ("[]", "policy is []; allowed: an object with the fields mode, "),
        ('{"ledger": "required"}', "policy has the removed field ledger: a change that cannot be recorded "),
        ('{"watch": {"revert": true}}', "watch has the removed field revert: the watch only reports, "),
    ],
)
def test_an_invalid_document(command: Command, tmp_path: Path, text: str, finding: str) -> None:
    """The finding is the parser's, on one line."""
    file = tmp_path / "policy.json"
    file.write_text(text)
    result = command("policy", "check", str(file))
    assert (result.exit_code, result.stderr) == (1, "")
    assert lines(result.stdout)[0] == "FILE FINDING"
    assert lines(result.stdout)[1].startswith(f"{file} {finding}")
    [found] = command.json("policy", "check", str(file), exit_code=1)
    assert found["finding"].startswith(finding)


def test_a_suspicious_pattern_is_a_warning_and_no_finding(command: Command, tmp_path: Path) -> None:
    """The warning is on standard error in every format, and the exit code stays 0."""
    file = tmp_path / "policy.json"
    file.write_text('{"exemptions": [{"match": {"tag": {"key": "env", "value": "[prod]"}}, "reason": "x"}]}')
    warning = 'exemptions[0].match.tag.value is "[prod]": [prod] matches one character; write [[] for a literal ['
    result = command("policy", "check", str(file))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{file}: {warning}\n")
    result = command("policy", "check", str(file), "--output", "json")
    assert (json.loads(result.stdout), result.stderr) == ([], f"{file}: {warning}\n")


def test_every_mistake_is_a_finding(command: Command, tmp_path: Path) -> None:
    """The author can fix all of them in one round."""
    file = tmp_path / "policy.json"
    file.write_text('{"mod": 1, "mode": "audits", "rollout_percent": 101, "exemptions": [{"reason": 1}]}')
    findings = [each["finding"] for each in command.json("policy", "check", str(file), exit_code=1)]
    assert [each.partition(";")[0] for each in findings] == [
        'policy has the unknown field "mod"',
        'mode is "audits"',
        'exemptions[0] lacks the field match: {"reason": 1}',
        "exemptions[0].reason is 1",
        "rollout_percent is 101",
    ]
    assert len(lines(command("policy", "check", str(file)).stdout)) == 1 + len(findings)
    refused = command.refusal("policy", "set", str(file))
    assert all(finding in refused for finding in findings)


def test_a_document_from_standard_input(command: Command) -> None:
    """It can come through a pipe."""
    result = command("policy", "check", "-", typed=WRONG)
    assert (result.exit_code, lines(result.stdout)[1]) == (1, f"- {PROBLEM}")


def test_standard_input_in_utf_16(command: Command) -> None:
    """The command decodes it like a file, in every locale."""
    assert command("policy", "check", "-", typed=WRONG.encode("utf-16")).stdout.splitlines()[1:] == [f"-     {PROBLEM}"]
    refused = "imds-enforcer: '-' has a zero byte, like UTF-16 without a byte order mark or UTF-32; allowed: JSON"
    assert command("policy", "check", "-", typed=WRONG.encode("utf-16-le")).stderr.startswith(refused)


@pytest.mark.parametrize("name", ["check", "set"])
def test_a_file_that_cannot_be_read(command: Command, tmp_path: Path, name: str) -> None:
    """The error is one line, without a traceback."""
    absent, binary = tmp_path / "absent.json", tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xff")
    refused = f"imds-enforcer: '{absent}' cannot be read: No such file or directory; allowed: a file, or - for standard"
    assert command.refusal("policy", name, str(absent)).startswith(refused)
    assert command.refusal("policy", name, str(tmp_path)).startswith(
        f"imds-enforcer: '{tmp_path}' cannot be read: Is a"
    )
    refused = f"imds-enforcer: '{binary}' is not UTF-8 text: invalid start byte at byte 0; allowed: JSON in UTF-8, or"
    assert command.refusal("policy", name, str(binary)).startswith(refused)


def test_the_schema(command: Command) -> None:
    """It is the parser's schema."""
    schema = json.loads(command("policy", "schema").stdout)
    assert schema["title"] == "The policy of imds-enforcer"
    assert set(EVERYTHING) == set(schema["properties"])
