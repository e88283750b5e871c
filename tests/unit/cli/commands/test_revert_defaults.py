"""`revert --defaults`, the hold that it leaves, and its entries in the history."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.ledger.defaults import subject
from imds_enforcer.model import HttpTokens, Switch
from imds_enforcer.model.region_defaults import RegionDefaults
from imds_enforcer_cli.commands.revert_defaults import COLUMNS
from tests.fakes.account_defaults import UNSET
from tests.fakes.command import ANN, FIRST_REVERT, Command, lines
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
    from tests.fakes.clients import FakeClients

ENFORCED = RegionDefaults(
    http_tokens=HttpTokens.REQUIRED, http_put_response_hop_limit=2, http_tokens_enforced=Switch.ENABLED
)
BACK = (
    "HttpTokens: required → no-preference; HttpPutResponseHopLimit: 2 → no-preference; "
    "HttpTokensEnforced: enabled → no-preference"
)
WHY = "reverted to what they were before the enforcer set them"


@pytest.fixture(autouse=True)
def _kept(clients: FakeClients, command: Command) -> None:
    """The enforcer has set the defaults of both regions."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"account_defaults": {"enforce_tokens": True}}))
    command.sweep("run-1")
    assert current(clients) == {HOME: ENFORCED, AWAY: ENFORCED}


def current(clients: FakeClients) -> dict[str, RegionDefaults]:
    """The defaults of each region."""
    return {name: fake.current for name, fake in clients.defaults.items()}


def test_the_defaults_of_a_region_are_reverted_in_one_call_and_held(clients: FakeClients, command: Command) -> None:
    """The next sweep leaves them alone, although the policy still sets them; the other region does not change."""
    result = command("revert", "--defaults", HOME, "--yes")
    assert result.exit_code == 0, result.stderr
    assert lines(result.stdout) == [
        "ACCOUNT DEFAULTS REVERTS LEFT AS IT IS",
        f"{HOME} {BACK}",
        "ACCOUNT DEFAULTS OUTCOME REASON",
        f"{HOME} REMEDIATED {WHY}",
    ]
    assert clients.defaults[HOME].sent[-1] == {
        "http_tokens": None,
        "http_put_response_hop_limit": None,
        "http_tokens_enforced": None,
    }
    clients.clock.advance(60)
    command.sweep("run-2")
    assert current(clients) == {HOME: UNSET, AWAY: ENFORCED}
    hold = clients.ledger_table.holds.standing().holds[subject(HOME)]
    assert (hold.by, hold.reason) == (ANN, "reverted")


def test_a_release_brings_the_defaults_in_line_again(clients: FakeClients, command: Command) -> None:
    """It works as with instances."""
    command("revert", "--defaults", HOME, "--yes")
    result = command("release", "--defaults", HOME, AWAY)
    assert result.exit_code == 0
    assert lines(result.stdout)[1:] == [
        f"defaults#{HOME} released; it was held until it is released by {ANN}: reverted"
    ]
    assert result.stderr == f"defaults#{AWAY} had no hold.\n"
    clients.clock.advance(60)
    command.sweep("run-2")
    assert current(clients)[HOME] == ENFORCED


def test_a_later_change_by_someone_else_is_named_and_left(clients: FakeClients, command: Command) -> None:
    """`--overwrite-later-changes` reverts it too."""
    clients.defaults[HOME].put(http_put_response_hop_limit=5)
    [region] = command.json("revert", "--defaults", HOME, "--yes", exit_code=1)["regions"]
    assert (region["left"], region["outcome"]) == (["HttpPutResponseHopLimit is 5"], "REMEDIATED")
    assert current(clients)[HOME] == RegionDefaults(http_put_response_hop_limit=5)
    clients.clock.advance(60)
    [again] = command.json("revert", "--defaults", HOME, "--yes", "--overwrite-later-changes")["regions"]
    assert (again["left"], current(clients)[HOME]) == ([], UNSET)


