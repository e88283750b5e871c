from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.command import Command, lines
from tests.fakes.examples import POLICY_PARAMETER, TOKENS_PARAMETER
from tests.fakes.stack import refusal

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from tests.fakes.clients import FakeClients

AUDIT = {"mode": "audit"}
LIMIT = {"http_put_response_hop_limit": 2}
NO_TERMINAL = "imds-enforcer: no terminal to ask at, so nothing was done; --yes goes on without asking"
WEAKER = "This weakens the policy: the enforcer only audits instances, and no longer changes them."


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of a file for a document."""
    return tmp_path / "policy.json"


def put(command: Command, file: Path, document: Any, *arguments: str, typed: str | None = None) -> Result:
    """Set the policy to a document."""
    file.write_text(json.dumps(document))
    return command("policy", "set", str(file), *arguments, typed=typed)


def test_a_stricter_policy_is_stored_without_asking(clients: FakeClients, command: Command, file: Path) -> None:
    """The command shows the differences."""
    result = put(command, file, LIMIT)
    assert result.exit_code == 0
    assert lines(result.stdout) == [
        "FIELD NOW THEN",
        "http_put_response_hop_limit each instance keeps its own 2",
    ]
    assert result.stderr == "The policy is stored as version 2; a sweep of every region follows.\n"
    [request] = clients.ssm.puts
    assert request == {
        "Name": POLICY_PARAMETER,
        "Value": json.dumps(LIMIT),
        "Type": "String",
        "Overwrite": True,
        "Tier": "Intelligent-Tiering",
    }


CONTRADICTING: dict[str, Any] = {
    "account_defaults": {"enforce_tokens": True},
    "exemptions": [{"match": {"instance_id": "i-1"}, "reason": "legacy"}],
}
AGAINST = (
    "with account_defaults.enforce_tokens EC2 refuses the launches that this exemption allows: (instance_id i-1) legacy"
)


def test_a_contradiction_needs_a_confirmation(clients: FakeClients, command: Command, file: Path) -> None:
    """The document is valid, so the user may store it."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": CONTRADICTING["exemptions"]}))
    said = f"The policy contradicts itself, so the enforcer leaves account defaults alone: {AGAINST}."
    result = put(command, file, CONTRADICTING, typed="n\n")
    assert (result.exit_code, clients.ssm.puts) == (1, [])
    assert said in result.stderr.splitlines()
    result = put(command, file, CONTRADICTING, "--yes", "--output", "json")
    assert json.loads(result.stdout)["contradicts"] == [AGAINST]
    assert json.loads(result.stdout)["weakens"] == []
    assert len(clients.ssm.puts) == 1


