"""`imds-enforcer policy set` names the launchers that would lose IMDSv1 by required account defaults."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model.instance import AUTO_SCALING_GROUP_TAG, LAUNCH_TEMPLATE_TAG, LAUNCH_TEMPLATE_VERSION_TAG
from tests.fakes.clock import START
from tests.fakes.command import ANN, Command
from tests.fakes.examples import (
    AWAY,
    EXPIRED,
    HOME,
    POLICY_PARAMETER,
    THROTTLED,
    TOKENS_PARAMETER,
    UNAUTHORIZED,
    an_id,
    an_instance,
)

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from tests.fakes.clients import FakeClients

WOULD = "if required becomes the region's default for HttpTokens, the launcher's next instance will not get IMDSv1"
GROUP, TEMPLATE = "Auto Scaling group web", "launch template lt-web version 1"
VENDOR = {"match": {"auto_scaling_group": "web"}, "reason": "vendor"}
ALL_THREE: dict[str, Any] = {
    "account_defaults": {},
    "legacy_calls": {},
    "exemptions": [{"match": {"instance_id": an_id(1)}, "reason": "vendor"}],
}


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, with a group of four instances from a template that does not set tokens.

    One instance is held, and one still calls IMDSv1.
    """
    command = Command(clients, monkeypatch)
    tags = {AUTO_SCALING_GROUP_TAG: "web", LAUNCH_TEMPLATE_TAG: "lt-web", LAUNCH_TEMPLATE_VERSION_TAG: "1"}
    for number in range(1, 5):
        clients.ec2(HOME).launch(an_instance(number, tags=tags, attached_at=START - timedelta(days=3)))
    launches = command.launches[HOME]
    launches.images = {"ami-1": None}
    launches.templates = {"lt-web": [{"ImageId": "ami-1"}], "lt-set": [{"MetadataOptions": {"HttpTokens": "optional"}}]}
    used = {"LaunchTemplateId": "lt-web", "Version": "1"}
    launches.groups = [{"AutoScalingGroupName": "web", "LaunchTemplate": used}]
    clients.ledger_table.holds.write([Hold(instance_id=an_id(2), reason="migration", by=ANN, at=START)])
    clients.metrics[HOME].data["MetadataNoToken", an_id(3)] = [(START - timedelta(hours=1), 5.0)]
    return command


def put(command: Command, folder: Path, document: Any, *arguments: str, typed: str | None = None) -> Result:
    """Store this policy by the command."""
    path = folder / "policy.json"
    path.write_text(json.dumps(document))
    return command("policy", "set", str(path), *arguments, typed=typed)


def named(result: Result) -> list[str]:
    """The lines about launchers."""
    return [line for line in result.stderr.splitlines() if "does not set HttpTokens" in line]


def line(launcher: str, why: str) -> str:
    """The line about a launcher."""
    return f"{launcher} in {HOME} does not set HttpTokens: {why}; {WOULD}"


@pytest.mark.parametrize("tokens", ["required", "optional"])
def test_exempt_held_and_gated_instances(command: Command, clients: FakeClients, tmp_path: Path, tokens: str) -> None:
    """Each launcher has a line, even while the toggle is `optional`: it may become `required`."""
    clients.ssm.put(TOKENS_PARAMETER, tokens)
    result = put(command, tmp_path, ALL_THREE, "--yes")
    assert result.exit_code == 0
    numbers = "4 instances: 1 exempt, 1 held, 1 gated"
    assert named(result) == [line(TEMPLATE, numbers), line(GROUP, numbers)]
    assert len(clients.ssm.puts) == 1


