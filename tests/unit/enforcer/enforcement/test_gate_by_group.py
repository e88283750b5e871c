"""The gate by group: IMDSv1 calls of any member hold back the whole Auto Scaling group, new instances too."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.decision.legacy_calls import FIND_CALLER, REJECTED, SERVED
from imds_enforcer.model import Instance, Outcome
from imds_enforcer.model.instance import AUTO_SCALING_GROUP_TAG, LAUNCH_TEMPLATE_TAG
from imds_enforcer.policy import CountedBy, Gate, Mode
from tests.fakes import example_events as events
from tests.fakes.clock import START
from tests.fakes.example_events import a_message
from tests.fakes.examples import AWAY, HOME, THROTTLED, a_policy, an_id, an_instance
from tests.fakes.runs import Batch, Sweep

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2
    from tests.fakes.records import FakeCallMetrics

HOUR, DAY = 3_600, 86_400
BOTH = f"{SERVED}+{REJECTED}"
GATED = a_policy(gate=Gate(by=CountedBy.GROUP))
WHY = "HttpTokens is optional, not required"
LAST = datetime(2026, 11, 20, tzinfo=UTC)
NEW: dict[str, Any] = {"attached_at": START - timedelta(seconds=5)}


@pytest.fixture
def cloudwatch(clients: FakeClients) -> FakeCallMetrics:
    """CloudWatch of the home region, with five calls of the group `web` and none of `batch`."""
    metrics = clients.metrics[HOME]
    metrics.groups = {(SERVED, "web"): [(LAST, 5)], (SERVED, "batch"): [(LAST, 0)]}
    return metrics


def member(number: int, group: str = "web", **fields: Any) -> Instance:
    """An instance of an Auto Scaling group."""
    return an_instance(number, tags={AUTO_SCALING_GROUP_TAG: group}, **fields)


@pytest.mark.usefixtures("cloudwatch")
def test_the_whole_group_is_held_back_and_no_other(clients: FakeClients, home: FakeEc2) -> None:
    """New members too, after one request; the reason names the group."""
    home.launch(member(1), member(2, **NEW), member(3, "batch"), member(4, "batch", **NEW), an_instance(5))
    done = Sweep(clients, GATED)
    assert done.report.outcomes == {Outcome.HELD: 2, Outcome.REMEDIATED: 3}
    counted = "Auto Scaling group web: 5 IMDSv1 calls in 14 days, the last on 2026-11-20"
    held = {each["instance_id"]: each["reason"] for each in done.report.as_json()["kept_back"]}
    assert held == dict.fromkeys([an_id(1), an_id(2)], f"{counted}; gated until the calls stop; {FIND_CALLER}; {WHY}")
    assert {r.instance_id: r.reason for r, _ in done.log} == {
        **dict.fromkeys([an_id(3), an_id(4)], f"{WHY}; Auto Scaling group batch: no IMDSv1 calls in 14 days"),
        an_id(5): f"{WHY}; CloudWatch has no data on IMDSv1 calls in 14 days",
    }
    assert clients.metrics[HOME].requests == [(BOTH, ["batch", "web"], DAY), (SERVED, [an_id(5)], DAY)]


@pytest.mark.parametrize(("tolerate", "outcome"), [(7, Outcome.HELD), (8, Outcome.REMEDIATED)])
def test_served_and_rejected_calls_are_added(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics, tolerate: int, outcome: Outcome
) -> None:
    """One metric counts members whose tokens are optional, the other those whose tokens are required."""
    cloudwatch.groups[REJECTED, "web"] = [(LAST, 3)]
    home.launch(member(1))
    policy = a_policy(gate=Gate(by=CountedBy.GROUP, tolerate=tolerate))
    assert Sweep(clients, policy).report.outcomes == {outcome: 1}


def test_rejected_calls_alone_hold_a_group_back(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """If all callers are already enforced, the next instance would be refused as they are."""
    cloudwatch.groups = {(REJECTED, "web"): [(LAST, 1)]}
    home.launch(member(1, **NEW))
    assert Sweep(clients, GATED).report.outcomes == {Outcome.HELD: 1}


@pytest.mark.usefixtures("cloudwatch")
@pytest.mark.parametrize("event", [events.launch(an_id(1)), events.running(an_id(1))])
def test_a_launch_into_a_gated_group_is_held_and_its_message_does_not_come_back(
    clients: FakeClients, home: FakeEc2, event: dict[str, Any]
) -> None:
    """The next sweep looks at it again."""
    home.launch(member(1, **NEW), member(2, "batch", **NEW))
    batch = Batch(clients, a_message(event, "m-1"), a_message(events.launch(an_id(2)), "m-2"), policy=GATED)
    assert batch.outcomes == {an_id(1): Outcome.HELD, an_id(2): Outcome.REMEDIATED}
    assert batch.again == []
    assert home.sent_ids == [an_id(2)]


def test_once_the_calls_have_ended_the_sweep_enforces_the_group(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """An hour later, as an answer is good for an hour."""
    cloudwatch.groups[SERVED, "web"] = [(START - timedelta(days=14, hours=12), 5), (LAST, 0)]
    clients.clock.advance(12 * HOUR - 60)
    home.launch(member(1), member(2, attached_at=clients.clock.now()))
    assert Sweep(clients, GATED).report.outcomes == {Outcome.HELD: 2}
    clients.clock.advance(HOUR - 60)
    assert Sweep(clients.in_another_process(), GATED).report.outcomes == {Outcome.HELD: 2}
    clients.clock.advance(120)
    assert Sweep(clients, GATED).report.outcomes == {Outcome.REMEDIATED: 2}
    assert [names for _, names, _ in cloudwatch.requests] == [["web"], ["web"]]


def test_new_calls_hold_back_launches_an_hour_later(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """A group launches all day long."""
    home.launch(member(1, "batch"))
    assert Sweep(clients, GATED).report.outcomes == {Outcome.REMEDIATED: 1}
    cloudwatch.groups[REJECTED, "batch"] = [(START + timedelta(minutes=5), 1)]
    clients.clock.advance(HOUR + 1)
    home.launch(member(2, "batch", attached_at=clients.clock.now()))
    assert Batch(clients, a_message(events.launch(an_id(2))), policy=GATED).outcomes == {an_id(2): Outcome.HELD}


def test_after_its_last_day_the_gate_holds_no_group_back(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """And CloudWatch is not asked."""
    home.launch(member(1), member(2, **NEW), an_instance(3, **NEW))
    policy = a_policy(gate=Gate(by=CountedBy.GROUP, enforce_after=date(2026, 11, 21)))
    assert Sweep(clients, policy).report.outcomes == {Outcome.REMEDIATED: 3}
    assert cloudwatch.requests == []


def test_without_data_of_a_group_its_existing_instances_are_judged_one_by_one(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """A new instance has no calls that could be counted."""
    home.launch(member(1, "fresh"), member(2, "fresh"), member(3, "fresh", **NEW))
    cloudwatch.data[SERVED, an_id(1)] = [(LAST, 5)]
    done = Sweep(clients, GATED)
    assert done.report.outcomes == {Outcome.HELD: 1, Outcome.REMEDIATED: 2}
    (kept,) = done.report.as_json()["kept_back"]
    assert kept["reason"].startswith("5 IMDSv1 calls in 14 days")
    assert cloudwatch.requests == [(BOTH, ["fresh"], DAY), (SERVED, [an_id(1), an_id(2)], DAY)]


@pytest.mark.parametrize("name", ["wéb", "web\n"])
def test_a_group_whose_name_cloudwatch_refuses_does_not_block_the_others(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics, name: str
) -> None:
    """Its instances are judged as if they had no group."""
    home.launch(member(1, name), member(2, name, **NEW), member(3))
    cloudwatch.data[SERVED, an_id(1)] = [(LAST, 5)]
    done = Sweep(clients, GATED)
    assert {each["instance_id"] for each in done.report.as_json()["kept_back"]} == {an_id(1), an_id(3)}
    assert [names for _, names, _ in cloudwatch.requests] == [["web"], [an_id(1)]]


def test_five_hundred_groups_cost_two_requests_an_hour(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """However many members they have, in audit mode too."""
    home.launch(*(member(number, f"web/{number % 500:03} x") for number in range(1_000)))
    cloudwatch.groups = {(SERVED, f"web/{number:03} x"): [(LAST, 1)] for number in range(500)}
    for mode in Mode:
        policy = a_policy(gate=Gate(by=CountedBy.GROUP), mode=mode)
        assert Sweep(clients.in_another_process(), policy).report.outcomes == {Outcome.HELD: 1_000}
    assert [(metric, len(names)) for metric, names, _ in cloudwatch.requests] == [(BOTH, 250), (BOTH, 250)]


def test_answers_about_instances_do_not_serve_groups(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """Even if a group has the name of an instance; nor does an answer for fourteen days serve thirty."""
    home.launch(member(1, an_id(1)))
    cloudwatch.groups = {(SERVED, an_id(1)): [(LAST, 5), (LAST - timedelta(days=14), 1)]}
    audit = a_policy(gate=Gate(), mode=Mode.AUDIT)
    assert Sweep(clients, audit).report.outcomes == {Outcome.WOULD_REMEDIATE: 1}
    for days, count in ((14, 5), (30, 6)):
        report = Sweep(clients, a_policy(gate=Gate(by=CountedBy.GROUP, lookback_days=days))).report
        (kept,) = report.as_json()["kept_back"]
        assert kept["reason"].startswith(f"Auto Scaling group {an_id(1)}: {count} IMDSv1 calls in {days} days")
    cloudwatch.groups = {}
    assert Sweep(clients, audit).report.outcomes == {Outcome.WOULD_REMEDIATE: 1}
    assert [metric for metric, _, _ in cloudwatch.requests] == [SERVED, BOTH, BOTH]


def test_without_cloudwatch_new_members_are_held_too(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """The reason has CloudWatch's error; new instances without a group are not gated, and other regions go on."""
    cloudwatch.failure = THROTTLED
    tags = {LAUNCH_TEMPLATE_TAG: "lt-1"}
    home.launch(member(1), member(2, **NEW), an_instance(3), an_instance(4, tags=tags, **NEW))
    away.launch(member(5))
    done = Sweep(clients, GATED)
    held = {each["instance_id"]: each["reason"] for each in done.report.as_json()["kept_back"]}
    why = f"its IMDSv1 calls could not be read ({THROTTLED}); {WHY}"
    assert held == dict.fromkeys([an_id(1), an_id(2), an_id(3)], why)
    assert done.logged == {an_id(4): Outcome.REMEDIATED, an_id(5): Outcome.REMEDIATED}
    assert len(cloudwatch.requests) == 1
    assert [names for _, names, _ in clients.metrics[AWAY].requests] == [["web"], [an_id(5)]]


