from __future__ import annotations

from dataclasses import replace
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
    """The command, after two runs nine days apart that changed one instance each."""
    command = Command(clients, monkeypatch)
    home.launch(an_instance(1))
    command.sweep("run-1")
    clients.clock.advance(9 * 86_400)
    away.launch(an_instance(2))
    command.sweep("run-2")
    return command


def an_intent(clients: FakeClients, ends_in: float) -> Entry:
    """A change without an outcome."""
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


def test_all_recent_changes(command: Command) -> None:
    """By default they are those of seven days."""
    result = command("history")
    assert (result.exit_code, result.stderr) == (0, "")
    heading, entry = lines(result.stdout)
    assert heading == HEADINGS
    assert entry.startswith(f"2026-12-01 12:01:00 {an_id(2)}; {AWAY} REMEDIATED; schedule HttpTokens: optional →")


def test_further_back(command: Command) -> None:
    """The oldest change comes first."""
    table = lines(command("history", "--since", "10").stdout)
    assert [line.split()[1] for line in table[1:]] == ["12:00:00", "12:01:00"]


def test_all_changes_to_one_instance(command: Command) -> None:
    """An old change can still be reverted, so age does not hide it."""
    assert lines(command("history", an_id(1)).stdout) == [HEADINGS, FIRST]


def test_all_changes_of_one_run(command: Command) -> None:
    """Their age does not matter either."""
    assert lines(command("history", "--run", "run-1").stdout) == [HEADINGS, FIRST]


@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_a_run_is_summed_up_on_one_line(home: FakeEc2, away: FakeEc2, command: Command, output: str) -> None:
    """The line is on standard error in every format."""
    home.launch(an_instance(4), an_instance(5))
    away.launch(an_instance(6))
    home.modify_errors[an_id(4)] = [UNAUTHORIZED]
    command.sweep("run-4")
    summary = "Run run-4 (schedule), 2026-12-01 12:02:00 UTC: 3 instances in 2 regions: 1 FAILED, 2 REMEDIATED.\n"
    assert command("history", "--run", "run-4", "--output", output).stderr == summary
    assert command("history", an_id(4), "--output", output).stderr == ""
    assert command("history", "--output", output).stderr == ""


def test_a_run_that_a_person_ordered(command: Command) -> None:
    """The line names that person."""
    command("revert", an_id(2), "--yes")
    said = command("history", "--run", FIRST_REVERT).stderr
    assert said.startswith(f"Run {FIRST_REVERT} (revert by {ANN}), 2026-12-01 ")
    assert said.endswith(" UTC: 1 instance in 1 region: 1 REMEDIATED.\n")


@pytest.mark.parametrize(
    ("later", "shown"),
    [
        ({"seconds": 0}, "2026-12-01 12:02:00 UTC"),
        ({"milliseconds": 900}, "2026-12-01 12:02:00 UTC"),
        ({"seconds": 50}, "2026-12-01 12:02:00 to 12:02:50 UTC"),
        ({"hours": 12}, "2026-12-01 12:02:00 to 2026-12-02 00:02:00 UTC"),
    ],
)
def test_the_time_of_a_run(clients: FakeClients, command: Command, later: dict[str, int], shown: str) -> None:
    """It lasts from its first change to its last; triggers may differ, and outcomes may be missing."""
    first = an_intent(clients, ends_in=0)
    last = replace(first, instance_id=an_id(4), at=first.at + timedelta(**later), trigger="launch")
    clients.ledger_table.entries.write([first, replace(last, ends_at=last.at + timedelta(days=1))])
    summary = f"Run run-3 (drift, launch), {shown}: 2 instances in 1 region: 1 interrupted, 1 under way.\n"
    assert command("history", "--run", "run-3").stderr == summary


@pytest.mark.parametrize("which", [(an_id(1),), ("--run", "run-1")])
def test_days_limit_the_changes_of_an_instance_or_run(command: Command, which: tuple[str, ...]) -> None:
    """`--since` applies to them too."""
    result = command("history", *which, "--since", "7")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "The ledger has no matching entry.\n"


def test_history_as_json(command: Command) -> None:
    """It has everything in an entry, under the ledger's names."""
    assert command.json("history", an_id(1)) == [
        {
            "kind": "instance",
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


def test_a_revert_names_the_caller(command: Command) -> None:
    """The enforcer's own changes have no caller."""
    command("revert", an_id(2), "--yes")
    entry = lines(command("history", an_id(2)).stdout)[-1]
    assert "REMEDIATED; revert HttpTokens: required → optional" in entry
    assert entry.endswith(f"; by {ANN}; run {FIRST_REVERT}")


@pytest.mark.parametrize(("ends_in", "shown"), [(60, "under way"), (0, "interrupted")])
def test_an_open_change_is_not_shown_as_done(
    clients: FakeClients, command: Command, ends_in: float, shown: str
) -> None:
    """It is under way, or was interrupted with its process."""
    clients.ledger_table.entries.write([an_intent(clients, ends_in)])
    entry = lines(command("history", an_id(3)).stdout)[-1]
    assert f"{shown}; drift HttpTokens: optional → required" in entry


def test_a_failed_change_is_shown_as_no_change(home: FakeEc2, command: Command) -> None:
    """The reason is EC2's."""
    home.launch(an_instance(4))
    home.modify_errors[an_id(4)] = [UNAUTHORIZED]
    command.sweep("run-4")
    entry = lines(command("history", an_id(4)).stdout)[-1]
    assert "FAILED; schedule no change; UnauthorizedOperation: EC2 said so" in entry


def test_profile_and_region_lead_to_the_account(command: Command) -> None:
    """The command passes both on as given; without them the environment decides."""
    command("history", "--profile", "ops", "--region", AWAY)
    command("history")
    assert command.profiles == [("ops", AWAY), (None, None)]


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("i-xyz",), "'i-xyz' is not an instance id; allowed: i- and 17 (or 8) hexadecimal digits"),
        ((an_id(1), "--run", "run-1"), "an instance and --run; allowed: one of them, or neither"),
        (("--run", ""), "--run is ''; allowed: a run's id, as `imds-enforcer history` shows it"),
        (("--since", "0"), "Invalid value for '--since': 0 is not in the range 1<=x<=400."),
        (("--output", "xml"), "Invalid value for '--output': 'xml' is not one of 'table', 'json', 'csv'."),
    ],
)
def test_what_it_cannot_use(command: Command, arguments: tuple[str, ...], refusal: str) -> None:
    """The error names the value received and the values allowed."""
    assert command.refusal("history", *arguments).startswith(f"imds-enforcer: {refusal}")
