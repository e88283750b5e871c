"""The command `imds-enforcer` in an account in memory."""

from __future__ import annotations

import itertools
import json
import uuid
from collections import defaultdict
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from imds_enforcer.application import Application, Invocation
from imds_enforcer.aws.dynamodb import NoTable
from imds_enforcer.aws.ledger_table import LedgerTable
from imds_enforcer.model import AwsError
from imds_enforcer_cli.account import connection, instance_metadata
from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.console import output
from imds_enforcer_cli.main import app
from tests.fakes.actions import Recorded, missing, taken
from tests.fakes.examples import ACCOUNT, AWAY, HOME, POLICY_PARAMETER, SETTINGS, TOKENS_PARAMETER, an_instance
from tests.fakes.imds import FakeImds
from tests.fakes.launches import FakeLaunches
from tests.fakes.stack import OUTPUTS, FakeStack

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest
    from typer.testing import Result

    from imds_enforcer.model import Failure, MetadataOptions
    from tests.fakes.clients import FakeClients

ANN = "arn:aws:iam::111122223333:user/ann"

FIRST_REVERT = str(uuid.UUID(int=1))
"""The run id of the first revert of a test, and so on."""


class Command:
    """Runs the command with the account's clients, as Ann, without a terminal unless the test types something.

    `stack` is the rest of the deployed enforcer, beside its clients; `launches` is what launches instances, by region.
    `profiles` are the profile and region of each connection that a command opened. Unless the stack is `deployed`, a
    command that needs it does not find it. Looking for it fails with `reach_failure`, if set, and looking up the
    caller with `caller_failure`. `imds` is the metadata service of the instance that the command runs on.

    In every test, the command's help must name each IAM action that the command uses.
    """

    def __init__(self, clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> None:
        self._clients = clients
        self.clock = clients.clock
        self._monkeypatch = monkeypatch
        self.stack = FakeStack(clients)
        self.profiles: list[tuple[str | None, str | None]] = []
        self.launches: defaultdict[str, FakeLaunches] = defaultdict(FakeLaunches)
        self.deployed = True
        self.reach_failure: Failure | None = None
        self.caller_failure: Failure | None = None
        self.imds = FakeImds(clients)
        self._actions: list[str] = []
        numbers = itertools.count(1)
        monkeypatch.setattr(connection, "connect", self._connect)
        monkeypatch.setattr(connection, "reach", self._reach)
        monkeypatch.setattr(instance_metadata, "here", lambda _: self.imds)
        monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(numbers)))

    def _connect(self, profile: str | None, region: str | None) -> Connection:
        self.profiles.append((profile, region))
        self._actions.append("cloudformation:DescribeStacks")
        return Connection(self._clients, self._clients.clock, self._caller, OUTPUTS, self._client)

    def _caller(self) -> str:
        self._actions.append("sts:GetCallerIdentity")
        if self.caller_failure:
            raise AwsError(self.caller_failure)
        return ANN

    def _client(self, service: str, region: str | None) -> Any:
        launches = service in {"ec2", "autoscaling", "eks"}
        client = self.launches[str(region)] if launches else self.stack.client(service, region)
        return Recorded(service, client, self._actions.append)

    def _reach(
        self, profile: str | None, region: str | None, *, fallback: str | None = None, asks_for_stack: bool = True
    ) -> Connection:
        self.profiles.append((profile, region or fallback))
        if asks_for_stack:
            self._actions.append("cloudformation:DescribeStacks")
        if asks_for_stack and self.reach_failure:
            raise AwsError(self.reach_failure)
        clients = copy(self._clients)
        if self.deployed and asks_for_stack:
            return Connection(clients, clients.clock, self._caller, OUTPUTS, self._client)
        clients.ledger_table = LedgerTable(NoTable(), clients.clock)
        return Connection(clients, clients.clock, self._caller, client=self._client)

    def __call__(self, *arguments: str, typed: str | bytes | None = None) -> Result:
        """Run the command to its end; `typed` is what a person at a terminal types."""
        self._monkeypatch.setattr(output, "interactive", lambda: typed is not None)
        self._actions.clear()
        before = taken(self._clients)
        result = CliRunner().invoke(app, arguments, input=typed, catch_exceptions=False)
        unnamed = missing(arguments, {*self._actions, *(taken(self._clients) - before)})
        assert not unnamed, f"the help of {arguments[0]} does not name {unnamed}"
        return result

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        """The JSON document that it writes."""
        result = self(*arguments, "--output", "json")
        assert result.exit_code == exit_code, result.stderr
        return json.loads(result.stdout)

    def refusal(self, *arguments: str) -> str:
        """The one line with which it refuses to do anything."""
        result = self(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        lines: Sequence[str] = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        return str(lines[0])

    def sweep(self, run_id: str = "run-1") -> None:
        """Let the enforcer sweep, which may set account defaults, and a minute pass."""
        application = Application(replace(SETTINGS, account_defaults="true"), self._clients, self._clients.clock)
        application.invoke({"trigger": "schedule"}, Invocation(run_id, ACCOUNT, lambda: 900.0))
        self._clients.clock.advance(60)

    def options(self, region: str, instance_id: str) -> MetadataOptions:
        """The options that an instance has now."""
        options = self._clients.ec2(region).actual(instance_id).options
        assert options is not None
        return options


def undeployed(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in an account without the enforcer, with an instance in each of two regions."""
    clients.ec2(HOME).launch(an_instance(1))
    clients.ec2(AWAY).launch(an_instance(2))
    clients.ssm.values.clear()
    command = Command(clients, monkeypatch)
    command.deployed = False
    return command


def now_deployed(clients: FakeClients, command: Command) -> Command:
    """The same account once the enforcer is deployed, with a policy that requires tokens."""
    clients.ssm.put(TOKENS_PARAMETER, "required")
    clients.ssm.put(POLICY_PARAMETER, "{}")
    command.deployed = True
    return command


def lines(text: str) -> list[str]:
    """The lines of a table, with each run of spaces as one."""
    return [" ".join(line.split()) for line in text.splitlines()]
