from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.ledger.entry import Entry
from imds_enforcer.policy import PolicyVersions
from tests.fakes.command import ANN, FIRST_REVERT, Command, lines
from tests.fakes.examples import (
    AWAY,
    HOME,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

HEADINGS = "AT (UTC) INSTANCE OUTCOME CHANGE AND REASON"
FIRST = (
    f"2026-11-22 12:00:00 {an_id(1)}; {HOME} REMEDIATED; schedule HttpTokens: optional → required; "
    "HttpTokens is optional, not required; run run-1"
)


@pytest.fixture
def command(clients: FakeClients, home: FakeEc2, away: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, after two runs that changed an instance each, nine days apart."""
    command = Command(clients, monkeypatch)
    home.launch(an_instance(1))
    command.sweep("run-1")
    clients.clock.advance(9 * 86_400)
    away.launch(an_instance(2))
    command.sweep("run-2")
    return command


def an_intent(clients: FakeClients, ends_in: float) -> Entry:
    """A change of which nobody has said how it went."""
    now = clients.clock.now()
    return Entry(
        instance_id=an_id(3),
        region=HOME,
        at=now,
        run_id="run-3",
        trigger="drift",
        versions=PolicyVersions(),
        before=V1_ALLOWED,
        wanted=V2_ONLY,
        ends_at=now + timedelta(seconds=ends_in),
        reason="HttpTokens is optional",
    )


def test_the_latest_of_all(command: Command) -> None:
    """Of seven days, without being told."""
    result = command("history")
    assert (result.exit_code, result.stderr) == (0, "")
    heading, entry = lines(result.stdout)
    assert heading == HEADINGS
    assert entry.startswith(f"2026-12-01 12:01:00 {an_id(2)}; {AWAY} REMEDIATED; schedule HttpTokens: optional →")


def test_further_back(command: Command) -> None:
    """Oldest first."""
    table = lines(command("history", "--since", "10").stdout)
    assert [line.split()[1] for line in table[1:]] == ["12:00:00", "12:01:00"]


def test_of_one_instance_everything_that_is_kept(command: Command) -> None:
    """What can be undone is not hidden by its age."""
    assert lines(command("history", an_id(1)).stdout) == [HEADINGS, FIRST]


def test_of_one_run(command: Command) -> None:
    """Of any age, too."""
    assert lines(command("history", "--run", "run-1").stdout) == [HEADINGS, FIRST]


@pytest.mark.parametrize("which", [(an_id(1),), ("--run", "run-1")])
def test_of_one_instance_or_run_only_the_latest(command: Command, which: tuple[str, ...]) -> None:
    """If so many days are asked for."""
    result = command("history", *which, "--since", "7")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "The ledger has no such entry.\n"


def test_as_json(command: Command) -> None:
    """Everything that an entry says, under the names of the ledger."""
    assert command.json("history", an_id(1)) == [
        {
            "instance_id": an_id(1),
            "region": HOME,
            "at": "2026-11-22T12:00:00+00:00",
            "run_id": "run-1",
            "trigger": "schedule",
            "by": None,
            "policy_versions": {"http_tokens": 1, "policy": 1},
            "outcome": "REMEDIATED",
            "reason": "HttpTokens is optional, not required",
            "code": None,
            "before": V1_ALLOWED.as_log(),
            "wanted": V2_ONLY.as_log(),
            "after": V2_ONLY.as_log(),
        }
    ]


def test_a_revert_says_who_ordered_it(command: Command) -> None:
    """People are accountable; the enforcer's own changes have nobody to name."""
    command("revert", an_id(2), "--yes")
    entry = lines(command("history", an_id(2)).stdout)[-1]
    assert "REMEDIATED; revert HttpTokens: required → optional" in entry
    assert entry.endswith(f"; by {ANN}; run {FIRST_REVERT}")


@pytest.mark.parametrize(("ends_in", "shown"), [(60, "under way"), (0, "interrupted")])
def test_what_is_open_is_not_called_done(clients: FakeClients, command: Command, ends_in: float, shown: str) -> None:
    """Under way, or left behind by a process that is gone."""
    clients.ledger_table.entries.write([an_intent(clients, ends_in)])
    entry = lines(command("history", an_id(3)).stdout)[-1]
    assert f"{shown}; drift HttpTokens: optional → required" in entry


def test_what_failed_is_shown_as_no_change(home: FakeEc2, command: Command) -> None:
    """With EC2's own words."""
    home.launch(an_instance(4))
    home.modify_errors[an_id(4)] = [UNAUTHORIZED]
    command.sweep("run-4")
    entry = lines(command("history", an_id(4)).stdout)[-1]
    assert "FAILED; schedule no change; UnauthorizedOperation: EC2 said so" in entry


def test_profile_and_region_lead_to_the_account(command: Command) -> None:
    """As given, or as the environment says."""
    command("history", "--profile", "ops", "--region", AWAY)
    command("history")
    assert command.profiles == [("ops", AWAY), (None, None)]


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("i-xyz",), "'i-xyz' is no instance id; allowed: i- and 17 (or 8) hexadecimal digits"),
        ((an_id(1), "--run", "run-1"), "an instance and --run; allowed: one of them, or neither"),
        (("--run", ""), "--run is ''; allowed: the id of a run, as `imds-enforcer history` shows it"),
        (("--since", "0"), "Invalid value for '--since': 0 is not in the range 1<=x<=400."),
        (("--output", "xml"), "Invalid value for '--output': 'xml' is not one of 'table', 'json', 'csv'."),
    ],
)
def test_what_it_cannot_use(command: Command, arguments: tuple[str, ...], refusal: str) -> None:
    """One line says what was received and what is allowed."""
    assert command.refusal("history", *arguments).startswith(f"imds-enforcer: {refusal}")
