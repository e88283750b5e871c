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
WEAKER = "This weakens the policy: instances are looked at and no longer changed."


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file for a document."""
    return tmp_path / "policy.json"


def put(command: Command, file: Path, document: Any, *arguments: str, typed: str | None = None) -> Result:
    """Set the policy to a document."""
    file.write_text(json.dumps(document))
    return command("policy", "set", str(file), *arguments, typed=typed)


def test_a_stricter_policy_is_stored_without_asking(clients: FakeClients, command: Command, file: Path) -> None:
    """And what differs is shown."""
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


def test_a_contradiction_is_named_and_asked_about(clients: FakeClients, command: Command, file: Path) -> None:
    """The document is valid: the user may store it."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": CONTRADICTING["exemptions"]}))
    said = f"The policy contradicts itself, so that account defaults are left alone: {AGAINST}."
    result = put(command, file, CONTRADICTING, typed="n\n")
    assert (result.exit_code, clients.ssm.puts) == (1, [])
    assert said in result.stderr.splitlines()
    result = put(command, file, CONTRADICTING, "--yes", "--output", "json")
    assert json.loads(result.stdout)["contradicts"] == [AGAINST]
    assert json.loads(result.stdout)["weakens"] == []
    assert len(clients.ssm.puts) == 1


def test_a_toggle_that_makes_the_policy_contradict_itself_is_asked_about(
    clients: FakeClients, command: Command
) -> None:
    """As with a document; while tokens are optional nothing contradicts."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps(CONTRADICTING))
    command("toggle", "optional", "--yes")
    assert "contradicts" not in command("toggle", "optional").stderr
    puts = len(clients.ssm.puts)
    result = command("toggle", "required", typed="n\n")
    assert (result.exit_code, len(clients.ssm.puts)) == (1, puts)
    assert (
        result.stderr.splitlines()[0]
        == f"The policy contradicts itself, so that account defaults are left alone: {AGAINST}."
    )
    assert "Require tokens? [y/N]" in result.stderr
    assert command("toggle", "required", "--yes").exit_code == 0
    assert len(clients.ssm.puts) == puts + 1


def test_what_required_defaults_come_before_is_named(command: Command, file: Path) -> None:
    """In `policy set` and in `policy check`; nothing is asked for it."""
    document = {"account_defaults": {}, "launch_grace_seconds": 60}
    file.write_text(json.dumps(document))
    for result in (command("policy", "check", str(file)), put(command, file, document, "--yes")):
        assert result.exit_code == 0
        assert "launch_grace_seconds is 60, but an instance launched without HttpTokens of its own" in result.stderr


def test_a_pattern_that_may_not_be_meant_is_named(command: Command, file: Path) -> None:
    """Before anything is asked."""
    result = put(command, file, {"container_host_tags": [{"key": "[docker]"}]})
    assert result.exit_code == 0
    assert result.stderr.startswith(f'{file}: container_host_tags[0].key is "[docker]": [docker] stands for one ')


def test_a_weaker_policy_is_asked_about(clients: FakeClients, command: Command, file: Path) -> None:
    """No answer is a no."""
    result = put(command, file, AUDIT, typed="\n")
    assert (result.exit_code, clients.ssm.puts) == (1, [])
    assert result.stderr == f"{WEAKER}\nStore it? [y/N] Nothing was changed.\n"
    assert put(command, file, AUDIT, typed="y\n").exit_code == 0
    assert clients.ssm.values[POLICY_PARAMETER] == (json.dumps(AUDIT), 2)


def test_without_a_terminal_a_weaker_policy_needs_a_yes(clients: FakeClients, command: Command, file: Path) -> None:
    """A pipe cannot agree."""
    result = put(command, file, AUDIT)
    assert (result.exit_code, clients.ssm.puts) == (2, [])
    assert result.stderr.splitlines() == [WEAKER, NO_TERMINAL]
    assert put(command, file, AUDIT, "--yes").exit_code == 0


@pytest.mark.parametrize("document", [{}, {"mode": "enforce"}])
def test_what_is_in_force_already(clients: FakeClients, command: Command, file: Path, document: object) -> None:
    """Is not stored again: each version starts a sweep."""
    result = put(command, file, document)
    assert (result.exit_code, result.stdout, clients.ssm.puts) == (0, "", [])
    assert result.stderr == "The policy is as it was, version 1; nothing was written.\n"


def test_an_invalid_policy_is_never_stored(clients: FakeClients, command: Command, file: Path) -> None:
    """Nothing would be enforced under it."""
    file.write_text('{"mode": "audits"}')
    refused = command.refusal("policy", "set", str(file), "--yes")
    assert refused == f"imds-enforcer: '{file}' is no policy: mode is \"audits\"; allowed: enforce, audit"
    assert clients.ssm.puts == []


def test_an_invalid_policy_is_mended_without_asking(clients: FakeClients, command: Command, file: Path) -> None:
    """Nothing is enforced until then, so nothing becomes weaker."""
    clients.ssm.put(POLICY_PARAMETER, "{")
    result = put(command, file, AUDIT)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("What is in force is invalid, and enforces nothing: policy is not JSON")
    assert clients.ssm.values[POLICY_PARAMETER] == (json.dumps(AUDIT), 3)


@pytest.mark.parametrize("name", [POLICY_PARAMETER, TOKENS_PARAMETER])
def test_what_somebody_else_changes_meanwhile_is_not_overwritten(
    clients: FakeClients, command: Command, file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Neither parameter: what was shown as the difference would not be it."""

    def change(_question: str) -> bool:
        clients.ssm.put(name, "{}" if name == POLICY_PARAMETER else "optional")
        return True

    monkeypatch.setattr("imds_enforcer_cli.console.output.confirmed", change)
    result = put(command, file, AUDIT, typed="y\n")
    assert (result.exit_code, clients.ssm.puts) == (1, [])
    assert "Somebody has changed the policy meanwhile, from versions 1 (HttpTokens) and 1 (policy) to" in result.stderr


