from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import InstanceState
from tests.fakes.clock import START
from tests.fakes.command import ANN, Command, lines
from tests.fakes.examples import AWAY, DENIED_BY_SCP, HOME, POLICY_PARAMETER, UNAUTHORIZED, an_id, an_instance

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

BOTH = (an_id(1), an_id(2))
WHY = ("--reason", "vendor agent")


@pytest.fixture
def command(clients: FakeClients, home: FakeEc2, away: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, and an instance in each of two regions."""
    home.launch(an_instance(1))
    away.launch(an_instance(2))
    return Command(clients, monkeypatch)


def test_what_is_said_of_a_hold(command: Command) -> None:
    """How long, by whom and why."""
    result = command("hold", *BOTH, *WHY)
    assert lines(result.stdout) == [
        "INSTANCE HOLD",
        f"{an_id(1)} held until it is released by {ANN}: vendor agent",
        f"{an_id(2)} held until it is released by {ANN}: vendor agent",
    ]
    assert result.stderr == ""


def test_a_hold_as_json(command: Command) -> None:
    """The same for programs."""
    (hold,) = command.json("hold", an_id(1), an_id(1), *WHY, "--until", "2026-11-23T10:00")
    assert hold == {
        "instance_id": an_id(1),
        "until": "2026-11-23T10:00:00+00:00",
        "reason": "vendor agent",
        "by": ANN,
        "at": "2026-11-22T12:00:00+00:00",
    }


def test_that_a_service_manages_it_is_said_of_a_held_instance(home: FakeEc2, command: Command) -> None:
    """The hold is there, and was not needed."""
    home.launch(an_instance(1, managed_by="eks.amazonaws.com"))
    result = command("hold", *BOTH, *WHY)
    assert result.exit_code == 0
    assert result.stderr == f"{an_id(1)} is managed by eks.amazonaws.com: the account cannot change it, held or not.\n"


@pytest.mark.parametrize(
    ("until", "moment"),
    [
        ("2026-11-22", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-12-31", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2026-11-22T12:01", START + timedelta(minutes=1)),
        ("2026-11-22T14:01+02:00", START + timedelta(minutes=1)),
        ("2026-11-22T12:01:00Z", START + timedelta(minutes=1)),
    ],
)
def test_when_a_hold_ends(clients: FakeClients, command: Command, until: str, moment: datetime) -> None:
    """With the end of a day in UTC, as the days of the policy do, or at a moment."""
    command("hold", an_id(1), *WHY, "--until", until)
    assert clients.ledger_table.holds.standing().holds[an_id(1)].until == moment


@pytest.mark.parametrize("until", ["2026-11-21", "2026-11-22T12:00", "2026-11-22T13:59+02:00"])
def test_a_hold_that_ends_before_it_begins_is_refused(command: Command, until: str) -> None:
    """Nobody means that."""
    refusal = f"imds-enforcer: --until is '{until}', which has passed; allowed: a day or a moment that lies ahead"
    assert command.refusal("hold", an_id(1), *WHY, "--until", until) == refusal


@pytest.mark.parametrize("until", ["tomorrow", "", "2026-02-30", "30.06.2027", "9999-12-31", "9999-12-31T23:00-05:00"])
def test_a_date_that_is_none_is_refused(command: Command, until: str) -> None:
    """With what is allowed."""
    refusal = f"imds-enforcer: --until is '{until}'; allowed: a day, as 2027-06-30, or an ISO 8601 moment, as "
    assert command.refusal("hold", an_id(1), *WHY, "--until", until).startswith(refusal)


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ((*BOTH, "i-12", "web-1", *WHY), "'i-12', 'web-1' is no instance id; allowed: i- and 17 (or 8) hexadecimal"),
        ((an_id(1), an_id(8), *WHY), f"no instance of this account: {an_id(8)}"),
        ((an_id(1),), "Missing option '--reason'."),
        ((an_id(1), "--reason", "\n"), r"--reason is '\n'; allowed: a text that says why"),
        (WHY, "Missing argument 'INSTANCE...'."),
    ],
)
def test_what_it_cannot_use(clients: FakeClients, command: Command, arguments: tuple[str, ...], refusal: str) -> None:
    """One line, and none of the instances is held."""
    assert command.refusal("hold", *arguments).startswith(f"imds-enforcer: {refusal}")
    assert clients.ledger_table.holds.standing().holds == {}


def test_an_instance_that_has_ended_is_none(home: FakeEc2, command: Command) -> None:
    """EC2 lists it for an hour more."""
    home.set_state(an_id(1), InstanceState.TERMINATED)
    assert command.refusal("hold", an_id(1), *WHY) == f"imds-enforcer: no instance of this account: {an_id(1)}"


def test_where_no_region_is_listed_the_policy_names_those_to_look_in(
    clients: FakeClients, home: FakeEc2, command: Command
) -> None:
    """Else there is the home region, and the message says so."""
    home.regions_error = DENIED_BY_SCP
    assert command.refusal("hold", an_id(2), *WHY) == (
        f"imds-enforcer: no instance of this account: {an_id(2)}; EC2 does not list the account's regions "
        f"({DENIED_BY_SCP}). This covers only {HOME}; name others in the policy's regions.include."
    )
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"regions": {"include": [AWAY]}}))
    assert command("hold", an_id(2), *WHY).exit_code == 0
    clients.ssm.put(POLICY_PARAMETER, "no policy")
    assert command("hold", an_id(1), *WHY).exit_code == 0
    assert an_id(2) in command.refusal("hold", an_id(2), *WHY)


def test_a_region_that_could_not_be_asked_is_named(away: FakeEc2, command: Command) -> None:
    """The instance may be there."""
    away.read_errors[1] = UNAUTHORIZED
    assert command.refusal("hold", an_id(2), *WHY) == (
        f"imds-enforcer: no instance of this account: {an_id(2)}; {AWAY} could not be asked ({UNAUTHORIZED})"
    )


def test_only_home_is_asked_about_what_is_there(clients: FakeClients, command: Command) -> None:
    """An account has some twenty regions."""
    command("hold", an_id(1), *WHY)
    assert clients.ec2_calls == ["DescribeInstances"]


def test_a_hold_that_is_replaced_is_named(clients: FakeClients, command: Command) -> None:
    """It may have been longer."""
    command("hold", an_id(1), "--reason", "audit")
    result = command("hold", *BOTH, *WHY, "--until", "2026-11-30")
    assert result.stderr == (f"{an_id(1)} was held until it is released by {ANN}: audit; this hold is replaced.\n")
    assert clients.ledger_table.holds.standing().holds[an_id(1)].reason == "vendor agent"


def test_what_is_said_of_a_release(command: Command) -> None:
    """Those without a hold are named: perhaps another instance was meant."""
    command("hold", an_id(1), *WHY)
    result = command("release", *BOTH)
    assert result.exit_code == 0
    assert lines(result.stdout)[1:] == [f"{an_id(1)} released; it was held until it is released by {ANN}: vendor agent"]
    assert result.stderr == f"{an_id(2)} had no hold.\n"


def test_a_release_as_json(command: Command) -> None:
    """The hold that was ended, or null."""
    command("hold", an_id(1), *WHY)
    first, second = command.json("release", *BOTH)
    assert (first["instance_id"], first["released"]["reason"]) == (an_id(1), "vendor agent")
    assert second == {"instance_id": an_id(2), "released": None}


def test_a_release_clears_what_has_ended_by_itself(clients: FakeClients, command: Command) -> None:
    """A hold is stored until then."""
    past = START - timedelta(days=1)
    clients.ledger_table.holds.write([Hold(instance_id=an_id(1), reason="over", by=ANN, at=past, until=past)])
    assert command("release", an_id(1)).stderr == f"{an_id(1)} had no hold.\n"
    assert clients.table.items == {}


def test_a_release_of_an_instance_that_is_gone(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """Its hold would stay for ever."""
    command("hold", an_id(1), *WHY)
    home.forget(an_id(1))
    assert command("release", an_id(1)).exit_code == 0
    assert clients.ledger_table.holds.standing().holds == {}