def test_a_launch_that_its_group_may_not_have_tagged_yet_comes_back(clients: FakeClients, home: FakeEc2) -> None:
    """After the rest of a minute, when it would be tagged; launch templates tag their instances from the start."""
    clients.metrics[HOME].groups = {(SERVED, "web"): [(LAST, 5)]}
    home.launch(an_instance(1, **NEW), an_instance(2, tags={LAUNCH_TEMPLATE_TAG: "lt-1"}, **NEW))
    message = a_message(events.launch(an_id(1), an_id(2)), "m-1")
    batch = Batch(clients, message, policy=GATED)
    assert batch.outcomes == {an_id(1): Outcome.DEFERRED, an_id(2): Outcome.REMEDIATED}
    assert batch.delays == {"m-1": 55}
    clients.clock.advance(batch.delays["m-1"])
    home.set_tags(an_id(1), **{AUTO_SCALING_GROUP_TAG: "web"})
    again = Batch(clients, message, policy=GATED)
    assert again.outcomes[an_id(1)] is Outcome.HELD
    assert again.again == []


@pytest.mark.usefixtures("cloudwatch")
def test_a_launch_without_a_group_is_changed_after_a_minute(clients: FakeClients, home: FakeEc2) -> None:
    """By then it is clear that no group tags it."""
    home.launch(an_instance(1, **NEW))
    message = a_message(events.launch(an_id(1)), "m-1")
    clients.clock.advance(Batch(clients, message, policy=GATED).delays["m-1"])
    assert Batch(clients, message, policy=GATED).outcomes == {an_id(1): Outcome.REMEDIATED}
