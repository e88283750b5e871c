"""`imds-enforcer set` on the instance itself."""

from __future__ import annotations

import json
from dataclasses import replace
from http.client import RemoteDisconnected
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import InstanceState
from imds_enforcer_cli.account.instance_metadata import Answer
from tests.fakes.clock import START
from tests.fakes.command import Command, undeployed
from tests.fakes.examples import AWAY, HOME, IMDS_OFF, POLICY_PARAMETER, UNAUTHORIZED, V2_ONLY, an_id, an_instance

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

REQUIRED = ("set", "--version-2-state", "required")


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command where nothing is deployed, and an instance in each of two regions."""
    return undeployed(clients, monkeypatch)


def test_the_instance_itself(command: Command) -> None:
    """Its region is that of its identity, which is asked for with a token."""
    command.imds.instance_id, command.imds.region = an_id(2), AWAY
    result = command(*REQUIRED)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["InstanceId"] == an_id(2)
    assert command.options(AWAY, an_id(2)) == V2_ONLY
    assert command.profiles == [(None, AWAY)]
    assert command.imds.requests == [
        ("PUT", "/latest/api/token", None),
        ("GET", "/latest/dynamic/instance-identity/document", "token-1"),
    ]


def test_user_data_runs_before_ec2_shows_the_instance(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """And before it lets it be changed, while it is pending."""
    instance = replace(home.actual(an_id(1)), state=InstanceState.PENDING)

    def appear() -> None:
        home.launch(instance)

    home.forget(an_id(1))
    clients.clock.at(5, appear)
    clients.clock.at(15, lambda: home.set_state(an_id(1), InstanceState.RUNNING))
    assert command(*REQUIRED).exit_code == 0
    assert command.options(HOME, an_id(1)) == V2_ONLY
    assert 15 <= clients.clock.elapsed < 20


def test_credentials_of_another_account(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """They do not see the instance, however long they look."""
    home.forget(an_id(1))
    assert command.refusal(*REQUIRED) == (
        f"imds-enforcer: EC2 does not list {an_id(1)} in {HOME}, which is the instance that this runs on: "
        "the credentials are perhaps of another account"
    )
    assert clients.clock.elapsed == 120


HINT = "; where only policy and holds cannot be read, --no-policy goes on without them"


def test_a_role_that_may_not_ask_for_the_stack(home: FakeEc2, deployed: Command) -> None:
    """It cannot tell whether there is anything to heed; whoever wrote the user data may say that there is not."""
    deployed.reach_failure = UNAUTHORIZED
    assert deployed.refusal(*REQUIRED) == f"imds-enforcer: {UNAUTHORIZED}{HINT}"
    assert home.sent == []
    result = deployed(*REQUIRED, "--no-policy")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == f"Going on without holds, which cannot be read ({UNAUTHORIZED})."
    assert deployed.options(HOME, an_id(1)) == V2_ONLY


def test_the_enforcer_is_in_another_region(home: FakeEc2, command: Command) -> None:
    """What is held there counts, unless nobody can tell."""
    command.stack.elsewhere.code = None
    refusal = f"imds-enforcer: the stack ImdsEnforcer is in {AWAY}; name that region with --region"
    assert command.refusal(*REQUIRED) == command.refusal(*REQUIRED, "--no-policy") == refusal
    command.stack.elsewhere.code = "Throttling"
    no_answer = f"Throttling: no (asked for the stack ImdsEnforcer in {AWAY})"
    assert command.refusal(*REQUIRED) == f"imds-enforcer: {no_answer}{HINT}"
    assert home.sent == []
    result = command(*REQUIRED, "--no-policy")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == f"Going on without holds, which cannot be read ({no_answer})."


def test_a_role_that_may_not_read_the_policy(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """Holds bind all the same."""
    clients.ssm.error = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetParameters")
    refusal = deployed.refusal(*REQUIRED)
    assert refusal == (
        f"imds-enforcer: the policy cannot be read, so nothing is changed: AccessDeniedException: no{HINT}"
    )
    clients.ledger_table.holds.write([Hold(instance_id=an_id(1), reason="vendor agent", by="ben", at=START)])
    assert deployed(*REQUIRED, "--no-policy").exit_code == 1
    assert home.sent == []
    clients.ledger_table.holds.release([an_id(1)])
    result = deployed(*REQUIRED, "--no-policy")
    assert result.exit_code == 0
    said = "Going on without the policy, which cannot be read (AccessDeniedException: no)."
    assert result.stderr.splitlines()[0] == said
    assert UNWRITTEN in result.stderr.splitlines()
    assert deployed.json("history", an_id(1)) == []


UNWRITTEN = "Nothing is written down, and `imds-enforcer revert` cannot undo this: --no-policy."


def test_a_ledger_that_the_role_may_not_write(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """The instance stays as it is, and the line says how it is set all the same."""
    clients.table.write_failure = UNAUTHORIZED
    result = deployed(*REQUIRED)
    assert result.exit_code == 1
    assert result.stderr.endswith("; --no-policy makes the change, and writes nothing down\n")
    assert f"the ledger is out of reach ({UNAUTHORIZED})" in result.stderr
    assert home.sent == []
    result = deployed(*REQUIRED, "--no-policy")
    assert (result.exit_code, result.stderr.count("writes nothing down")) == (0, 0)
    assert UNWRITTEN in result.stderr.splitlines()
    assert deployed.options(HOME, an_id(1)) == V2_ONLY


def test_a_caller_that_sts_does_not_tell(home: FakeEc2, deployed: Command) -> None:
    """From a network without a way to STS, too, an instance can be set; elsewhere there is nothing to hint at."""
    deployed.caller_failure = UNAUTHORIZED
    why = f"imds-enforcer: no change without an entry in the ledger, which names the caller: {UNAUTHORIZED}"
    assert deployed(*REQUIRED, "--instance-id", an_id(1)).stderr.splitlines()[-1] == why
    result = deployed(*REQUIRED)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"{why}; --no-policy makes the change, and writes nothing down"
    assert home.sent == []
    assert deployed(*REQUIRED, "--no-policy").exit_code == 0


def test_a_policy_that_can_be_read_binds_always(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """`--no-policy` is for what cannot be read."""
    exemption = {"match": {"instance_id": an_id(1)}, "reason": "legacy SDK"}
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": [exemption]}))
    clients.table.read_failure = UNAUTHORIZED
    assert deployed(*REQUIRED, "--no-policy").exit_code == 1
    assert home.sent == []


def test_a_service_that_is_off_cannot_be_asked(home: FakeEc2, command: Command) -> None:
    """In one line."""
    home.launch(an_instance(1, IMDS_OFF))
    refusal = "imds-enforcer: the instance metadata service at http://169.254.169.254 is off: it answers 403"
    assert command.refusal(*REQUIRED) == refusal


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (
            TimeoutError("timed out"),
            "no answer from the instance metadata service at http://169.254.169.254 (timed out)",
        ),
        (
            ConnectionResetError(),
            "no answer from the instance metadata service at http://169.254.169.254 (ConnectionRes",
        ),
        (RemoteDisconnected("gone"), "no answer from the instance metadata service at http://169.254.169.254 (gone)"),
        (Answer(404, "?"), "the instance metadata service at http://169.254.169.254 answers 404, and not which"),
        (Answer(200, "<html>"), "what answers at http://169.254.169.254 is no instance metadata service: its identity"),
        (Answer(200, "[]"), "what answers at http://169.254.169.254 is no instance metadata service: its identity"),
    ],
)
def test_elsewhere_than_on_an_instance(command: Command, answer: Answer | Exception, refusal: str) -> None:
    """It says how to name one."""
    command.imds.answers["GET", "/latest/dynamic/instance-identity/document"] = answer
    said = command.refusal(*REQUIRED)
    assert said.startswith(f"imds-enforcer: {refusal}")
    assert said.endswith("name instances with --instance-id")
