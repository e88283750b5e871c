from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.fakes.command import Command, undeployed
from tests.fakes.examples import POLICY_PARAMETER, TOKENS_PARAMETER
from tests.fakes.stack import OUTPUTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.clients import FakeClients

OPERATOR = "arn:aws:iam::*:role/ops"
SCP = ("guardrails", "scp", "--operator-role", OPERATOR)
GENERATED = "ImdsEnforcer-EnforcerRole5E8A0D21-Ab3dEfGh1jKl"


def principals(text: str, sid: str = "State") -> list[str]:
    """The principals that a statement of the document does not deny."""
    [statement] = [each for each in json.loads(text)["Statement"] if each["Sid"] == sid]
    named = statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"]
    return [named] if isinstance(named, str) else list(named)


def test_the_scp_fits_the_policy_in_force(clients: FakeClients, deployed: Command) -> None:
    """Standard output has the SCP on one line, standard error a reason for each statement."""
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"regions": {"include": ["eu-west-1"]}}))
    result = deployed(*SCP, "--deploy-role", "arn:aws:iam::*:role/cfn")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    document = json.loads(result.stdout)
    assert [each["Sid"] for each in document["Statement"]] == ["Options", "State"]
    assert document["Statement"][0]["Condition"]["StringEquals"] == {"aws:RequestedRegion": "eu-west-1"}
    assert [line.split(" ")[0] for line in result.stderr.splitlines()] == ["Options:", "State:", "The", "Anyone"]
    role = "arn:aws:iam::*:role/imds-enforcer"
    assert principals(result.stdout) == [role, OPERATOR, "arn:aws:iam::*:role/cfn"]
    assert principals(result.stdout, "Options") == [role, OPERATOR]


def test_the_role_of_the_function_with_its_path(deployed: Command) -> None:
    """The command takes it from the function's configuration."""
    deployed.stack.role = "arn:aws:iam::111122223333:role/security/guards/imds"
    assert principals(deployed(*SCP).stdout)[0] == "arn:aws:iam::*:role/security/guards/imds"


def test_a_generated_role_name_is_refused(deployed: Command) -> None:
    """It differs in every account, so the SCP would lock the enforcer out of all accounts but one."""
    deployed.stack.role = f"arn:aws:iam::111122223333:role/{GENERATED}"
    assert deployed.refusal(*SCP) == (
        f"imds-enforcer: the function's role is {GENERATED}, a name that CloudFormation generates and that differs in "
        "every account; deploy with -c role_name=NAME first, or name the role with --enforcer-role"
    )


def test_a_path_with_colons(deployed: Command) -> None:
    """IAM takes any printable character in a path."""
    deployed.stack.role = "arn:aws:iam::111122223333:role/a:b/imds"
    assert principals(deployed(*SCP).stdout)[0] == "arn:aws:iam::*:role/a:b/imds"


@pytest.mark.parametrize("name", ["ImdsEnforcer", "imds-enforcer-role", "ImdsEnforcer-role", "ImdsEnforcer-a-b"])
def test_a_chosen_role_name(deployed: Command, name: str) -> None:
    """It may begin with the stack's name."""
    deployed.stack.role = f"arn:aws:iam::111122223333:role/{name}"
    assert principals(deployed(*SCP).stdout)[0] == f"arn:aws:iam::*:role/{name}"


def test_where_nothing_is_deployed(clients: FakeClients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user has to name the role; with a policy file the command then needs no call to AWS."""
    command = undeployed(clients, monkeypatch)
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"http_tokens": "required", "exemptions": []}))
    assert command.refusal(*SCP, "--policy", str(path)) == (
        "imds-enforcer: there is no stack ImdsEnforcer in eu-west-1; deploy it, or name the role with --enforcer-role"
    )
    command.profiles.clear()
    named = ("--enforcer-role", "arn:aws:iam::111122223333:role/x/imds")
    result = command(*SCP, "--policy", str(path), *named)
    assert (result.exit_code, principals(result.stdout)[0]) == (0, "arn:aws:iam::*:role/x/imds")
    assert command.profiles == [], "AWS was asked"
    assert "no policy: /imds-enforcer/http-tokens" in command.refusal(*SCP, *named)


def test_with_the_state_stack_alone(deployed: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no function whose role it could read."""
    monkeypatch.delitem(OUTPUTS, "FunctionName")
    assert "there is no stack ImdsEnforcer in eu-west-1" in deployed.refusal(*SCP)


def test_under_an_invalid_policy(clients: FakeClients, deployed: Command) -> None:
    """The command prints nothing."""
    clients.ssm.put(POLICY_PARAMETER, '{"mode": "audits"}')
    assert deployed.refusal(*SCP).startswith("imds-enforcer: the policy is invalid, so nothing is changed: mode is")


@pytest.mark.parametrize(
    "text",
    [
        "ops",
        "arn:aws:iam::111122223333:user/ops",
        "arn:aws:sts::111122223333:assumed-role/ops/session",
        "arn:aws:iam::1111:role/ops",
        "arn:aws:iam::*:role/*",
        "arn:aws:iam::*:role/path/*?",
        "arn:aws:iam::*:role/ops/",
        "*",
    ],
)
@pytest.mark.parametrize("option", ["--operator-role", "--deploy-role", "--enforcer-role"])
def test_an_invalid_role(deployed: Command, option: str, text: str) -> None:
    """A pattern that matches every role is invalid too."""
    assert deployed.refusal(*SCP, option, text) == (
        f"imds-enforcer: {option} is {text!r}; allowed: a role's ARN such as arn:aws:iam::*:role/NAME, where NAME is "
        "not just *"
    )


def test_roles_of_two_partitions(deployed: Command) -> None:
    """An organization is in one partition."""
    other = "arn:aws-cn:iam::*:role/ops"
    assert deployed.refusal(*SCP, "--deploy-role", other) == (
        f"imds-enforcer: {other} is in another partition than arn:aws:iam::*:role/imds-enforcer; allowed: aws"
    )


def test_too_many_roles(deployed: Command) -> None:
    """The command prints no SCP that Organizations would refuse."""
    many = [part for number in range(100) for part in ("--operator-role", f"{OPERATOR}-{number:040}")]
    assert "characters long; allowed: 10,240; name fewer roles" in deployed.refusal(*SCP, *many)


def test_without_an_operator(deployed: Command) -> None:
    """The option is required."""
    result = deployed("guardrails", "scp")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--operator-role" in result.stderr
