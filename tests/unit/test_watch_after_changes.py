"""After a change: whose calls are rejected is told, once, and set back where the policy says so."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.failures import AwsError
from imds_enforcer.ledger import Hold
from imds_enforcer.legacy_calls import REJECTED
from imds_enforcer.model import (
    AUTO_SCALING_GROUP_TAG,
    LAUNCH_TEMPLATE_TAG,
    LAUNCH_TEMPLATE_VERSION_TAG,
    Outcome,
)
from tests.unit import example_events as events
from tests.unit.example_events import a_message
from tests.unit.examples import (
    AWAY,
    HOME,
    POLICY_PARAMETER,
    SERVER_FAULT,
    THROTTLED,
    TOKENS_PARAMETER,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)
from tests.unit.runs import App, Documents, metric_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imds_enforcer.dynamodb import Item
    from tests.unit.fake_clients import FakeClients
    from tests.unit.fake_ec2 import FakeEc2

SCHEDULE = {"trigger": "schedule"}
SUBJECT = "imds-enforcer: Instances still call IMDSv1 after it was switched off"
QUARTER, HOUR = 900, 3_600
TAGS = {AUTO_SCALING_GROUP_TAG: "web", LAUNCH_TEMPLATE_TAG: "lt-1", LAUNCH_TEMPLATE_VERSION_TAG: "7"}


def _policy(clients: FakeClients, **watch: Any) -> None:
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"watch": watch}))


def _reject(clients: FakeClients, number: int, calls: float = 3, region: str = HOME) -> None:
    """Let CloudWatch have counted that many rejected calls in these five minutes."""
    now = clients.clock.now()
    point = now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0)
    clients.metrics[region].data.setdefault((REJECTED, an_id(number)), []).append((point, calls))


def _mails(clients: FakeClients) -> list[str]:
    return [text for subject, text in clients.topic.mails if subject == SUBJECT]


def _sweep(app: App, clients: FakeClients, seconds: float = QUARTER) -> None:
    clients.clock.advance(seconds)
    app.invoke(SCHEDULE)


@pytest.fixture
def changed(app: App, clients: FakeClients, home: FakeEc2) -> App:
    """The enforcer, that has changed three instances just now."""
    home.launch(an_instance(1, tags=TAGS, image_id="ami-1"), an_instance(2), an_instance(3))
    app.invoke(SCHEDULE)
    assert len(home.modified) == 3
    assert _mails(clients) == []
    return app


def test_rejected_calls_are_one_mail_that_names_where_the_instance_comes_from(
    changed: App, clients: FakeClients, home: FakeEc2, metrics: Documents
) -> None:
    """All of them in one; they are left as they are."""
    _reject(clients, 1)
    _reject(clients, 2, calls=1)
    metrics()
    _sweep(changed, clients)
    (text,) = _mails(clients)
    since = "since 2026-11-22 12:00 UTC"
    origin = "Auto Scaling group web, launch template lt-1 version 7, image ami-1"
    unknown = "Auto Scaling group none, launch template none, image none"
    *rejected, follows = text.splitlines()
    assert sorted(rejected) == [
        f"{an_id(1)} in {HOME}: 3 calls without a token rejected {since} ({origin})",
        f"{an_id(2)} in {HOME}: 1 calls without a token rejected {since} ({unknown})",
    ]
    assert follows == "They were left as they are."
    published = metrics()
    assert [document["RejectedCalls"] for document in published if "RejectedCalls" in document] == [[2.0]]
    assert home.actual(an_id(1)).options == V2_ONLY


def test_an_instance_is_told_of_once(changed: App, clients: FakeClients, metrics: Documents) -> None:
    """However long it goes on; the metric is there each time, for the alarm."""
    _reject(clients, 1)
    for _ in range(9):
        _sweep(changed, clients)
        assert "RejectedCalls" in metric_names(metrics())
    assert len(_mails(clients)) == 1
    _reject(clients, 3)
    _sweep(changed, clients, HOUR)
    first, second = _mails(clients)
    assert an_id(3) not in first
    assert second.startswith(an_id(3))
    assert an_id(1) not in second


def test_below_the_limit_nothing_is_told(changed: App, clients: FakeClients, metrics: Documents) -> None:
    """The operator said how many make a message."""
    _policy(clients, rejected_calls=4)
    _reject(clients, 1, calls=3)
    _sweep(changed, clients)
    assert _mails(clients) == []
    assert "RejectedCalls" not in metric_names(metrics())
    _reject(clients, 1, calls=1)
    _sweep(changed, clients, HOUR + 1)
    assert len(_mails(clients)) == 1


def test_cloudwatch_is_asked_once_an_hour_about_each(changed: App, clients: FakeClients) -> None:
    """With one request, in whatever process; and no more once the watch has ended."""
    for _ in range(8):
        _sweep(changed, clients)
        App(clients.in_another_process()).invoke(SCHEDULE)
    requests = clients.metrics[HOME].requests
    assert [(metric, sorted(asked)) for metric, asked, _ in requests] == [
        (REJECTED, [an_id(1), an_id(2), an_id(3)]),
        (REJECTED, [an_id(1), an_id(2), an_id(3)]),
    ]
    assert clients.metrics[AWAY].requests == []
    clients.clock.advance(24 * HOUR)
    App(clients).invoke(SCHEDULE)
    assert len(requests) == 2


def test_who_was_never_changed_is_not_watched(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """Its calls are its own affair."""
    home.launch(an_instance(1, V2_ONLY))
    _reject(clients, 1)
    _sweep(app, clients)
    assert clients.metrics[HOME].requests == []


@pytest.mark.parametrize("watch", ["null", '{"hours": 1}'])
def test_who_is_not_to_be_watched_is_not_asked_about(changed: App, clients: FakeClients, watch: str) -> None:
    """null: nobody. An hour: not three hours later; its last minutes are looked at once they are over."""
    clients.ssm.put(POLICY_PARAMETER, f'{{"watch": {watch}}}')
    _reject(clients, 1)
    _sweep(changed, clients, 3 * HOUR)
    assert clients.metrics[HOME].requests == []


def test_an_inventory_does_not_watch(changed: App, clients: FakeClients) -> None:
    """The sweeps between do."""
    _reject(clients, 1)
    clients.clock.advance(HOUR)
    changed.invoke({"inventory": True})
    assert clients.metrics[HOME].requests == []


def test_what_was_loosened_again_is_not_watched(changed: App, clients: FakeClients) -> None:
    """The policy has given IMDSv1 back."""
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    _sweep(changed, clients, 60)
    _reject(clients, 1)
    _sweep(changed, clients)
    assert clients.metrics[HOME].requests == []


def test_with_revert_the_instance_is_set_back_and_held(
    changed: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """For seven days, in which neither sweep nor event changes it; the others stay as they are."""
    _policy(clients, revert=True)
    _reject(clients, 1)
    _sweep(changed, clients)
    until = clients.clock.now() + timedelta(days=7)
    assert home.actual(an_id(1)).options == V1_ALLOWED
    assert home.actual(an_id(2)).options == V2_ONLY
    hold = clients.records.standing().holds[an_id(1)]
    assert (hold.by, hold.reason) == ("the watch of imds-enforcer", "calls without a token were rejected")
    assert hold.until == until
    _, *lines = _mails(clients)[0].splitlines()
    what = f"{an_id(1)} was set back (REMEDIATED), and is held until {until:%Y-%m-%d %H:%M} UTC"
    assert lines == [f"{what}: set back to what it was before the run run-1"]
    (line,) = (line for line in log_lines() if line.get("trigger") == "revert")
    assert (line["instance_id"], line["outcome"]) == (an_id(1), "REMEDIATED")
    sent = len(home.sent)
    _sweep(changed, clients)
    changed.batch(a_message(events.drift(an_id(1))))
    _sweep(changed, clients, 7 * 24 * HOUR - 2 * QUARTER)
    assert len(home.sent) == sent
    assert len(_mails(clients)) == 1
    _sweep(changed, clients)
    assert home.actual(an_id(1)).options == V2_ONLY


def test_the_history_has_who_set_it_back(changed: App, clients: FakeClients) -> None:
    """As a change like any other."""
    _policy(clients, revert=True)
    _reject(clients, 1)
    _sweep(changed, clients)
    entry = clients.records.entries_of(an_id(1))[-1]
    assert (entry.trigger, entry.by, entry.outcome) == ("revert", "the watch of imds-enforcer", Outcome.REMEDIATED)
    assert (entry.before, entry.after) == (V2_ONLY, V1_ALLOWED)


def test_an_audit_sets_nothing_back(changed: App, clients: FakeClients, home: FakeEc2) -> None:
    """It tells."""
    clients.ssm.put(POLICY_PARAMETER, '{"mode": "audit", "watch": {"revert": true}}')
    _reject(clients, 1)
    _sweep(changed, clients)
    assert len(home.sent) == 3
    assert _mails(clients)[0].endswith("\nThey were left as they are.")
    assert clients.records.standing().holds == {}


@pytest.mark.parametrize("policy", ['{"mode": "audit", "watch": {"revert": true}}', '{"watch": {"revert": false}}'])
def test_a_policy_that_changed_during_the_sweep_sets_nothing_back(
    changed: App, clients: FakeClients, home: FakeEc2, policy: str
) -> None:
    """A sweep may take minutes. The next one goes by the policy in force, and tells."""
    _policy(clients, revert=True)
    _reject(clients, 1)
    clients.clock.advance(QUARTER)
    home.read_seconds = 5
    clients.clock.at(clients.clock.elapsed + 4, lambda: clients.ssm.put(POLICY_PARAMETER, policy))
    changed.invoke(SCHEDULE)
    assert len(home.sent) == 3
    assert clients.records.standing().holds == {}
    _sweep(changed, clients)
    assert _mails(clients)[0].endswith("\nThey were left as they are.")


def test_a_policy_that_changes_in_the_middle_ends_it(changed: App, clients: FakeClients, home: FakeEc2) -> None:
    """What is held already and not set back yet is told as that."""
    _policy(clients, revert=True)
    _reject(clients, 1)

    def change_the_policy(items: Sequence[Item]) -> None:
        if any("hold#" in item["sk"] for item in items):
            clients.ssm.put(POLICY_PARAMETER, '{"mode": "audit"}')
            clients.clock.advance(3)

    clients.table.before_write = change_the_policy
    _sweep(changed, clients)
    assert len(home.sent) == 3
    assert f"{an_id(1)} was not set back (DEFERRED), and is held" in _mails(clients)[0]


def test_without_time_to_do_it_nothing_is_set_back_yet(changed: App, clients: FakeClients, home: FakeEc2) -> None:
    """Lambda would stop the process in the middle of it."""
    _policy(clients, revert=True)
    _reject(clients, 1)
    clients.clock.advance(QUARTER)
    changed.invoke(SCHEDULE, seconds_left=49)
    assert (len(home.sent), _mails(clients)) == (3, [])
    _sweep(changed, clients)
    assert home.actual(an_id(1)).options == V1_ALLOWED
    assert len(_mails(clients)) == 1


def test_what_somebody_holds_is_left_to_that_person(changed: App, clients: FakeClients, home: FakeEc2) -> None:
    """As it is, and for as long as that person said; it is told all the same."""
    _policy(clients, revert=True)
    hold = Hold(instance_id=an_id(1), reason="a test", by="ana", at=clients.clock.now())
    clients.records.hold([hold])
    _reject(clients, 1)
    _reject(clients, 2)
    _sweep(changed, clients)
    assert home.actual(an_id(1)).options == V2_ONLY
    assert home.actual(an_id(2)).options == V1_ALLOWED
    assert clients.records.standing().holds[an_id(1)] == hold
    (text,) = _mails(clients)
    assert f"{an_id(1)} was left as it is: held until it is released by ana: a test" in text


def test_what_cannot_be_set_back_yet_is_tried_again(changed: App, clients: FakeClients, home: FakeEc2) -> None:
    """Once it is known how the first attempt went; it is told what it came to, and nothing in between."""
    _policy(clients, revert=True)
    _reject(clients, 1)
    home.modify_errors[an_id(1)] = [SERVER_FAULT] * 3
    _sweep(changed, clients)
    assert home.actual(an_id(1)).options == V2_ONLY
    assert f"{an_id(1)} was not set back (FAILED), and is held" in _mails(clients)[0]
    for _ in range(8):
        _sweep(changed, clients)
    assert home.actual(an_id(1)).options == V1_ALLOWED
    _, second = _mails(clients)
    assert f"{an_id(1)} was set back (REMEDIATED), and is held" in second


def test_while_it_is_not_known_how_a_set_back_went_there_is_nothing_to_tell(
    changed: App, clients: FakeClients, home: FakeEc2
) -> None:
    """A sweep comes before its process is sure to be gone: no mail of every such sweep."""
    _policy(clients, revert=True)
    _reject(clients, 1)
    home.modify_errors[an_id(1)] = [SERVER_FAULT] * 3
    for seconds in (QUARTER, 60, 60):
        _sweep(changed, clients, seconds)
    assert len(_mails(clients)) == 1


def test_what_ec2_refuses_to_set_back_is_told_once(changed: App, clients: FakeClients, home: FakeEc2) -> None:
    """It would be refused every time."""
    _policy(clients, revert=True)
    _reject(clients, 1)
    home.modify_errors[an_id(1)] = [UNAUTHORIZED] * 9
    for _ in range(4):
        _sweep(changed, clients)
    (text,) = _mails(clients)
    assert f"{an_id(1)} was not set back (FAILED), and is held" in text
    assert text.endswith(str(UNAUTHORIZED))


@pytest.mark.parametrize("revert", [True, False])
def test_if_the_mail_cannot_be_sent_it_is_told_next_time(
    changed: App, clients: FakeClients, home: FakeEc2, *, revert: bool
) -> None:
    """What was set back in between too."""
    _policy(clients, revert=revert)
    _reject(clients, 1)
    clients.topic.failure = THROTTLED
    _sweep(changed, clients)
    assert (home.actual(an_id(1)).options == V1_ALLOWED) is revert
    clients.topic.failure = None
    for _ in range(3):
        _sweep(changed, clients)
    (text,) = _mails(clients)
    assert text.startswith(an_id(1))
    assert ("was set back already, and is held" in text) is revert


def test_a_region_whose_cloudwatch_is_out_of_reach_stops_no_other(
    changed: App, clients: FakeClients, away: FakeEc2, log_lines: Documents
) -> None:
    """It is logged, and asked again by the next sweep."""
    away.launch(an_instance(9))
    changed.invoke(SCHEDULE)
    _reject(clients, 1)
    _reject(clients, 9, region=AWAY)
    clients.metrics[HOME].failure = THROTTLED
    _sweep(changed, clients)
    assert [text.split()[0] for text in _mails(clients)] == [an_id(9)]
    assert f"the changed instances of {HOME} could not be watched" in [line["message"] for line in log_lines()]
    clients.metrics[HOME].failure = None
    _sweep(changed, clients)
    assert [text.split()[0] for text in _mails(clients)] == [an_id(9), an_id(1)]


def test_an_instance_that_is_gone_is_told_of_without_its_origin(
    changed: App, clients: FakeClients, home: FakeEc2
) -> None:
    """What it came from is not known any more; there is nothing to set back."""
    _policy(clients, revert=True)
    _reject(clients, 1)
    home.forget(an_id(1))
    _sweep(changed, clients)
    (text,) = _mails(clients)
    assert text.startswith(f"{an_id(1)} in {HOME}: 3 calls")
    assert f"{an_id(1)} was not set back: the instance is gone" in text


def test_if_the_hold_cannot_be_written_nothing_is_set_back(
    changed: App, clients: FakeClients, home: FakeEc2, metrics: Documents
) -> None:
    """The next sweep tries again; the alarm of the ledger tells."""
    _policy(clients, revert=True)
    _reject(clients, 1)

    def refuse(items: Sequence[Item]) -> None:
        if any("hold#" in item["sk"] for item in items):
            raise AwsError(THROTTLED)

    clients.table.before_write = refuse
    metrics()
    _sweep(changed, clients)
    assert (len(home.sent), _mails(clients)) == (3, [])
    assert "LedgerUnavailable" in metric_names(metrics())
    clients.table.before_write = None
    _sweep(changed, clients)
    assert home.actual(an_id(1)).options == V1_ALLOWED
    assert len(_mails(clients)) == 1


def test_what_was_set_back_and_could_not_be_written_down_is_an_alarm(
    changed: App, clients: FakeClients, home: FakeEc2, metrics: Documents
) -> None:
    """It is told of all the same; the next sweep settles the entry."""
    _policy(clients, revert=True)
    _reject(clients, 1)

    def refuse(items: Sequence[Item]) -> None:
        if any("entry" in item and "open" not in item for item in items):
            raise AwsError(THROTTLED)

    clients.table.before_write = refuse
    metrics()
    _sweep(changed, clients)
    assert home.actual(an_id(1)).options == V1_ALLOWED
    assert "LedgerUnavailable" in metric_names(metrics())


def test_a_change_after_the_set_back_is_watched_anew(changed: App, clients: FakeClients, home: FakeEc2) -> None:
    """Once it was released, it is enforced, and told of again if it still calls IMDSv1."""
    _policy(clients, revert=True)
    _reject(clients, 1)
    _sweep(changed, clients)
    clients.records.release([an_id(1)])
    clients.clock.advance(HOUR)
    changed.invoke(SCHEDULE)
    assert home.actual(an_id(1)).options == V2_ONLY
    _reject(clients, 1)
    _sweep(changed, clients)
    assert [entry.trigger for entry in clients.records.entries_of(an_id(1))] == ["schedule", "revert"] * 2
    assert home.actual(an_id(1)).options == V1_ALLOWED


def test_what_was_counted_after_one_change_is_not_held_against_the_next(
    changed: App, clients: FakeClients, home: FakeEc2
) -> None:
    """It was set back, released and changed again, all within the hour that an answer of CloudWatch serves for."""
    _policy(clients, revert=True)
    _reject(clients, 1)
    _sweep(changed, clients)
    assert len(_mails(clients)) == 1
    clients.records.release([an_id(1)])
    for _ in range(3):
        _sweep(changed, clients)
    assert home.actual(an_id(1)).options == V2_ONLY
    assert len(_mails(clients)) == 1


def test_calls_count_from_the_beginning_of_the_five_minutes_that_the_change_fell_into(
    app: App, clients: FakeClients, home: FakeEc2
) -> None:
    """CloudWatch names a point by its beginning; what came in it before the change was served, not rejected."""
    clients.clock.advance(120)
    home.launch(an_instance(1))
    app.invoke(SCHEDULE)
    _reject(clients, 1)
    _sweep(app, clients)
    assert len(_mails(clients)) == 1


@pytest.mark.parametrize("refused", [True, False])
def test_what_was_not_set_back_is_not_told_of_as_if_it_were(
    changed: App, clients: FakeClients, home: FakeEc2, *, refused: bool
) -> None:
    """EC2 refused it, and the mail that should have said so could not be sent."""
    _policy(clients, revert=True)
    _reject(clients, 1)
    home.modify_errors[an_id(1)] = [UNAUTHORIZED] * (9 if refused else 0)
    clients.topic.failure = THROTTLED
    _sweep(changed, clients)
    clients.topic.failure = None
    _sweep(changed, clients)
    (text,) = _mails(clients)
    assert ("was set back already" in text) is not refused
    assert ("was not set back (FAILED)" in text) is refused


def test_the_last_hour_of_the_watch_is_looked_at_too(changed: App, clients: FakeClients) -> None:
    """A program that calls once a day is noticed in the last minutes, if at all."""
    _policy(clients, hours=2)
    for _ in range(7):
        _sweep(changed, clients)
    clients.clock.advance(600)
    _reject(clients, 1)
    for _ in range(6):
        _sweep(changed, clients)
    assert len(_mails(clients)) == 1