def test_a_toggle_that_makes_the_policy_contradict_itself_needs_a_confirmation(
    clients: FakeClients, command: Command
) -> None:
    """While tokens are optional, there is no contradiction."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps(CONTRADICTING))
    command("toggle", "optional", "--yes")
    assert "contradicts" not in command("toggle", "optional").stderr
    puts = len(clients.ssm.puts)
    result = command("toggle", "required", typed="n\n")
    assert (result.exit_code, len(clients.ssm.puts)) == (1, puts)
    assert (
        result.stderr.splitlines()[0]
        == f"The policy contradicts itself, so the enforcer leaves account defaults alone: {AGAINST}."
    )
    assert "Require tokens? [y/N]" in result.stderr
    assert command("toggle", "required", "--yes").exit_code == 0
    assert len(clients.ssm.puts) == puts + 1


def test_consequences_of_required_defaults_are_named(command: Command, file: Path) -> None:
    """`policy set` and `policy check` both do so; neither asks."""
    document = {"account_defaults": {}, "launch_grace_seconds": 60}
    file.write_text(json.dumps(document))
    for result in (command("policy", "check", str(file)), put(command, file, document, "--yes")):
        assert result.exit_code == 0
        assert "launch_grace_seconds is 60, but an instance launched without HttpTokens of its own" in result.stderr


def test_a_suspicious_pattern_is_named(command: Command, file: Path) -> None:
    """The warning comes before any question."""
    result = put(command, file, {"container_host_tags": [{"key": "[docker]"}]})
    assert result.exit_code == 0
    assert result.stderr.startswith(f'{file}: container_host_tags[0].key is "[docker]": [docker] matches one ')


def test_a_weaker_policy_needs_a_confirmation(clients: FakeClients, command: Command, file: Path) -> None:
    """No answer means no."""
    result = put(command, file, AUDIT, typed="\n")
    assert (result.exit_code, clients.ssm.puts) == (1, [])
    assert result.stderr == f"{WEAKER}\nStore it? [y/N] Nothing was changed.\n"
    assert put(command, file, AUDIT, typed="y\n").exit_code == 0
    assert clients.ssm.values[POLICY_PARAMETER] == (json.dumps(AUDIT), 2)


def test_without_a_terminal_a_weaker_policy_needs_a_yes(clients: FakeClients, command: Command, file: Path) -> None:
    """A pipe cannot confirm it."""
    result = put(command, file, AUDIT)
    assert (result.exit_code, clients.ssm.puts) == (2, [])
    assert result.stderr.splitlines() == [WEAKER, NO_TERMINAL]
    assert put(command, file, AUDIT, "--yes").exit_code == 0


@pytest.mark.parametrize("document", [{}, {"mode": "enforce"}])
def test_an_unchanged_policy_is_not_stored(
    clients: FakeClients, command: Command, file: Path, document: object
) -> None:
    """Every new version would start a sweep."""
    result = put(command, file, document)
    assert (result.exit_code, result.stdout, clients.ssm.puts) == (0, "", [])
    assert result.stderr == "The policy is unchanged at version 1; nothing was written.\n"


def test_an_invalid_policy_is_never_stored(clients: FakeClients, command: Command, file: Path) -> None:
    """Nothing would be enforced under it."""
    file.write_text('{"mode": "audits"}')
    refused = command.refusal("policy", "set", str(file), "--yes")
    assert refused == f"imds-enforcer: '{file}' is not a valid policy: mode is \"audits\"; allowed: enforce, audit"
    assert clients.ssm.puts == []


def test_an_invalid_policy_is_replaced_without_asking(clients: FakeClients, command: Command, file: Path) -> None:
    """Nothing is enforced before that, so nothing gets weaker."""
    clients.ssm.put(POLICY_PARAMETER, "{")
    result = put(command, file, AUDIT)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("The policy in force is invalid, so nothing is enforced: policy is not JSON")
    assert clients.ssm.values[POLICY_PARAMETER] == (json.dumps(AUDIT), 3)


@pytest.mark.parametrize("name", [POLICY_PARAMETER, TOKENS_PARAMETER])
def test_a_change_by_someone_else_is_not_overwritten(
    clients: FakeClients, command: Command, file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """That holds for both parameters: the differences that the user saw would be wrong."""

    def change(_question: str) -> bool:
        clients.ssm.put(name, "{}" if name == POLICY_PARAMETER else "optional")
        return True

    monkeypatch.setattr("imds_enforcer_cli.console.output.confirmed", change)
    result = put(command, file, AUDIT, typed="y\n")
    assert (result.exit_code, clients.ssm.puts) == (1, [])
    assert (
        "Someone else has changed the policy meanwhile, from versions 1 (HttpTokens) and 1 (policy) to" in result.stderr
    )


def test_a_change_at_the_same_moment_is_named(clients: FakeClients, command: Command, file: Path) -> None:
    """Parameter Store has no conditional write; its versions reveal it."""
    clients.ssm.before_put = lambda: clients.ssm.put(POLICY_PARAMETER, json.dumps(AUDIT))
    result = put(command, file, LIMIT)
    assert result.exit_code == 0
    said = (
        f"Someone else wrote {POLICY_PARAMETER} at the same moment: this change replaced version 2; check what it had."
    )
    assert said in result.stderr


def test_a_difference_as_json(command: Command, file: Path) -> None:
    """It has what the change weakens; the user sees the table before the question all the same."""
    result = put(command, file, AUDIT, "--output", "json", typed="y\n")
    assert json.loads(result.stdout) == {
        "version": 2,
        "differences": [{"field": "mode", "now": "enforce", "then": "audit"}],
        "weakens": ["the enforcer only audits instances, and no longer changes them"],
        "contradicts": [],
        "launchers": [],
    }
    assert "mode   enforce  audit" in result.stderr


def test_a_difference_as_csv(command: Command, file: Path) -> None:
    """Each field has a row."""
    result = put(command, file, {"watch": None}, "--yes", "--output", "csv")
    [row] = csv.DictReader(result.stdout.splitlines())
    assert row == {"field": "watch", "now": "for 24 hours; 1 or more rejected IMDSv1 calls are reported", "then": "off"}


def test_a_policy_that_may_not_be_written(clients: FakeClients, command: Command, file: Path) -> None:
    """The error is the service's, on one line."""

    def refuse() -> None:
        raise refusal("AccessDeniedException", "not authorized to perform ssm:PutParameter")

    clients.ssm.before_put = refuse
    result = put(command, file, LIMIT)
    assert result.exit_code == 2
    assert result.stderr == "imds-enforcer: AccessDeniedException: not authorized to perform ssm:PutParameter\n"


