"""If someone keeps changing an instance back, it is left to the sweep, which names the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.ledger.holds import CONTESTED_FOR
from imds_enforcer.model import AwsError, HttpTokens, Outcome
from imds_enforcer.policy import Mode
from tests.fakes import example_events as events
from tests.fakes.clock import START
from tests.fakes.example_events import a_message
from tests.fakes.examples import HOME, THROTTLED, V1_ALLOWED, V2_ONLY, a_policy, an_id, an_instance
from tests.fakes.runs import App, Batch, Documents, Sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imds_enforcer.aws.dynamodb import Item
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

OTHER = "arn:aws:sts::111122223333:assumed-role/deploy/terraform"
AGAIN = f"repeatedly changed back by someone else, last by {OTHER}"
WHY = "HttpTokens is optional, not required"
DAY = CONTESTED_FOR.total_seconds()


def _drift(number: int = 1) -> dict[str, Any]:
    event = events.drift(an_id(number))
    event["detail"]["userIdentity"] = {"arn": OTHER}
    return event


def _change_back(clients: FakeClients, home: FakeEc2, event: dict[str, Any] | None = None) -> Batch:
    """Someone changes the instance back, and the event arrives."""
    home.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)
    return Batch(clients, a_message(event or _drift()))


def _correct(clients: FakeClients, home: FakeEc2, *, times: int, seconds: float = 60) -> None:
    """Let someone change the instance back and the enforcer correct it, this many times and seconds apart."""
    for _ in range(times):
        assert _change_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}
        clients.clock.advance(seconds)


@pytest.fixture(autouse=True)
def _instance(home: FakeEc2) -> None:
    home.launch(an_instance(1, V2_ONLY))


def test_after_three_corrections_within_an_hour_the_fourth_event_changes_nothing(
    clients: FakeClients, home: FakeEc2
) -> None:
    """The reason names the caller, and the message does not come back."""
    _correct(clients, home, times=3)
    batch = _change_back(clients, home)
    ((result, _),) = batch.log
    until = START + CONTESTED_FOR
    assert result.outcome is Outcome.CONTESTED
    assert result.reason == f"{AGAIN}: only the sweep corrects it until {until:%Y-%m-%d} 12:03 UTC; {WHY}"
    assert (result.before, result.after) == (V1_ALLOWED, V1_ALLOWED)
    assert batch.again == []
    assert home.actual(an_id(1)).options == V1_ALLOWED
    (kept,) = batch.report.as_json()["kept_back"]
    assert (kept["outcome"], kept["instance_id"]) == ("CONTESTED", an_id(1))


@pytest.mark.parametrize("event", [events.running(an_id(1)), events.launch(an_id(1)), events.drift(an_id(1))])
def test_no_later_event_corrects_a_contested_instance(
    clients: FakeClients, home: FakeEc2, event: dict[str, Any]
) -> None:
    """This holds for every kind of event. The principal is the caller that made the instance contested."""
    _correct(clients, home, times=3)
    _change_back(clients, home)
    batch = Batch(clients, a_message(event))
    ((result, _),) = batch.log
    assert result.outcome is Outcome.CONTESTED
    assert result.reason.startswith(AGAIN)
    assert len(home.sent) == 3


def test_the_sweep_corrects_a_contested_instance_and_names_the_caller(clients: FakeClients, home: FakeEc2) -> None:
    """The fleet still follows the policy, corrected as often as the schedule says."""
    _correct(clients, home, times=3)
    _change_back(clients, home)
    done = Sweep(clients)
    ((result, _),) = done.log
    assert (result.outcome, result.reason) == (Outcome.REMEDIATED, f"{WHY}; {AGAIN}")
    assert home.actual(an_id(1)).options == V2_ONLY
    assert _change_back(clients, home).outcomes == {an_id(1): Outcome.CONTESTED}


def test_once_the_contest_is_over_events_correct_the_instance_again(clients: FakeClients, home: FakeEc2) -> None:
    """The contest lasts exactly one day."""
    _correct(clients, home, times=3)
    _change_back(clients, home)
    clients.clock.advance(DAY - 1)
    assert _change_back(clients, home).outcomes == {an_id(1): Outcome.CONTESTED}
    clients.clock.advance(1)
    assert _change_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}


def test_two_corrections_are_no_contest(clients: FakeClients, home: FakeEc2) -> None:
    """People may make the same mistake twice."""
    _correct(clients, home, times=2)
    assert _change_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}


@pytest.mark.parametrize(("apart", "outcome"), [(1_199, Outcome.CONTESTED), (1_200, Outcome.REMEDIATED)])
def test_corrections_count_for_an_hour(clients: FakeClients, home: FakeEc2, apart: float, outcome: Outcome) -> None:
    """After an hour the first of three corrections no longer counts."""
    _correct(clients, home, times=3, seconds=apart)
    assert _change_back(clients, home).outcomes == {an_id(1): outcome}


@pytest.mark.parametrize("event", [events.running(an_id(1)), events.launch(an_id(1))])
def test_only_corrections_of_drift_count(clients: FakeClients, home: FakeEc2, event: dict[str, Any]) -> None:
    """A restart is no sign of a contest."""
    for _ in range(3):
        assert _change_back(clients, home, event).outcomes == {an_id(1): Outcome.REMEDIATED}
        clients.clock.advance(60)
    assert _change_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}


def test_a_failed_correction_does_not_count(clients: FakeClients, home: FakeEc2) -> None:
    """It corrected nothing."""
    _correct(clients, home, times=2)
    home.modify_errors[an_id(1)] = [THROTTLED] * 30
    assert _change_back(clients, home).outcomes == {an_id(1): Outcome.DEFERRED}
    home.modify_errors.clear()
    assert _change_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}


def test_a_contest_does_not_affect_other_instances(clients: FakeClients, home: FakeEc2) -> None:
    """Each instance has its own contest."""
    home.launch(an_instance(2))
    _correct(clients, home, times=3)
    _change_back(clients, home)
    assert Batch(clients, a_message(_drift(2))).outcomes == {an_id(2): Outcome.REMEDIATED}


def test_several_messages_about_one_correction_count_once(clients: FakeClients, home: FakeEc2) -> None:
    """Events are delivered at least once."""
    home.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)
    Batch(clients, *(a_message(_drift(), f"m-{number}") for number in range(5)))
    assert _change_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}


def test_a_caller_that_the_event_does_not_name_is_unknown(clients: FakeClients, home: FakeEc2) -> None:
    """CloudTrail does not always name one."""
    _correct(clients, home, times=3)
    ((result, _),) = _change_back(clients, home, events.drift(an_id(1))).log
    assert result.reason.startswith("repeatedly changed back by someone else, last by an unknown caller: ")


def test_an_audit_begins_no_contest(clients: FakeClients, home: FakeEc2) -> None:
    """It corrects and writes nothing; a contest in force is reported."""
    _correct(clients, home, times=3)
    home.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)
    written = len(clients.table.written)
    audit = a_policy(mode=Mode.AUDIT)
    assert Batch(clients, a_message(_drift()), policy=audit).outcomes == {an_id(1): Outcome.WOULD_REMEDIATE}
    assert len(clients.table.written) == written
    _change_back(clients, home)
    assert Batch(clients, a_message(_drift()), policy=audit).outcomes == {an_id(1): Outcome.CONTESTED}


def test_a_contest_stays_in_force_while_the_ledger_takes_no_writes(clients: FakeClients, home: FakeEc2) -> None:
    """The contest can still be read, so its message does not come back. The message of the other instance does."""
    _correct(clients, home, times=3)
    home.launch(an_instance(2))
    home.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)
    clients.table.write_failure = THROTTLED
    batch = Batch(clients, a_message(_drift(), "m-1"), a_message(_drift(2), "m-2"))
    assert batch.outcomes == {an_id(1): Outcome.CONTESTED, an_id(2): Outcome.DEFERRED}
    assert batch.again == ["m-2"]
    assert "ledger_error" in batch.report.as_json()["regions"][HOME]


def test_a_contest_that_cannot_be_recorded_is_reported_and_stops_no_other_instance(
    clients: FakeClients, home: FakeEc2
) -> None:
    """Each event counts the corrections again; another instance is changed meanwhile."""
    _correct(clients, home, times=3)
    home.launch(an_instance(2))
    home.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)

    def refuse(items: Sequence[Item]) -> None:
        if any(item["sk"].startswith("contest#") for item in items):
            raise AwsError(THROTTLED)

    clients.table.before_write = refuse
    batch = Batch(clients, a_message(_drift(), "m-1"), a_message(_drift(2), "m-2"))
    assert batch.outcomes == {an_id(1): Outcome.CONTESTED, an_id(2): Outcome.REMEDIATED}
    assert batch.again == []
    assert batch.report.as_json()["regions"][HOME]["ledger_error"] == str(THROTTLED)


def test_a_contest_in_force_leaves_no_intents(clients: FakeClients, home: FakeEc2) -> None:
    """The contest decides, so the instance's past corrections are not read either."""
    _correct(clients, home, times=3)
    _change_back(clients, home)
    clients.table.requests.clear()
    assert _change_back(clients, home).outcomes == {an_id(1): Outcome.CONTESTED}
    assert clients.table.writes == 0
    assert f"Query {an_id(1)}" not in clients.table.requests


