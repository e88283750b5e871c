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
    """The command without a deployed enforcer, with an instance in each of two regions."""
    return undeployed(clients, monkeypatch)


def test_the_instance_itself(command: Command) -> None:
    """Its identity document, requested with a token, names its region."""
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


def test_user_data_may_run_before_ec2_lists_the_instance(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """EC2 does not allow changes to it while it is pending either."""
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
    """EC2 does not list the instance to them, however long the command waits."""
    home.forget(an_id(1))
    assert command.refusal(*REQUIRED) == (
        f"imds-enforcer: EC2 does not list {an_id(1)} in {HOME}, the instance that the command runs on; "
        "the credentials may belong to another account"
    )
    assert clients.clock.elapsed == 120


HINT = "; --no-policy goes on without the policy and the holds"


def test_a_role_without_permission_to_look_for_the_stack(home: FakeEc2, deployed: Command) -> None:
    """The command cannot know whether there are holds; `--no-policy` says that it may ignore them."""
    deployed.reach_failure = UNAUTHORIZED
    assert deployed.refusal(*REQUIRED) == f"imds-enforcer: {UNAUTHORIZED}{HINT}"
    assert home.sent == []
    result = deployed(*REQUIRED, "--no-policy")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == f"Going on without holds, which cannot be read ({UNAUTHORIZED})."
    assert deployed.options(HOME, an_id(1)) == V2_ONLY


def test_an_enforcer_in_another_region(home: FakeEc2, command: Command) -> None:
    """Its holds count; `--no-policy` ignores them only if the region does not answer."""
    command.stack.elsewhere.code = None
    refusal = f"imds-enforcer: the stack ImdsEnforcer is in {AWAY}; name that region with --region"
    assert command.refusal(*REQUIRED) == command.refusal(*REQUIRED, "--no-policy") == refusal
    command.stack.elsewhere.code = "Throttling"
    no_answer = f"Throttling: no (while looking for the stack ImdsEnforcer in {AWAY})"
    assert command.refusal(*REQUIRED) == f"imds-enforcer: {no_answer}{HINT}"
    assert home.sent == []
    result = command(*REQUIRED, "--no-policy")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == f"Going on without holds, which cannot be read ({no_answer})."


def test_a_role_without_permission_to_read_the_policy(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """Holds still apply with `--no-policy`."""
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


UNWRITTEN = "The ledger gets no entry, so `imds-enforcer revert` cannot undo this: --no-policy."


def test_a_role_without_permission_to_write_the_ledger(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """The instance is not changed, and the line names the option that changes it all the same."""
    clients.table.write_failure = UNAUTHORIZED
    result = deployed(*REQUIRED)
    assert result.exit_code == 1
    assert result.stderr.endswith("; --no-policy makes the change without the ledger\n")
    assert f"the ledger is out of reach ({UNAUTHORIZED})" in result.stderr
    assert home.sent == []
    result = deployed(*REQUIRED, "--no-policy")
    assert (result.exit_code, result.stderr.count("without the ledger")) == (0, 0)
    assert UNWRITTEN in result.stderr.splitlines()
    assert deployed.options(HOME, an_id(1)) == V2_ONLY


def test_without_access_to_sts(home: FakeEc2, deployed: Command) -> None:
    """On the instance itself the error names `--no-policy`; for other instances there is no such hint."""
    deployed.caller_failure = UNAUTHORIZED
    why = f"imds-enforcer: the ledger needs the caller's name, so nothing is changed: {UNAUTHORIZED}"
    assert deployed(*REQUIRED, "--instance-id", an_id(1)).stderr.splitlines()[-1] == why
    result = deployed(*REQUIRED)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"{why}; --no-policy makes the change without the ledger"
    assert home.sent == []
    assert deployed(*REQUIRED, "--no-policy").exit_code == 0


def test_a_readable_policy_always_applies(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """`--no-policy` ignores only what cannot be read."""
    exemption = {"match": {"instance_id": an_id(1)}, "reason": "legacy SDK"}
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": [exemption]}))
    clients.table.read_failure = UNAUTHORIZED
    assert deployed(*REQUIRED, "--no-policy").exit_code == 1
    assert home.sent == []


def test_a_metadata_service_that_is_off(home: FakeEc2, command: Command) -> None:
    """The error is one line."""
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
        (
            Answer(404, "?"),
            "the instance metadata service at http://169.254.169.254 answers 404 and does not say which",
        ),
        (Answer(200, "<html>"), "http://169.254.169.254 is not an instance metadata service: its identity"),
        (Answer(200, "[]"), "http://169.254.169.254 is not an instance metadata service: its identity"),
    ],
)
def test_off_an_instance(command: Command, answer: Answer | Exception, refusal: str) -> None:
    """The error says how to name an instance."""
    command.imds.answers["GET", "/latest/dynamic/instance-identity/document"] = answer
    said = command.refusal(*REQUIRED)
    assert said.startswith(f"imds-enforcer: {refusal}")
    assert said.endswith("name instances with --instance-id")
