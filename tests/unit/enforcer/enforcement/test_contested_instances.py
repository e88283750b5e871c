"""An instance that somebody keeps setting back is left to the sweep, which names who it is."""

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


def _set_back(clients: FakeClients, home: FakeEc2, event: dict[str, Any] | None = None) -> Batch:
    """Somebody sets the instance back, and its event comes."""
    home.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)
    return Batch(clients, a_message(event or _drift()))


def _fix(clients: FakeClients, home: FakeEc2, *, times: int, seconds: float = 60) -> None:
    """That it is set back and set right, so many times and so many seconds apart."""
    for _ in range(times):
        assert _set_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}
        clients.clock.advance(seconds)


@pytest.fixture(autouse=True)
def _instance(home: FakeEc2) -> None:
    home.launch(an_instance(1, V2_ONLY))


def test_after_three_fixes_within_an_hour_the_fourth_event_changes_nothing(clients: FakeClients, home: FakeEc2) -> None:
    """It is told who the other is, and the message does not come back."""
    _fix(clients, home, times=3)
    batch = _set_back(clients, home)
    ((result, _),) = batch.log
    until = START + CONTESTED_FOR
    assert result.outcome is Outcome.CONTESTED
    assert result.reason == f"{AGAIN}: only the sweep sets it right until {until:%Y-%m-%d} 12:03; {WHY}"
    assert (result.before, result.after) == (V1_ALLOWED, V1_ALLOWED)
    assert batch.again == []
    assert home.actual(an_id(1)).options == V1_ALLOWED
    (kept,) = batch.report.as_json()["kept_back"]
    assert (kept["outcome"], kept["instance_id"]) == ("CONTESTED", an_id(1))


@pytest.mark.parametrize("event", [events.running(an_id(1)), events.launch(an_id(1)), events.drift(an_id(1))])
def test_from_then_on_no_event_sets_it_right(clients: FakeClients, home: FakeEc2, event: dict[str, Any]) -> None:
    """Of whatever kind; the principal is the one who made it contested."""
    _fix(clients, home, times=3)
    _set_back(clients, home)
    batch = Batch(clients, a_message(event))
    ((result, _),) = batch.log
    assert result.outcome is Outcome.CONTESTED
    assert result.reason.startswith(AGAIN)
    assert len(home.sent) == 3


def test_the_sweep_sets_it_right_and_names_the_other(clients: FakeClients, home: FakeEc2) -> None:
    """The fleet is brought in line all the same, no more often than the schedule says."""
    _fix(clients, home, times=3)
    _set_back(clients, home)
    done = Sweep(clients)
    ((result, _),) = done.log
    assert (result.outcome, result.reason) == (Outcome.REMEDIATED, f"{WHY}; {AGAIN}")
    assert home.actual(an_id(1)).options == V2_ONLY
    assert _set_back(clients, home).outcomes == {an_id(1): Outcome.CONTESTED}


def test_once_it_is_over_events_set_it_right_again(clients: FakeClients, home: FakeEc2) -> None:
    """A day later, to the moment."""
    _fix(clients, home, times=3)
    _set_back(clients, home)
    clients.clock.advance(DAY - 1)
    assert _set_back(clients, home).outcomes == {an_id(1): Outcome.CONTESTED}
    clients.clock.advance(1)
    assert _set_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}


def test_two_fixes_are_no_contest(clients: FakeClients, home: FakeEc2) -> None:
    """Somebody may err twice."""
    _fix(clients, home, times=2)
    assert _set_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}


@pytest.mark.parametrize(("apart", "outcome"), [(1_199, Outcome.CONTESTED), (1_200, Outcome.REMEDIATED)])
def test_fixes_count_for_an_hour(clients: FakeClients, home: FakeEc2, apart: float, outcome: Outcome) -> None:
    """The first of three is forgotten then."""
    _fix(clients, home, times=3, seconds=apart)
    assert _set_back(clients, home).outcomes == {an_id(1): outcome}


@pytest.mark.parametrize("event", [events.running(an_id(1)), events.launch(an_id(1))])
def test_only_fixes_of_drift_count(clients: FakeClients, home: FakeEc2, event: dict[str, Any]) -> None:
    """A restart is no dispute."""
    for _ in range(3):
        assert _set_back(clients, home, event).outcomes == {an_id(1): Outcome.REMEDIATED}
        clients.clock.advance(60)
    assert _set_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}


