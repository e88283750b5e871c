"""Reverts after reverts: what is left to undo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import HttpTokens, Switch
from tests.fakes.command import FIRST_REVERT, Command, lines
from tests.fakes.examples import HOME, POLICY_PARAMETER, UNAUTHORIZED, V1_ALLOWED, V2_ONLY, an_id, an_instance

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

THREE_HOPS = replace(V2_ONLY, http_put_response_hop_limit=3)


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command."""
    return Command(clients, monkeypatch)


@pytest.fixture
def changed(clients: FakeClients, home: FakeEc2, command: Command) -> str:
    """One instance whose tokens a first run required, and whose hop limit a second one set."""
    home.launch(an_instance(1))
    command.sweep("run-1")
    clients.ssm.put(POLICY_PARAMETER, '{"http_put_response_hop_limit": 3}')
    command.sweep("run-2")
    assert command.options(HOME, an_id(1)) == THREE_HOPS
    return an_id(1)


@pytest.mark.parametrize("which", [("--run", "run-1"), (an_id(1),)])
def test_a_second_revert_finds_nothing_to_undo(command: Command, changed: str, which: tuple[str, ...]) -> None:
    """What is undone is not undone again."""
    command("revert", "--run", "run-1", "--yes")
    assert command.options(HOME, changed) == V1_ALLOWED
    result = command("revert", *which, "--yes")
    assert (result.exit_code, result.stderr) == (1, "Nothing to undo.\n")
    assert lines(result.stdout)[1].endswith("that is not undone")


def test_a_revert_that_failed_can_be_tried_again(home: FakeEc2, command: Command, changed: str) -> None:
    """It undid nothing."""
    home.modify_errors[changed] = [UNAUTHORIZED]
    assert command("revert", changed, "--yes").exit_code == 1
    assert command.options(HOME, changed) == THREE_HOPS
    assert command("revert", changed, "--yes").exit_code == 0
    assert command.options(HOME, changed) == V2_ONLY


def test_after_the_last_change_the_one_before_can_be_undone(
    clients: FakeClients, command: Command, changed: str
) -> None:
    """It was not undone with the last."""
    command("revert", changed, "--yes")
    assert command.options(HOME, changed) == V2_ONLY
    clients.clock.advance(60)
    assert command("revert", "--run", "run-1", "--yes").exit_code == 0
    assert command.options(HOME, changed) == V1_ALLOWED


def test_what_was_left_can_be_overwritten_later(
    clients: FakeClients, home: FakeEc2, command: Command, changed: str
) -> None:
    """The way that the first revert leads to: it names what it left."""
    home.set_options(changed, instance_metadata_tags=Switch.ENABLED)
    command("revert", "--run", "run-1", "--yes")
    assert command.options(HOME, changed) == replace(V1_ALLOWED, instance_metadata_tags=Switch.ENABLED)
    clients.clock.advance(60)
    (instance,) = command.json("revert", "--run", "run-1", "--dry-run")["instances"]
    assert (instance["set_back"], instance["left"]) == ({}, ["InstanceMetadataTags is enabled, not disabled"])
    assert [each["run_id"] for each in instance["undoes"]] == ["run-1", "run-2"]
    assert command("revert", "--run", "run-1", "--yes", "--overwrite-later-changes").exit_code == 0
    assert command.options(HOME, changed) == V1_ALLOWED


def test_what_somebody_set_after_a_revert_is_theirs(
    clients: FakeClients, home: FakeEc2, command: Command, changed: str
) -> None:
    """Even where the enforcer had once set the same."""
    home.set_options(changed, instance_metadata_tags=Switch.ENABLED)
    command("revert", "--run", "run-1", "--yes")
    home.set_options(changed, http_tokens=HttpTokens.REQUIRED)
    clients.clock.advance(60)
    (instance,) = command.json("revert", "--run", "run-1", "--yes")["instances"]
    assert "HttpTokens is required, not optional" in instance["left"]
    assert command.options(HOME, changed).http_tokens is HttpTokens.REQUIRED


def test_a_revert_is_not_undone(home: FakeEc2, command: Command, changed: str) -> None:
    """That would be to enforce, which is the enforcer's own work after a release."""
    home.set_options(changed, instance_metadata_tags=Switch.ENABLED)
    command("revert", "--run", "run-1", "--yes")
    result = command("revert", "--run", FIRST_REVERT, "--yes")
    assert (result.exit_code, result.stderr) == (1, "Nothing to undo.\n")
    assert command.options(HOME, changed).http_tokens is HttpTokens.OPTIONAL


def test_after_a_release_a_new_change_can_be_undone(clients: FakeClients, command: Command, changed: str) -> None:
    """The round begins anew."""
    command("revert", "--run", "run-1", "--yes")
    command("release", changed)
    clients.clock.advance(60)
    command.sweep("run-3")
    assert command.options(HOME, changed) == THREE_HOPS
    assert command("revert", changed, "--yes").exit_code == 0
    assert command.options(HOME, changed) == V1_ALLOWED