def test_a_slow_table_is_asked_once_about_each_instance(clients: FakeClients, home: FakeEc2) -> None:
    """A request takes longer here than a look is good for. One request after each look would prevent every change."""
    instances = home.launch(*map(an_instance, range(10, 110)))

    def take_time(request: str) -> None:
        if request.startswith("Query i-"):
            clients.clock.advance(0.15)

    clients.table.before_read = take_time
    batch = Batch(clients, *(a_message(_drift(number), f"m-{number}") for number in range(10, 110)))
    assert batch.outcomes == {instance.instance_id: Outcome.REMEDIATED for instance in instances}
    assert sum(request.startswith("Query i-") for request in clients.table.requests) == 100


def test_a_contest_is_logged(app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents) -> None:
    """The line has the principal. Another line follows when a sweep corrects the instance."""
    for _ in range(4):
        home.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)
        app.batch(a_message(_drift()))
        clients.clock.advance(60)
    line = [line for line in log_lines() if line.get("outcome") == "CONTESTED"][-1]
    assert line["reason"].startswith(AGAIN)
    assert line["trigger"] == "drift"
    app.invoke({"inventory": True})
    assert home.actual(an_id(1)).options == V2_ONLY
    line = [line for line in log_lines() if line.get("outcome") == "REMEDIATED"][-1]
    assert line["reason"].endswith(AGAIN)
    assert clients.topic.mails == [], "it is in line again"