def test_launchers_are_named_before_the_question(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """They may be the reason to answer no."""
    result = put(command, tmp_path, {"account_defaults": {}, "exemptions": [VENDOR]}, typed="n\n")
    assert (result.exit_code, clients.ssm.puts) == (1, [])
    assert result.stderr.index("does not set HttpTokens") < result.stderr.index("Store it?")


def test_launchers_are_in_the_document(command: Command, tmp_path: Path) -> None:
    """It has the numbers, and the exemption that matches the next instance."""
    document = {"account_defaults": {}, "exemptions": [VENDOR]}
    result = put(command, tmp_path, document, "--yes", "--output", "json")
    found = {each["launcher"]: each for each in json.loads(result.stdout)["launchers"]}
    assert found.keys() == {GROUP, TEMPLATE}
    assert (found[GROUP]["exempt"], found[GROUP]["held"], found[GROUP]["exemption"]) == (3, 1, "vendor")
    assert found[TEMPLATE]["exemption"] is None


@pytest.mark.parametrize(
    ("before", "document"),
    [
        ({}, {"legacy_calls": {}, "exemptions": [VENDOR]}),
        (ALL_THREE, {**ALL_THREE, "http_put_response_hop_limit": 2}),
        ({}, {"account_defaults": {}, "regions": {"include": [AWAY]}}),
    ],
)
def test_a_change_that_affects_no_launcher(
    command: Command, clients: FakeClients, tmp_path: Path, before: Any, document: Any
) -> None:
    """The regions' defaults stay the same, or nothing changes for launchers."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps(before))
    result = put(command, tmp_path, document, "--yes")
    assert (result.exit_code, named(result), command.launches[HOME].requests) == (0, [], [])


def test_the_gate_counts_only_calls_of_these_launchers(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """CloudWatch charges for each instance."""
    clients.ec2(HOME).launch(an_instance(9, attached_at=START - timedelta(days=3)))
    put(command, tmp_path, ALL_THREE, "--yes")
    asked = json.dumps([str(request) for request in clients.metrics[HOME].requests])
    assert an_id(3) in asked
    assert an_id(9) not in asked


# Whatever cannot be read is named on one line, and the policy is stored.


def test_launchers_that_are_denied(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """The other launchers are named."""
    command.launches[HOME].refused = {"describe_auto_scaling_groups": "AccessDenied"}
    result = put(command, tmp_path, ALL_THREE, "--yes")
    assert "Auto Scaling did not list groups in eu-west-1: AccessDenied: AWS said so" in result.stderr.splitlines()
    assert named(result) == [line(TEMPLATE, "4 instances: 1 exempt, 1 held, 1 gated")]
    assert len(clients.ssm.puts) == 1


def test_instances_that_are_denied(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """Exemptions of the next instance are known all the same."""
    clients.ec2(HOME).find_errors = dict.fromkeys(range(1, 9), UNAUTHORIZED)
    result = put(command, tmp_path, {"account_defaults": {}, "exemptions": [VENDOR]}, "--yes")
    assert f"EC2 did not list instances in eu-west-1: {UNAUTHORIZED}" in result.stderr.splitlines()
    assert named(result) == [line(GROUP, "the launcher's next instance is exempt (vendor)")]
    assert len(clients.ssm.puts) == 1


def test_calls_that_are_denied(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """No instance counts as gated."""
    clients.metrics[HOME].failure = UNAUTHORIZED
    result = put(command, tmp_path, ALL_THREE, "--yes")
    unknown = f"it is not fully known which instances the gate would hold back: {UNAUTHORIZED}"
    assert result.stderr.splitlines().count(unknown) == 1
    assert named(result)[0] == line(TEMPLATE, "4 instances: 1 exempt, 1 held")
    assert len(clients.ssm.puts) == 1


def test_a_ledger_that_is_denied(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """No instance counts as held."""
    clients.table.read_failure = UNAUTHORIZED
    result = put(command, tmp_path, {**ALL_THREE, "legacy_calls": None}, "--yes")
    assert f"it is not known which instances are held: {UNAUTHORIZED}" in result.stderr.splitlines()
    assert named(result)[0] == line(TEMPLATE, "4 instances: 1 exempt")
    assert len(clients.ssm.puts) == 1


def test_regions_that_are_denied(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """Only the home region is read."""
    clients.ec2(HOME).regions_error = UNAUTHORIZED
    result = put(command, tmp_path, ALL_THREE, "--yes")
    assert f"the account's regions ({UNAUTHORIZED}). This covers only {HOME}; " in result.stderr
    assert len(named(result)) == 2
    assert len(clients.ssm.puts) == 1


def test_regions_that_are_not_known(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """No region is read, and the command says so."""
    clients.ec2(HOME).regions_error = THROTTLED
    result = put(command, tmp_path, ALL_THREE, "--yes")
    unknown = f"the regions are not known, so no launcher was checked: {THROTTLED}"
    assert unknown in result.stderr.splitlines()
    assert named(result) == []
    assert len(clients.ssm.puts) == 1


def test_credentials_that_are_not_accepted_any_more(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """Nothing is written: Parameter Store would refuse them too."""
    clients.table.read_failure = EXPIRED
    result = put(command, tmp_path, ALL_THREE, "--yes")
    assert (result.exit_code, clients.ssm.puts) == (2, [])
    assert f"imds-enforcer: {EXPIRED}" in result.stderr.splitlines()