def test_a_change_in_the_same_moment_is_named(clients: FakeClients, command: Command, file: Path) -> None:
    """Parameter Store takes no condition; its versions tell."""
    clients.ssm.before_put = lambda: clients.ssm.put(POLICY_PARAMETER, json.dumps(AUDIT))
    result = put(command, file, LIMIT)
    assert result.exit_code == 0
    assert f"Somebody wrote {POLICY_PARAMETER} at the same moment: version 2 is replaced, look at it." in result.stderr


def test_a_difference_as_json(command: Command, file: Path) -> None:
    """With what it weakens; whoever is asked sees it all the same."""
    result = put(command, file, AUDIT, "--output", "json", typed="y\n")
    assert json.loads(result.stdout) == {
        "version": 2,
        "differences": [{"field": "mode", "now": "enforce", "then": "audit"}],
        "weakens": ["instances are looked at and no longer changed"],
        "contradicts": [],
        "launchers": [],
    }
    assert "mode   enforce  audit" in result.stderr


def test_a_difference_as_csv(command: Command, file: Path) -> None:
    """Each field in a row."""
    result = put(command, file, {"watch": None}, "--yes", "--output", "csv")
    [row] = csv.DictReader(result.stdout.splitlines())
    assert row == {"field": "watch", "now": "for 24 hours; 1 or more rejected IMDSv1 calls are reported", "then": "off"}


def test_a_policy_that_may_not_be_written(clients: FakeClients, command: Command, file: Path) -> None:
    """One line with the service's own words."""

    def refuse() -> None:
        raise refusal("AccessDeniedException", "not authorized to perform ssm:PutParameter")

    clients.ssm.before_put = refuse
    result = put(command, file, LIMIT)
    assert result.exit_code == 2
    assert result.stderr == "imds-enforcer: AccessDeniedException: not authorized to perform ssm:PutParameter\n"


def test_tokens_become_optional_once_somebody_agrees(clients: FakeClients, command: Command) -> None:
    """Every instance is set so."""
    result = command("toggle", "optional", typed="n\n")
    assert (result.exit_code, clients.ssm.puts) == (1, [])
    assert "instances may be called without a token, and are set so" in result.stderr
    assert command("toggle", "optional").stderr.splitlines()[-1] == NO_TERMINAL
    result = command("toggle", "optional", "--yes")
    assert lines(result.stdout) == ["HTTP TOKENS BEFORE VERSION", "optional required 2"]
    assert result.stderr.splitlines()[-1] == "HttpTokens is optional now, version 2; a sweep of every region follows."
    [request] = clients.ssm.puts
    assert request == {
        "Name": TOKENS_PARAMETER,
        "Value": "optional",
        "Type": "String",
        "Overwrite": True,
        "AllowedPattern": "^(required|optional)$",
    }


def test_tokens_become_required_without_asking(clients: FakeClients, command: Command) -> None:
    """It is what the enforcer is for."""
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    assert command.json("toggle", "required") == {
        "http_tokens": "required",
        "before": "optional",
        "version": 3,
        "changed": True,
    }


def test_a_toggle_that_is_so_already(clients: FakeClients, command: Command) -> None:
    """Nothing is written: each version starts a sweep."""
    result = command("toggle", "required")
    assert (result.exit_code, clients.ssm.puts) == (0, [])
    assert result.stderr == "HttpTokens is required already, version 1; nothing was written.\n"


def test_a_toggle_under_an_invalid_policy(clients: FakeClients, command: Command) -> None:
    """It has no effect until the policy is mended."""
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.ssm.put(POLICY_PARAMETER, "{")
    result = command("toggle", "required")
    assert result.exit_code == 0
    assert "But the policy is invalid, so nothing is enforced: policy is not JSON" in result.stderr


def test_a_toggle_that_somebody_else_turns_meanwhile(
    clients: FakeClients, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is left as they turned it."""

    def change(_question: str) -> bool:
        clients.ssm.put(POLICY_PARAMETER, "{}")
        return True

    monkeypatch.setattr("imds_enforcer_cli.console.output.confirmed", change)
    result = command("toggle", "optional", typed="y\n")
    assert (result.exit_code, clients.ssm.puts) == (1, [])


def test_a_toggle_knows_two_values(command: Command) -> None:
    """One line names them."""
    refused = command.refusal("toggle", "off")
    assert refused.startswith(
        "imds-enforcer: Invalid value for 'required|optional': 'off' is not one of 'required', 'optional'"
    )