def test_required_tokens_stay_while_someone_else_enforces_them(clients: FakeClients, command: Command) -> None:
    """Otherwise every launch that does not set tokens would fail."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"account_defaults": {}}))
    command("revert", "--defaults", HOME, "--yes")
    command("release", "--defaults", HOME)
    command.sweep("run-2")
    clients.defaults[HOME].put(http_tokens_enforced=Switch.ENABLED)
    [region] = command.json("revert", "--defaults", HOME, "--yes", exit_code=1)["regions"]
    assert region["left"] == [
        "HttpTokens is required, which the other defaults need",
        "HttpPutResponseHopLimit is 2, which the other defaults need",
    ]
    assert current(clients)[HOME] == ENFORCED


def test_a_dry_run_changes_nothing(clients: FakeClients, command: Command) -> None:
    """It shows the plan."""
    result = command("revert", "--defaults", HOME, AWAY, "--dry-run", "--output", "csv")
    assert result.exit_code == 0
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["region"], row["set_back.HttpTokens.now"], row["outcome"]) for row in rows] == [
        (HOME, "required", ""),
        (AWAY, "required", ""),
    ]
    assert current(clients) == {HOME: ENFORCED, AWAY: ENFORCED}
    assert clients.ledger_table.holds.standing().holds == {}


def test_it_asks_before_the_first_change(clients: FakeClients, command: Command) -> None:
    """If the user answers no, nothing changes."""
    result = command("revert", "--defaults", HOME, typed="n\n")
    assert result.exit_code == 1
    assert "Hold the account defaults of 1 region until released, and revert them?" in result.stderr
    assert current(clients)[HOME] == ENFORCED
    assert command("revert", "--defaults", HOME, typed="y\n").exit_code == 0


def test_nothing_is_left_to_revert(clients: FakeClients, command: Command) -> None:
    """There is no hold either."""
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    command.sweep("run-2")
    assert current(clients)[HOME] == UNSET
    result = command("revert", "--defaults", HOME, "--yes")
    assert (result.exit_code, result.stderr) == (0, "Nothing to revert.\n")
    assert lines(result.stdout)[1:] == [f"{HOME} nothing the ledger has no change left to undo"]
    assert clients.ledger_table.holds.standing().holds == {}


def test_a_region_that_cannot_be_reverted_stops_no_other(clients: FakeClients, command: Command) -> None:
    """It is named, with EC2's reason."""
    clients.defaults[HOME].read_failure = UNAUTHORIZED
    result = command("revert", "--defaults", HOME, AWAY, "--yes", "--output", "json")
    assert result.exit_code == 1
    first, second = json.loads(result.stdout)["regions"]
    assert (first["problem"], first["outcome"]) == (f"the account defaults cannot be read ({UNAUTHORIZED})", None)
    assert (second["problem"], second["outcome"]) == (None, "REMEDIATED")


def test_a_refusal_makes_the_exit_code_1(clients: FakeClients, command: Command) -> None:
    """The refusal comes from EC2 or from a declarative policy."""
    clients.defaults[HOME].set_failure = UNAUTHORIZED
    [region] = command.json("revert", "--defaults", HOME, "--yes", exit_code=1)["regions"]
    assert (region["outcome"], region["reason"]) == ("FAILED", str(UNAUTHORIZED))
    clients.defaults[HOME].managed = "a declarative policy manages the region's defaults"
    result = command("revert", "--defaults", HOME, "--yes")
    assert (result.exit_code, result.stderr) == (1, "Nothing can be reverted now.\n")


def test_refused_credentials_end_the_command(clients: FakeClients, command: Command) -> None:
    """The error has AWS's code."""
    clients.defaults[HOME].read_failure = EXPIRED
    assert "ExpiredToken" in command("revert", "--defaults", HOME, "--yes").stderr


def test_without_the_ledger_nothing_is_reverted(clients: FakeClients, command: Command) -> None:
    """The command writes the hold first."""
    clients.table.write_failure = THROTTLED
    assert command("revert", "--defaults", HOME, "--yes").exit_code != 0
    assert current(clients)[HOME] == ENFORCED


def test_the_history_has_both_kinds(clients: FakeClients, command: Command) -> None:
    """Changes of instances and of defaults are in one order of time. A run's summary counts both."""
    clients.ec2(HOME).launch(an_instance(1))
    command.sweep("run-2")
    command("revert", "--defaults", HOME, "--yes")
    documents = command.json("history")
    assert [(each["kind"], each["instance_id"], each["region"], each["run_id"]) for each in documents] == [
        *(("defaults", None, region, "run-1") for region in sorted((HOME, AWAY))),
        ("instance", an_id(1), HOME, "run-2"),
        ("defaults", None, HOME, FIRST_REVERT),
    ]
    assert documents[-1]["by"] == ANN
    assert (documents[-1]["before"]["HttpTokensEnforced"], documents[-1]["after"]["HttpTokens"]) == (
        "enabled",
        "no-preference",
    )
    result = command("history", "--run", "run-1")
    first = lines(result.stdout)[1]
    assert f"account defaults; {HOME} REMEDIATED; schedule HttpTokens: no-preference → required" in first
    assert "the account defaults of 2 regions: 2 REMEDIATED." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--defaults",), "nothing to revert; name the regions"),
        (("--defaults", an_id(1)), f"'{an_id(1)}' is not a region; allowed: names such as eu-west-1"),
        (("--defaults", HOME, "--run", "run-1"), "--defaults and --run; allowed: one of them"),
    ],
)
def test_what_it_cannot_use(command: Command, arguments: tuple[str, ...], said: str) -> None:
    """The error is one line, and nothing is changed."""
    assert command.refusal("revert", *arguments, "--yes").startswith(f"imds-enforcer: {said}")
