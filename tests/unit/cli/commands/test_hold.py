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
    """The command, with an instance in each of two regions."""
    home.launch(an_instance(1))
    away.launch(an_instance(2))
    return Command(clients, monkeypatch)


def test_a_hold_as_a_table(command: Command) -> None:
    """It says until when, by whom and why."""
    result = command("hold", *BOTH, *WHY)
    assert lines(result.stdout) == [
        "INSTANCE HOLD",
        f"{an_id(1)} held until it is released by {ANN}: vendor agent",
        f"{an_id(2)} held until it is released by {ANN}: vendor agent",
    ]
    assert result.stderr == ""


def test_a_hold_as_json(command: Command) -> None:
    """It has the same content."""
    (hold,) = command.json("hold", an_id(1), an_id(1), *WHY, "--until", "2026-11-23T10:00")
    assert hold == {
        "instance_id": an_id(1),
        "until": "2026-11-23T10:00:00+00:00",
        "reason": "vendor agent",
        "by": ANN,
        "at": "2026-11-22T12:00:00+00:00",
    }


def test_a_hold_on_an_instance_that_a_service_manages(home: FakeEc2, command: Command) -> None:
    """The hold is written, and the command says that it makes no difference."""
    home.launch(an_instance(1, managed_by="eks.amazonaws.com"))
    result = command("hold", *BOTH, *WHY)
    assert result.exit_code == 0
    managed = f"{an_id(1)} is managed by eks.amazonaws.com: the account cannot change it"
    assert result.stderr == f"{managed}; the hold makes no difference.\n"


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
    """It ends with the end of a day in UTC, as in the policy, or at a moment."""
    command("hold", an_id(1), *WHY, "--until", until)
    assert clients.ledger_table.holds.standing().holds[an_id(1)].until == moment


@pytest.mark.parametrize("until", ["2026-11-21", "2026-11-22T12:00", "2026-11-22T13:59+02:00"])
def test_an_end_in_the_past_is_refused(command: Command, until: str) -> None:
    """It must be a mistake."""
    refusal = f"imds-enforcer: --until is '{until}', which has passed; allowed: a day or a moment in the future"
    assert command.refusal("hold", an_id(1), *WHY, "--until", until) == refusal


@pytest.mark.parametrize("until", ["tomorrow", "", "2026-02-30", "30.06.2027", "9999-12-31", "9999-12-31T23:00-05:00"])
def test_an_invalid_end_is_refused(command: Command, until: str) -> None:
    """The error names the values allowed."""
    refusal = f"imds-enforcer: --until is '{until}'; allowed: a day such as 2027-06-30, or an ISO 8601 moment such as "
    assert command.refusal("hold", an_id(1), *WHY, "--until", until).startswith(refusal)


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (
            (*BOTH, "i-12", "web-1", *WHY),
            "'i-12', 'web-1' is not an instance id; allowed: i- and 17 (or 8) hexadecimal",
        ),
        ((an_id(1), an_id(8), *WHY), f"not found in this account: {an_id(8)}"),
        ((an_id(1),), "Missing option '--reason'."),
        ((an_id(1), "--reason", "\n"), r"--reason is '\n'; allowed: a text that says why"),
        (WHY, "Missing argument 'INSTANCE...'."),
    ],
)
def test_what_it_cannot_use(clients: FakeClients, command: Command, arguments: tuple[str, ...], refusal: str) -> None:
    """The error is one line, and no instance is held."""
    assert command.refusal("hold", *arguments).startswith(f"imds-enforcer: {refusal}")
    assert clients.ledger_table.holds.standing().holds == {}


def test_an_ended_instance_cannot_be_held(home: FakeEc2, command: Command) -> None:
    """EC2 still lists it for an hour."""
    home.set_state(an_id(1), InstanceState.TERMINATED)
    assert command.refusal("hold", an_id(1), *WHY) == f"imds-enforcer: not found in this account: {an_id(1)}"


def test_without_a_list_of_regions_the_policy_names_the_regions_to_search(
    clients: FakeClients, home: FakeEc2, command: Command
) -> None:
    """If it names none, only the home region is searched, and the error says so."""
    home.regions_error = DENIED_BY_SCP
    assert command.refusal("hold", an_id(2), *WHY) == (
        f"imds-enforcer: not found in this account: {an_id(2)}; EC2 does not list the account's regions "
        f"({DENIED_BY_SCP}). This covers only {HOME}; name others in the policy's regions.include."
    )
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"regions": {"include": [AWAY]}}))
    assert command("hold", an_id(2), *WHY).exit_code == 0
    clients.ssm.put(POLICY_PARAMETER, "no policy")
    assert command("hold", an_id(1), *WHY).exit_code == 0
    assert an_id(2) in command.refusal("hold", an_id(2), *WHY)


def test_a_region_that_cannot_be_searched_is_named(away: FakeEc2, command: Command) -> None:
    """The instance may be there."""
    away.read_errors[1] = UNAUTHORIZED
    assert command.refusal("hold", an_id(2), *WHY) == (
        f"imds-enforcer: not found in this account: {an_id(2)}; {AWAY} could not be searched ({UNAUTHORIZED})"
    )


def test_only_the_home_region_is_searched_if_the_instance_is_there(clients: FakeClients, command: Command) -> None:
    """That saves calls to some twenty regions."""
    command("hold", an_id(1), *WHY)
    assert clients.ec2_calls == ["DescribeInstances"]


def test_a_hold_that_is_replaced_is_named(clients: FakeClients, command: Command) -> None:
    """It may have lasted longer."""
    command("hold", an_id(1), "--reason", "audit")
    result = command("hold", *BOTH, *WHY, "--until", "2026-11-30")
    assert result.stderr == (
        f"{an_id(1)} was held until it is released by {ANN}: audit; the new hold replaces this one.\n"
    )
    assert clients.ledger_table.holds.standing().holds[an_id(1)].reason == "vendor agent"


def test_a_release_as_a_table(command: Command) -> None:
    """The command names instances without a hold: the user may have meant another one."""
    command("hold", an_id(1), *WHY)
    result = command("release", *BOTH)
    assert result.exit_code == 0
    assert lines(result.stdout)[1:] == [f"{an_id(1)} released; it was held until it is released by {ANN}: vendor agent"]
    assert result.stderr == f"{an_id(2)} had no hold.\n"


def test_a_release_as_json(command: Command) -> None:
    """It has the hold that ended, or null."""
    command("hold", an_id(1), *WHY)
    first, second = command.json("release", *BOTH)
    assert (first["instance_id"], first["released"]["reason"]) == (an_id(1), "vendor agent")
    assert second == {"instance_id": an_id(2), "released": None}


def test_a_release_deletes_an_ended_hold(clients: FakeClients, command: Command) -> None:
    """It may still be stored."""
    past = START - timedelta(days=1)
    clients.ledger_table.holds.write([Hold(instance_id=an_id(1), reason="over", by=ANN, at=past, until=past)])
    assert command("release", an_id(1)).stderr == f"{an_id(1)} had no hold.\n"
    assert clients.table.items == {}


def test_a_release_of_an_instance_that_is_gone(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """Otherwise its hold would stay for ever."""
    command("hold", an_id(1), *WHY)
    home.forget(an_id(1))
    assert command("release", an_id(1)).exit_code == 0
    assert clients.ledger_table.holds.standing().holds == {}
