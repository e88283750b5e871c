from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import HttpTokens, InstanceState, OptionsState
from imds_enforcer_cli.account.instance_metadata import Answer
from tests.fakes.command import Command, lines
from tests.fakes.examples import (
    AWAY,
    HOME,
    IMDS_OFF,
    POLICY_PARAMETER,
    TOKENS_PARAMETER,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)

if TYPE_CHECKING:
    from imds_enforcer.model import MetadataOptions
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

ONE = ("verify", "--instance-id", an_id(1))
PENDING = replace(V2_ONLY, state=OptionsState.PENDING)
REJECTED = "The GET without a token counts in CloudWatch as a rejected IMDSv1 call (MetadataNoTokenRejected).\n"
SERVED = "The GET without a token counts in CloudWatch as an IMDSv1 call (MetadataNoToken).\n"


@pytest.fixture
def command(clients: FakeClients, home: FakeEc2, away: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command without a policy, with two instances in two regions, of which one requires tokens."""
    home.launch(an_instance(1, V2_ONLY))
    away.launch(an_instance(2, V1_ALLOWED))
    clients.ssm.values.clear()
    return Command(clients, monkeypatch)


def test_required_and_applied(command: Command) -> None:
    """The check passes."""
    result = command(*ONE)
    assert result.exit_code == 0
    assert lines(result.stdout) == [
        "INSTANCE CHECK EXPECTED FOUND RESULT",
        f"{an_id(1)}; {HOME} described HttpTokens required, applied HttpTokens required, applied PASSED",
    ]
    assert result.stderr == ""


def test_a_failed_check_of_an_instance_that_a_service_manages(home: FakeEc2, command: Command) -> None:
    """The command names the service, but only if a check failed."""
    home.launch(an_instance(1, V1_ALLOWED, managed_by="eks.amazonaws.com"))
    home.launch(an_instance(3, V2_ONLY, managed_by="eks.amazonaws.com"))
    result = command(*ONE, an_id(3))
    assert result.exit_code == 1
    assert result.stderr == f"{an_id(1)} is managed by eks.amazonaws.com: the account cannot change it.\n"


def test_instances_of_several_regions(command: Command) -> None:
    """One failed check makes the exit code 1."""
    result = command("verify", "--instance-id", an_id(1), an_id(2))
    assert result.exit_code == 1
    assert lines(result.stdout)[2] == (
        f"{an_id(2)}; {AWAY} described HttpTokens required, applied HttpTokens optional, applied FAILED"
    )


@pytest.mark.parametrize(
    ("options", "state", "wanted", "found", "passed"),
    [
        (V2_ONLY, "running", "required", "HttpTokens required, applied", True),
        (V2_ONLY, "running", "optional", "HttpTokens required, applied", False),
        (V1_ALLOWED, "running", "optional", "HttpTokens optional, applied", True),
        (PENDING, "running", "required", "HttpTokens required, not yet applied", False),
        (PENDING, "stopped", "required", "HttpTokens required, applies at the next start", False),
        (IMDS_OFF, "running", "required", "the metadata service is off", True),
        (IMDS_OFF, "running", "optional", "the metadata service is off", False),
        (None, "running", "required", "unrecognized metadata options", False),
    ],
)
def test_the_check_of_what_ec2_shows(  # noqa: PLR0913, PLR0917  # each is a part of the case
    home: FakeEc2,
    command: Command,
    options: MetadataOptions | None,
    state: str,
    wanted: str,
    found: str,
    passed: bool,  # noqa: FBT001  # pytest passes it
) -> None:
    """The check has what was expected and what was found."""
    home.launch(an_instance(1, options, state=InstanceState(state)))
    [document] = command.json(*ONE, "--version-2-state", wanted, exit_code=0 if passed else 1)
    check = {"check": "described", "expected": f"HttpTokens {wanted}, applied", "found": found, "passed": passed}
    assert document == {
        "instance_id": an_id(1),
        "region": HOME,
        "version_2_state": wanted,
        "verified": passed,
        "checks": [check],
    }


def test_checks_as_csv(command: Command) -> None:
    """Each check has a row."""
    assert command(*ONE, "--output", "csv").stdout.splitlines() == [
        "instance_id,region,check,expected,found,passed",
        f'{an_id(1)},{HOME},described,"HttpTokens required, applied","HttpTokens required, applied",true',
    ]


def test_the_policy_says_what_to_expect(clients: FakeClients, command: Command) -> None:
    """`--version-2-state` takes precedence, and then the policy is not read."""
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.ssm.put(POLICY_PARAMETER, "{}")
    assert command(*ONE).exit_code == 1
    assert command("verify", an_id(2)).exit_code == 0
    clients.ssm.requests.clear()
    assert command(*ONE, "--version-2-state", "required").exit_code == 0
    assert clients.ssm.requests == []


def test_a_policy_that_cannot_be_read(clients: FakeClients, command: Command) -> None:
    """The command changes nothing, so it goes on and says what it expects."""
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    result = command(*ONE)
    assert result.exit_code == 0
    assert result.stderr.startswith("The policy cannot be read (policy is missing; allowed: a JSON object")
    assert result.stderr.endswith("), so required is expected.\n")


def test_reading_needs_no_stack(command: Command) -> None:
    """It does not need the permission to look for the stack either."""
    command.reach_failure = UNAUTHORIZED
    assert command(*ONE).exit_code == 0


def test_a_probe_is_for_the_instance_itself(command: Command) -> None:
    """The metadata service of another instance cannot be reached."""
    refusal = (
        "imds-enforcer: --probe is used with instance ids; allowed: without ids, for the instance that the command "
        "runs on"
    )
    assert command.refusal(*ONE, "--probe") == refusal


def test_without_a_probe_the_instance_itself_is_only_described(command: Command) -> None:
    """A request without a token could raise an alarm."""
    result = command("verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines(result.stdout)[1].startswith(f"{an_id(1)}; {HOME} described")
    assert all(token for method, _, token in command.imds.requests if method == "GET")


def test_a_probe_of_required_tokens(command: Command) -> None:
    """Each request has its status; standard error says how CloudWatch counts the one without a token."""
    result = command("verify", "--probe")
    assert result.exit_code == 0
    assert lines(result.stdout)[2:] == [
        f"{an_id(1)}; {HOME} GET without a token 401 401 PASSED",
        f"{an_id(1)}; {HOME} PUT for a token 200 200 PASSED",
        f"{an_id(1)}; {HOME} GET with the token 200 200 PASSED",
    ]
    assert result.stderr == REJECTED
    assert command.imds.requests[2:] == [
        ("GET", "/latest/meta-data/", None),
        ("PUT", "/latest/api/token", None),
        ("GET", "/latest/meta-data/", "token-1"),
    ]


def test_a_probe_of_optional_tokens(command: Command) -> None:
    """The service answers both versions."""
    command.imds.instance_id, command.imds.region = an_id(2), AWAY
    result = command("verify", "--probe", "--version-2-state", "optional")
    assert result.exit_code == 0
    assert [line.rsplit(" ", 3)[1:] for line in lines(result.stdout)[2:]] == [["200", "200", "PASSED"]] * 3
    assert result.stderr == SERVED


def test_the_help_says_how_a_probe_counts(command: Command) -> None:
    """The user has to know that it could raise an alarm."""
    words = command("verify", "--help").stdout.replace("│", " ").split()
    assert "(MetadataNoTokenRejected)" in words
    assert "rejected IMDSv1 call" in " ".join(words)


@pytest.mark.parametrize("wanted", ["required", "optional"])
def test_a_service_that_differs_from_what_ec2_shows(command: Command, wanted: str) -> None:
    """Only the probe reveals it."""
    tokens = HttpTokens(wanted)
    command.imds.answers["GET", "/latest/meta-data/"] = Answer(200 if tokens is HttpTokens.REQUIRED else 401, "")
    if tokens is HttpTokens.OPTIONAL:
        command.imds.instance_id, command.imds.region = an_id(2), AWAY
    [document] = command.json("verify", "--probe", "--version-2-state", wanted, exit_code=1)
    passed = {check["check"]: check["passed"] for check in document["checks"]}
    assert (passed["described"], passed["GET without a token"], passed["PUT for a token"]) == (True, False, True)


def test_a_service_that_refuses_a_token(command: Command) -> None:
    """The request with the token is not sent then."""
    answers = iter([Answer(200, "token-1"), Answer(403, "Forbidden")])
    send = command.imds.send

    def refuse_the_second(method: str, path: str, headers: dict[str, str]) -> Answer:
        return next(answers) if method == "PUT" else send(method, path, headers)

    command.imds.send = refuse_the_second  # type: ignore[method-assign]
    result = command("verify", "--probe")
    assert result.exit_code == 1
    assert lines(result.stdout)[3:] == [
        f"{an_id(1)}; {HOME} PUT for a token 200 403 FAILED",
        f"{an_id(1)}; {HOME} GET with the token 200 no token to send FAILED",
    ]


def test_a_probe_of_a_service_that_is_off(home: FakeEc2, command: Command) -> None:
    """The service does not even say which instance this is."""
    home.launch(an_instance(1, IMDS_OFF))
    refusal = "imds-enforcer: the instance metadata service at http://169.254.169.254 is off: it answers 403"
    assert command.refusal("verify", "--probe") == refusal
