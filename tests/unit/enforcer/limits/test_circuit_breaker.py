"""If too many changes fail in a region, the sweep leaves the rest of it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imds_enforcer.limits.pacing import Limit, RequestBucket
from imds_enforcer.limits.region_limits import limits_of
from imds_enforcer.model import Outcome
from imds_enforcer.model.failures import READ_BACK_DIFFERS
from tests.fakes import example_events as events
from tests.fakes.clients import a_run
from tests.fakes.example_events import a_message
from tests.fakes.examples import (
    AWAY,
    HOME,
    SERVER_FAULT,
    THROTTLED,
    TOKENS_PARAMETER,
    UNAUTHORIZED,
    V2_ONLY,
    WRONG_STATE,
    a_policy,
    an_id,
    an_instance,
)
from tests.fakes.runs import App, Batch, Documents, Sweep, ledger, metric_names

if TYPE_CHECKING:
    from imds_enforcer.model import Change, Failure
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

SCHEDULE = {"trigger": "schedule"}
POLICY_CHANGE = {"source": "aws.ssm", "detail-type": "Parameter Store Change", "detail": {"operation": "Update"}}


def _fail(home: FakeEc2, numbers: range, failure: Failure = SERVER_FAULT, times: int = 3) -> None:
    for number in numbers:
        home.modify_errors[an_id(number)] = [failure] * times


def test_faults_of_the_service_stop_a_region_and_no_other(clients: FakeClients, home: FakeEc2, away: FakeEc2) -> None:
    """Accepted changes are verified; those not sent wait for the next sweep."""
    home.launch(*map(an_instance, range(300)))
    away.launch(*map(an_instance, range(300, 420)))
    _fail(home, range(300))
    report = Sweep(clients).report
    assert report.regions[HOME].outcomes[Outcome.REMEDIATED] == 0
    assert len(set(home.sent_ids)) < 30, "only those that were under way when the first ten had failed"
    assert report.regions[HOME].outcomes.total() == 300
    assert report.regions[AWAY].outcomes == {Outcome.REMEDIATED: 120}
    (region,) = report.stopped_regions
    assert region == HOME
    why = report.stopped_regions[HOME]
    assert why.endswith(f"changes in this region failed, the last with {SERVER_FAULT}")
    assert report.as_json()["regions"][HOME]["stopped"] == why
    assert report.needs_attention


def test_the_next_sweep_tries_again(clients: FakeClients, home: FakeEc2) -> None:
    """The fault may be over."""
    home.launch(*map(an_instance, range(300)))
    _fail(home, range(300))
    Sweep(clients)
    home.modify_errors.clear()
    assert Sweep(clients).report.outcomes == {Outcome.REMEDIATED: 300}


def test_changes_that_do_not_show_stop_a_region(clients: FakeClients, home: FakeEc2) -> None:
    """Something undoes them, or EC2 does not make them."""
    home.launch(*map(an_instance, range(300)))
    home.ignored = set(map(an_id, range(300)))
    report = Sweep(clients).report
    assert f"the last with {READ_BACK_DIFFERS}: " in report.stopped_regions[HOME]
    assert len(home.sent) < 300
    assert {entry.code for entry in ledger(clients) if entry.outcome is Outcome.FAILED} == {READ_BACK_DIFFERS}


def test_a_tripped_breaker_also_stops_the_current_round(clients: FakeClients, home: FakeEc2) -> None:
    """Changes that rest on the same look and could be sent are not sent."""
    home.launch(*map(an_instance, range(150)))
    home.ignored = set(map(an_id, range(150)))
    home.changes = RequestBucket(Limit(capacity=20, refill=1), clients.clock)
    policy = a_policy()
    limits = limits_of(policy, [HOME])
    enforcer = a_run(clients, policy, seconds=700).for_sweep("schedule", limits[HOME], lambda result: result)
    sent = {len(home.sent) for _ in enforcer.remediate((an_id(number), None) for number in range(150))}
    assert limits[HOME].tripped
    assert sent == {len(home.sent)}, "none after the first result"


@pytest.mark.parametrize(
    ("failing", "of", "stops"), [(3, 10, True), (2, 10, False), (9, 9, False), (10, 100, False), (21, 100, True)]
)
def test_a_region_stops_if_more_than_a_fifth_of_at_least_ten_changes_fail(
    clients: FakeClients, home: FakeEc2, failing: int, of: int, *, stops: bool
) -> None:
    """A single failure is no fault of the region."""
    home.launch(*map(an_instance, range(of)))
    # The failures are spread evenly over all changes.
    _fail(home, range(of // failing - 1, of, of // failing)[:failing])
    assert bool(Sweep(clients).report.stopped_regions) is stops


@pytest.mark.parametrize("failure", [UNAUTHORIZED, WRONG_STATE, THROTTLED])
def test_refusals_and_throttling_stop_nothing(clients: FakeClients, home: FakeEc2, failure: Failure) -> None:
    """They concern single instances, or the pace."""
    home.launch(*map(an_instance, range(60)))
    _fail(home, range(30), failure, 2)
    report = Sweep(clients).report
    assert report.stopped_regions == {}
    assert report.outcomes[Outcome.REMEDIATED] >= 30


def test_a_stopped_region_raises_an_alarm(app: App, clients: FakeClients, home: FakeEc2, metrics: Documents) -> None:
    """With a metric of its own, in total and by region."""
    home.launch(*map(an_instance, range(30)))
    _fail(home, range(30))
    answer = app.invoke(SCHEDULE)
    assert "stopped" in answer["regions"][HOME]
    assert "stopped" not in answer["regions"][AWAY]
    published = metrics()
    assert "RegionStopped" in metric_names(published)
    assert {document.get("Region") for document in published if "RegionStopped" in document} == {HOME, None}
    assert "RegionStopped" not in metric_names([d for d in published if d.get("Region") == AWAY])
    assert clients.topic.mails == []


def test_a_stopped_region_raises_its_alarm_beside_the_ledgers(
    app: App, clients: FakeClients, home: FakeEc2, metrics: Documents
) -> None:
    """Neither hides the other."""
    home.launch(*map(an_instance, range(30)))
    home.ignored = set(map(an_id, range(30)))

    def cut_off(ec2: FakeEc2, instance_id: str, change: Change) -> None:
        del ec2, instance_id, change
        clients.table.write_failure = THROTTLED

    home.judge = cut_off
    app.invoke(SCHEDULE)
    assert {"RegionStopped", "LedgerUnavailable"} <= metric_names(metrics())


def test_the_second_look_leaves_the_region_alone_too(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """It is part of the same sweep."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(30)))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    _fail(home, range(30))
    app.invoke(POLICY_CHANGE)
    assert len(home.finds) == 2
    assert set(map(home.sent_ids.count, home.sent_ids)) == {3}