def test_a_fix_that_failed_does_not_count(clients: FakeClients, home: FakeEc2) -> None:
    """Nothing was set right."""
    _fix(clients, home, times=2)
    home.modify_errors[an_id(1)] = [THROTTLED] * 30
    assert _set_back(clients, home).outcomes == {an_id(1): Outcome.DEFERRED}
    home.modify_errors.clear()
    assert _set_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}


def test_other_instances_are_not_concerned(clients: FakeClients, home: FakeEc2) -> None:
    """Each has its own dispute."""
    home.launch(an_instance(2))
    _fix(clients, home, times=3)
    _set_back(clients, home)
    assert Batch(clients, a_message(_drift(2))).outcomes == {an_id(2): Outcome.REMEDIATED}


def test_several_messages_about_one_fix_are_one(clients: FakeClients, home: FakeEc2) -> None:
    """Events come at least once."""
    home.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)
    Batch(clients, *(a_message(_drift(), f"m-{number}") for number in range(5)))
    assert _set_back(clients, home).outcomes == {an_id(1): Outcome.REMEDIATED}


def test_a_caller_whom_the_event_does_not_name_is_said_to_be_unknown(clients: FakeClients, home: FakeEc2) -> None:
    """CloudTrail does not always say."""
    _fix(clients, home, times=3)
    ((result, _),) = _set_back(clients, home, events.drift(an_id(1))).log
    assert result.reason.startswith("repeatedly changed back by someone else, last by an unknown caller: ")


def test_an_audit_begins_no_contest(clients: FakeClients, home: FakeEc2) -> None:
    """It sets nothing right and writes nothing down; one that is on is told of."""
    _fix(clients, home, times=3)
    home.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)
    written = len(clients.table.written)
    audit = a_policy(mode=Mode.AUDIT)
    assert Batch(clients, a_message(_drift()), policy=audit).outcomes == {an_id(1): Outcome.WOULD_REMEDIATE}
    assert len(clients.table.written) == written
    _set_back(clients, home)
    assert Batch(clients, a_message(_drift()), policy=audit).outcomes == {an_id(1): Outcome.CONTESTED}


def test_a_contest_is_one_while_nothing_can_be_written_down(clients: FakeClients, home: FakeEc2) -> None:
    """It is read as contested all the same, and its message does not come back; the other's does."""
    _fix(clients, home, times=3)
    home.launch(an_instance(2))
    home.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)
    clients.table.write_failure = THROTTLED
    batch = Batch(clients, a_message(_drift(), "m-1"), a_message(_drift(2), "m-2"))
    assert batch.outcomes == {an_id(1): Outcome.CONTESTED, an_id(2): Outcome.DEFERRED}
    assert batch.again == ["m-2"]
    assert "ledger_error" in batch.report.as_json()["regions"][HOME]


def test_a_contest_that_cannot_be_written_down_is_reported_and_stops_no_other_instance(
    clients: FakeClients, home: FakeEc2
) -> None:
    """It has to be counted anew with each event; another instance is changed meanwhile."""
    _fix(clients, home, times=3)
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


def test_a_contest_that_is_on_leaves_no_intents(clients: FakeClients, home: FakeEc2) -> None:
    """Nor does it ask for the fixes any more."""
    _fix(clients, home, times=3)
    _set_back(clients, home)
    clients.table.requests.clear()
    assert _set_back(clients, home).outcomes == {an_id(1): Outcome.CONTESTED}
    assert clients.table.writes == 0
    assert f"Query {an_id(1)}" not in clients.table.requests


def test_a_slow_table_is_asked_once_about_each_instance(clients: FakeClients, home: FakeEc2) -> None:
    """What is asked takes longer here than a look is good for: asked again after each, nothing were ever changed."""
    instances = home.launch(*map(an_instance, range(10, 110)))

    def take_time(request: str) -> None:
        if request.startswith("Query i-"):
            clients.clock.advance(0.15)

    clients.table.before_read = take_time
    batch = Batch(clients, *(a_message(_drift(number), f"m-{number}") for number in range(10, 110)))
    assert batch.outcomes == {instance.instance_id: Outcome.REMEDIATED for instance in instances}
    assert sum(request.startswith("Query i-") for request in clients.table.requests) == 100


def test_a_contest_has_its_line_in_the_log(app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents) -> None:
    """With the principal, and again where a sweep sets it right."""
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