def test_tokens_become_optional_only_with_a_yes(clients: FakeClients, command: Command) -> None:
    """The enforcer will set every instance to optional."""
    result = command("toggle", "optional", typed="n\n")
    assert (result.exit_code, clients.ssm.puts) == (1, [])
    assert "the enforcer sets instances to optional, and they answer calls without a token" in result.stderr
    assert command("toggle", "optional").stderr.splitlines()[-1] == NO_TERMINAL
    result = command("toggle", "optional", "--yes")
    assert lines(result.stdout) == ["HTTP TOKENS BEFORE VERSION", "optional required 2"]
    assert result.stderr.splitlines()[-1] == "HttpTokens is now optional, version 2; a sweep of every region follows."
    [request] = clients.ssm.puts
    assert request == {
        "Name": TOKENS_PARAMETER,
        "Value": "optional",
        "Type": "String",
        "Overwrite": True,
        "AllowedPattern": "^(required|optional)$",
    }


def test_tokens_become_required_without_asking(clients: FakeClients, command: Command) -> None:
    """It makes the policy stricter."""
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    assert command.json("toggle", "required") == {
        "http_tokens": "required",
        "before": "optional",
        "version": 3,
        "changed": True,
    }


def test_a_toggle_that_has_the_value_already(clients: FakeClients, command: Command) -> None:
    """Nothing is written: every new version would start a sweep."""
    result = command("toggle", "required")
    assert (result.exit_code, clients.ssm.puts) == (0, [])
    assert result.stderr == "HttpTokens is already required, version 1; nothing was written.\n"


def test_a_toggle_under_an_invalid_policy(clients: FakeClients, command: Command) -> None:
    """It has no effect until the policy is fixed."""
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.ssm.put(POLICY_PARAMETER, "{")
    result = command("toggle", "required")
    assert result.exit_code == 0
    assert "But the policy is invalid, so nothing is enforced: policy is not JSON" in result.stderr


def test_a_toggle_under_a_policy_that_someone_else_changes(
    clients: FakeClients, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command writes nothing."""

    def change(_question: str) -> bool:
        clients.ssm.put(POLICY_PARAMETER, "{}")
        return True

    monkeypatch.setattr("imds_enforcer_cli.console.output.confirmed", change)
    result = command("toggle", "optional", typed="y\n")
    assert (result.exit_code, clients.ssm.puts) == (1, [])


def test_an_invalid_value_of_the_toggle(command: Command) -> None:
    """The error names the two values allowed."""
    refused = command.refusal("toggle", "off")
    assert refused.startswith(
        "imds-enforcer: Invalid value for 'required|optional': 'off' is not one of 'required', 'optional'"
    )
