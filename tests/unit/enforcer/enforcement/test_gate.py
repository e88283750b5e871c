"""The gate: instances that still call IMDSv1 keep it, and CloudWatch is asked once a day about each instance."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.decision.legacy_calls import FIND_CALLER, HOW_TO_FIND_CALLERS, SERVED
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import Outcome, Switch, Trigger
from imds_enforcer.policy import Gate, Mode
from imds_enforcer.runs.events import SweepRequest
from tests.fakes import example_events as events
from tests.fakes.clock import START
from tests.fakes.example_events import a_message
from tests.fakes.examples import (
    AWAY,
    HOME,
    POLICY_PARAMETER,
    SERVER_FAULT,
    THROTTLED,
    V1_ALLOWED,
    V2_ONLY,
    a_policy,
    an_exemption,
    an_id,
    an_instance,
)
from tests.fakes.runs import App, Batch, Documents, Sweep

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2
    from tests.fakes.records import FakeCallMetrics

DAY = 86_400
GATED = a_policy(gate=Gate())
WHY = "HttpTokens is optional, not required"
LAST = datetime(2026, 11, 20, tzinfo=UTC)
INVENTORY = SweepRequest(Trigger.INVENTORY)


def _calls(clients: FakeClients, *numbers: int, calls: float = 5, region: str = HOME, on: datetime = LAST) -> None:
    """Let CloudWatch have counted this many calls without a token."""
    for number in numbers:
        clients.metrics[region].data[SERVED, an_id(number)] = [(on, calls)]


@pytest.fixture
def cloudwatch(clients: FakeClients) -> FakeCallMetrics:
    """CloudWatch of the home region."""
    return clients.metrics[HOME]


def test_instances_that_still_call_imdsv1_are_held_back(clients: FakeClients, home: FakeEc2) -> None:
    """The reason has the count, the last day and the end of the gate; other instances are changed."""
    home.launch(an_instance(1), an_instance(2), an_instance(3))
    _calls(clients, 1)
    _calls(clients, 2, calls=0)
    done = Sweep(clients, GATED)
    assert done.report.outcomes == {Outcome.HELD: 1, Outcome.REMEDIATED: 2}
    (kept,) = done.report.as_json()["kept_back"]
    assert kept == {
        "instance_id": an_id(1),
        "region": HOME,
        "outcome": "HELD",
        "reason": (
            f"5 IMDSv1 calls in 14 days, the last on 2026-11-20; gated until the calls stop; {FIND_CALLER}; {WHY}"
        ),
    }
    assert home.modified_ids == [an_id(2), an_id(3)]
    assert {result.reason for result, _ in done.log} == {
        f"{WHY}; no IMDSv1 calls in 14 days",
        f"{WHY}; CloudWatch has no data on IMDSv1 calls in 14 days",
    }


@pytest.mark.parametrize(("calls", "outcome"), [(5, Outcome.REMEDIATED), (6, Outcome.HELD)])
def test_tolerated_calls_do_not_hold_an_instance_back(
    clients: FakeClients, home: FakeEc2, calls: int, outcome: Outcome
) -> None:
    """One call more does."""
    home.launch(an_instance(1))
    _calls(clients, 1, calls=calls)
    assert Sweep(clients, a_policy(gate=Gate(tolerate=5))).report.outcomes == {outcome: 1}


@pytest.mark.parametrize(
    ("on", "outcome"), [(START - timedelta(days=14.5), Outcome.HELD), (START - timedelta(days=15), Outcome.REMEDIATED)]
)
def test_calls_count_for_the_lookback_days(clients: FakeClients, home: FakeEc2, on: datetime, outcome: Outcome) -> None:
    """Whole days, from midnight on."""
    home.launch(an_instance(1))
    _calls(clients, 1, on=on.replace(hour=0))
    assert Sweep(clients, GATED).report.outcomes == {outcome: 1}


@pytest.mark.parametrize("mode", list(Mode))
def test_five_hundred_instances_are_asked_about_with_one_request_a_day(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics, mode: Mode
) -> None:
    """However many sweeps and processes ask, in audit mode too."""
    home.launch(*map(an_instance, range(500)))
    _calls(clients, *range(500))
    policy = a_policy(gate=Gate(), mode=mode)
    for _ in range(4):
        assert Sweep(clients, policy).report.outcomes == {Outcome.HELD: 500}
        assert Sweep(clients.in_another_process(), policy).report.outcomes == {Outcome.HELD: 500}
        clients.clock.advance(DAY / 4 - 1)
    ((metric, asked, period),) = cloudwatch.requests
    assert (metric, len(asked), period) == (SERVED, 500, DAY)
    clients.clock.advance(5)
    Sweep(clients, policy)
    assert len(cloudwatch.requests) == 2
    Sweep(clients, policy)
    assert len(cloudwatch.requests) == 2


def test_a_sweep_with_many_looks_asks_once(clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics) -> None:
    """Every ten seconds it looks at two hundred instances again."""
    home.launch(*map(an_instance, range(500)))
    assert Sweep(clients, GATED).report.outcomes == {Outcome.REMEDIATED: 500}
    assert len(home.reads) > 5
    assert [len(asked) for _, asked, _ in cloudwatch.requests] == [500]


def test_once_calls_have_ended_the_instance_is_changed(clients: FakeClients, home: FakeEc2) -> None:
    """A day later, as an answer is good for a day."""
    home.launch(an_instance(1))
    _calls(clients, 1, on=START - timedelta(days=14, hours=12))
    assert Sweep(clients, GATED).report.outcomes == {Outcome.HELD: 1}
    clients.clock.advance(DAY + 1)
    assert Sweep(clients, GATED).report.outcomes == {Outcome.REMEDIATED: 1}


def test_instances_outside_the_rollout_are_not_asked_about(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """Asking about an instance costs money."""
    home.launch(*map(an_instance, range(100)))
    policy = a_policy(gate=Gate(), rollout_percent=20)
    outcomes = Sweep(clients, policy).report.outcomes
    (asked,) = (asked for _, asked, _ in cloudwatch.requests)
    assert set(asked) == {an_id(number) for number in range(100) if policy.has_reached(an_id(number))}
    assert outcomes == {Outcome.REMEDIATED: len(asked), Outcome.SKIPPED: 100 - len(asked)}


@pytest.mark.parametrize(
    "fields",
    [
        {"attached_at": START - timedelta(minutes=59)},
        {"options": V2_ONLY},
        {"tags": {"imds": "exempt"}},
        {"managed_by": "eks"},
    ],
    ids=["launched", "required", "exempt", "managed"],
)
def test_instances_that_cannot_lose_imdsv1_are_not_asked_about(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics, fields: dict[str, Any]
) -> None:
    """Nor are they held: a new instance has no history that could matter."""
    home.launch(an_instance(1, **fields))
    _calls(clients, 1)
    policy = a_policy(
        gate=Gate(),
        instance_metadata_tags=Switch.ENABLED,
        exemptions=(an_exemption(tag_key="imds", tag_value="exempt"),),
    )
    assert Outcome.HELD not in Sweep(clients, policy).report.outcomes
    assert cloudwatch.requests == []


def test_an_instance_counts_as_existing_after_an_hour(clients: FakeClients, home: FakeEc2) -> None:
    """To the second."""
    home.launch(an_instance(1, attached_at=START - timedelta(hours=1)))
    _calls(clients, 1)
    assert Sweep(clients, GATED).report.outcomes == {Outcome.HELD: 1}


@pytest.mark.parametrize("event", [events.running(an_id(1)), events.drift(an_id(1)), events.launch(an_id(1))])
def test_the_gate_applies_to_a_restart_of_an_existing_instance(
    clients: FakeClients, home: FakeEc2, event: dict[str, Any]
) -> None:
    """It still makes the same calls; the message does not come back."""
    home.launch(an_instance(1), an_instance(2, attached_at=START))
    _calls(clients, 1, 2)
    batch = Batch(clients, a_message(event, "m-1"), a_message(events.launch(an_id(2)), "m-2"), policy=GATED)
    assert batch.outcomes == {an_id(1): Outcome.HELD, an_id(2): Outcome.REMEDIATED}
    assert batch.again == []
    assert home.sent_ids == [an_id(2)]


def test_an_event_asks_about_an_instance_that_no_sweep_has_asked_about_today(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """And about no other instance."""
    home.launch(an_instance(1), an_instance(2))
    _calls(clients, 1, 2)
    for _ in range(3):
        Batch(clients, a_message(events.running(an_id(1))), policy=GATED)
    assert [asked for _, asked, _ in cloudwatch.requests] == [[an_id(1)]]
    Sweep(clients, GATED)
    assert [asked for _, asked, _ in cloudwatch.requests] == [[an_id(1)], [an_id(2)]]


def test_the_gate_ends_with_its_last_day(clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics) -> None:
    """Instances are held until its last day is over; then all are changed, and CloudWatch is not asked."""
    home.launch(an_instance(1))
    _calls(clients, 1)
    policy = a_policy(gate=Gate(enforce_after=date(2026, 11, 22)))
    clients.clock.advance(DAY / 2 - 1)
    report = Sweep(clients, policy).report
    (kept,) = report.as_json()["kept_back"]
    assert "gated until the end of 2026-11-22" in kept["reason"]
    clients.clock.advance(1)
    done = Sweep(clients, policy)
    assert done.logged == {an_id(1): Outcome.REMEDIATED}
    assert [result.reason for result, _ in done.log] == [WHY]
    assert len(cloudwatch.requests) == 1


def test_without_cloudwatch_all_existing_instances_are_held(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """Nothing is enforced blindly; new instances are enforced, and other regions go on."""
    home.launch(an_instance(1), an_instance(2), an_instance(3, attached_at=START))
    away.launch(an_instance(4))
    cloudwatch.failure = THROTTLED
    done = Sweep(clients, GATED, INVENTORY)
    assert done.logged == {
        an_id(1): Outcome.HELD,
        an_id(2): Outcome.HELD,
        an_id(3): Outcome.REMEDIATED,
        an_id(4): Outcome.REMEDIATED,
    }
    held = next(result for result, _ in done.log if result.instance_id == an_id(1))
    assert held.reason == f"its IMDSv1 calls could not be read ({THROTTLED}); {WHY}"
    cloudwatch.failure = None
    assert Sweep(clients, GATED).report.outcomes == {Outcome.REMEDIATED: 2}


def test_without_notes_all_are_held_and_cloudwatch_is_not_asked(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """Every sweep would have to pay for the answers."""
    home.launch(an_instance(1))
    clients.table.read_failure = THROTTLED
    assert Sweep(clients, GATED).report.outcomes == {Outcome.HELD: 1}
    assert cloudwatch.requests == []
    assert home.sent == []


def test_another_lookback_needs_another_answer(
    clients: FakeClients, home: FakeEc2, cloudwatch: FakeCallMetrics
) -> None:
    """An answer for fourteen days does not cover thirty."""
    home.launch(an_instance(1))
    _calls(clients, 1, on=START - timedelta(days=20))
    audit = a_policy(gate=Gate(), mode=Mode.AUDIT)
    assert Sweep(clients, audit).report.outcomes == {Outcome.WOULD_REMEDIATE: 1}
    assert Sweep(clients, a_policy(gate=Gate(lookback_days=30))).report.outcomes == {Outcome.HELD: 1}
    assert len(cloudwatch.requests) == 2


def test_each_region_has_its_own_cloudwatch(clients: FakeClients, home: FakeEc2, away: FakeEc2) -> None:
    """An instance's calls are counted in its region."""
    home.launch(an_instance(1))
    away.launch(an_instance(2))
    _calls(clients, 2, region=AWAY)
    assert Sweep(clients, GATED).report.outcomes == {Outcome.REMEDIATED: 1, Outcome.HELD: 1}
    assert [asked for name in (HOME, AWAY) for _, asked, _ in clients.metrics[name].requests] == [
        [an_id(1)],
        [an_id(2)],
    ]