def test_events_are_not_stopped(clients: FakeClients, home: FakeEc2) -> None:
    """Each is about one instance, and the queue retries with growing delay."""
    home.launch(*map(an_instance, range(30)))
    _fail(home, range(29))
    batch = Batch(clients, a_message(events.launch(*map(an_id, range(30)))))
    assert batch.outcomes[an_id(29)] is Outcome.REMEDIATED
    assert batch.report.stopped_regions == {}


def test_a_few_faults_do_not_keep_throttled_changes_waiting(clients: FakeClients, home: FakeEc2) -> None:
    """The faulty changes have ended, too few to stop the region: it is no longer in doubt."""
    home.launch(*map(an_instance, range(11)))
    _fail(home, range(3))
    _fail(home, range(3, 11), THROTTLED, 1)
    report = Sweep(clients).report
    assert report.outcomes == {Outcome.FAILED: 3, Outcome.REMEDIATED: 8}
    assert report.seconds < 60


def test_a_region_in_doubt_keeps_its_pauses_between_looks(clients: FakeClients, home: FakeEc2) -> None:
    """EC2 accepted the changes but its answers were lost: nothing is sent until they are applied, and reads pause."""
    home.launch(*map(an_instance, range(40)))
    home.unanswered = set(map(an_id, range(40)))
    home.visible_after, home.applied_after, home.read_seconds = 0, 6, 0.01
    assert Sweep(clients).report.outcomes == {Outcome.REMEDIATED: 40}
    assert len(home.reads) < 40