def test_gated_instances_are_in_the_report_the_digest_and_the_inventorys_log(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """But not in the log of each sweep."""
    home.launch(an_instance(1))
    _calls(clients, 1)
    clients.ssm.put(POLICY_PARAMETER, '{"legacy_calls": {"enforce_after": "2027-06-30"}}')

    def lines() -> list[dict[str, Any]]:
        return [line for line in log_lines() if line.get("outcome") == "HELD"]

    answer = app.invoke({"trigger": "schedule"})
    assert answer["outcomes"] == {"HELD": 1}
    assert answer["kept_back"][0]["instance_id"] == an_id(1)
    assert lines() == []
    assert clients.topic.mails == []
    app.invoke({"inventory": True})
    ((subject, text),) = clients.topic.mails
    assert subject == "imds-enforcer: Instances that need attention"
    counted = "5 IMDSv1 calls in 14 days, the last on 2026-11-20"
    why = f"{counted}; gated until the end of 2027-06-30; {FIND_CALLER}; {WHY}"
    assert text.splitlines()[1:] == [f"{an_id(1)} in {HOME} is HELD: {why}", HOW_TO_FIND_CALLERS]
    assert text.endswith("and run: sudo python3 src/imds_snoop.py")
    (line,) = lines()
    assert line["reason"] == why
    assert home.actual(an_id(1)).options == V1_ALLOWED


def test_an_instance_under_a_hold_and_the_gate_counts_once(clients: FakeClients, home: FakeEc2) -> None:
    """As HELD."""
    home.launch(an_instance(1))
    _calls(clients, 1)
    clients.ledger_table.holds.write([Hold(instance_id=an_id(1), reason="legacy SDK", by="ana", at=START)])
    assert Sweep(clients, GATED).report.outcomes == {Outcome.HELD: 1}


def test_in_one_sweep_an_unreachable_cloudwatch_is_asked_once(clients: FakeClients, home: FakeEc2) -> None:
    """Each request may hang for half a minute, and a large region has many pages."""
    home.page_size = 10
    home.launch(*map(an_instance, range(30)))
    clients.metrics[HOME].failure = SERVER_FAULT
    report = Sweep(clients, GATED).report
    assert report.outcomes == {Outcome.HELD: 30}
    assert len(clients.metrics[HOME].requests) == 1
