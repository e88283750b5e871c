"""The limit of changes in one sweep, over all regions; the rest is left to the next sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imds_enforcer.limits.region_limits import limits_of
from imds_enforcer.model import Change, HttpTokens, Outcome, PlannedChange
from imds_enforcer.policy import RegionSelection
from imds_enforcer.reporting.report import RegionStatus
from imds_enforcer.runs.sweep import sweep
from tests.fakes import example_events as events
from tests.fakes.clients import a_run
from tests.fakes.example_events import a_message
from tests.fakes.examples import (
    AWAY,
    HOME,
    POLICY_PARAMETER,
    SERVER_FAULT,
    THROTTLED,
    TOKENS_PARAMETER,
    UNAUTHORIZED,
    V2_ONLY,
    a_policy,
    an_id,
    an_instance,
)
from tests.fakes.runs import SCHEDULE as SCHEDULED
from tests.fakes.runs import App, Batch, Sweep, ledger

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

TEN = a_policy(max_changes_per_sweep=10)
WHY = "HttpTokens is optional, not required"
LEFT = "this region has used its share of the 10 instances that the sweep may change"
POLICY_CHANGE = {"source": "aws.ssm", "detail-type": "Parameter Store Change", "detail": {"operation": "Update"}}


def test_a_sweep_changes_no_more_than_the_policy_allows(clients: FakeClients, home: FakeEc2) -> None:
    """The others are deferred, each with the reason; the next sweep continues with them."""
    home.launch(*map(an_instance, range(25)))
    done = Sweep(clients, TEN)
    assert done.report.outcomes == {Outcome.REMEDIATED: 10, Outcome.DEFERRED: 15}
    assert len(home.sent) == 10
    left = [result for result, _ in done.log if result.outcome is Outcome.DEFERRED]
    assert {result.reason for result in left} == {f"{LEFT}; {WHY}"}
    assert all(result.left_to_sweep for result in left)
    assert done.report.regions[HOME].left_to_sweep == 15
    assert done.report.stopped is None
    for expected in ({Outcome.REMEDIATED: 10, Outcome.DEFERRED: 5}, {Outcome.REMEDIATED: 5}):
        assert Sweep(clients, TEN).report.outcomes == expected


def test_instances_over_the_limit_are_not_in_the_ledger(clients: FakeClients, home: FakeEc2) -> None:
    """No change of them was begun."""
    home.launch(*map(an_instance, range(60)))
    Sweep(clients, a_policy(max_changes_per_sweep=30))
    assert {entry.instance_id for entry in ledger(clients)} == set(home.sent_ids)


def test_of_a_large_fleet_the_rest_is_reported_without_a_look(clients: FakeClients, home: FakeEc2) -> None:
    """For most instances only the id is kept."""
    home.launch(*map(an_instance, range(2_500)))
    done = Sweep(clients, TEN)
    assert done.report.outcomes == {Outcome.REMEDIATED: 10, Outcome.DEFERRED: 2_490}
    assert len(home.reads) < 5
    left = {result.reason for result, _ in done.log if result.outcome is Outcome.DEFERRED}
    assert left == {LEFT, f"{LEFT}; {WHY}"}


@pytest.mark.parametrize(("at_home", "abroad"), [(50, 50), (3, 50), (50, 3), (50, 0), (5, 5), (2, 2)])
def test_all_regions_share_the_limit_fairly(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, at_home: int, abroad: int
) -> None:
    """Each region has its half, plus what the other does not need."""
    home.launch(*map(an_instance, range(at_home)))
    away.launch(*map(an_instance, range(100, 100 + abroad)))
    Sweep(clients, TEN)
    sent = len(home.sent), len(away.sent)
    assert sum(sent) == min(10, at_home + abroad)
    assert min(sent) == min(5, at_home, abroad)


def test_a_region_that_cannot_be_listed_leaves_its_share_to_the_others(
    clients: FakeClients, home: FakeEc2, away: FakeEc2
) -> None:
    """And does not make them wait."""
    home.find_errors[1] = SERVER_FAULT
    away.launch(*map(an_instance, range(30)))
    done = Sweep(clients, TEN)
    assert done.statuses == {HOME: RegionStatus.REGION_FAILED, AWAY: RegionStatus.DONE}
    assert len(away.sent) == 10


def test_a_throttled_change_counts_once_it_is_accepted(clients: FakeClients, home: FakeEc2) -> None:
    """However often it is sent."""
    home.launch(*map(an_instance, range(12)))
    for number in range(12):
        home.modify_errors[an_id(number)] = [THROTTLED]
    assert Sweep(clients, TEN).report.outcomes == {Outcome.REMEDIATED: 10, Outcome.DEFERRED: 2}


def test_an_instance_that_is_always_throttled_does_not_count(clients: FakeClients, home: FakeEc2) -> None:
    """Ten others are changed."""
    home.launch(*map(an_instance, range(15)))
    for number in range(5):
        home.modify_errors[an_id(number)] = [THROTTLED] * 1_000
    done = Sweep(clients, TEN, seconds=120)
    assert {i for i, outcome in done.logged.items() if outcome is Outcome.REMEDIATED} == set(map(an_id, range(5, 15)))


def test_a_change_that_ec2_refused_counts(clients: FakeClients, home: FakeEc2) -> None:
    """The enforcer did its part of it."""
    home.launch(*map(an_instance, range(12)))
    for number in range(12):
        home.modify_errors[an_id(number)] = [UNAUTHORIZED]
    assert Sweep(clients, TEN).report.outcomes == {Outcome.FAILED: 10, Outcome.DEFERRED: 2}


def test_a_change_without_an_answer_is_one_change(clients: FakeClients, home: FakeEc2) -> None:
    """Sending it again does not count twice; reaching the limit does not drop it, as EC2 may have accepted it."""
    home.launch(*map(an_instance, range(12)))
    for number in range(10):
        home.modify_errors[an_id(number)] = [SERVER_FAULT]
    done = Sweep(clients, TEN)
    assert done.report.outcomes == {Outcome.REMEDIATED: 10, Outcome.DEFERRED: 2}
    assert len(set(home.sent_ids)) == 10


def test_a_change_without_an_answer_counts(clients: FakeClients, home: FakeEc2) -> None:
    """EC2 may have accepted it: no other change takes its place until that is known."""
    home.launch(*map(an_instance, range(30)))
    home.unanswered = set(map(an_id, range(30)))
    Sweep(clients, a_policy(max_changes_per_sweep=5))
    assert len(set(home.sent_ids)) == 5


def test_a_region_that_the_policy_leaves_out_leaves_its_share_to_the_others(
    clients: FakeClients, home: FakeEc2
) -> None:
    """The sweep never visits it, so it could not say that it needs no share."""
    home.launch(*map(an_instance, range(5)))
    policy = a_policy(max_changes_per_sweep=10, regions=RegionSelection(exclude=(AWAY,)))
    limits = limits_of(policy, [HOME, AWAY])
    assert sweep(a_run(clients, policy), SCHEDULED, limits).outcomes == {Outcome.REMEDIATED: 5}
    others = [
        PlannedChange(an_instance(n), Change(http_tokens=HttpTokens.REQUIRED), V2_ONLY, "why") for n in range(5, 10)
    ]
    limits[HOME].declare(5)
    assert limits[HOME].admit(others) == others


def test_the_second_look_shares_the_limit_with_the_first(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """A change of the policy is one sweep."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(15)))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.ssm.put(POLICY_PARAMETER, '{"max_changes_per_sweep": 10}')
    app.invoke(POLICY_CHANGE)
    assert len(home.finds) == 2
    assert len(home.sent) == 10
    app.invoke({"trigger": "schedule"})
    assert len(home.sent) == 15


def test_the_second_look_uses_what_the_first_left_of_the_limit(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """A run under the older policy may have changed instances in between."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(8)))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.ssm.put(POLICY_PARAMETER, '{"max_changes_per_sweep": 10}')

    def older_run() -> None:
        for number in range(8, 16):
            home.launch(an_instance(number, V2_ONLY))
        home.set_options(an_id(0), http_tokens=HttpTokens.REQUIRED)

    clients.clock.at(1, older_run)
    app.invoke(POLICY_CHANGE)
    # An instance that was changed already counts once.
    assert len(set(home.sent_ids)) == 10
    assert len(home.sent) in {10, 11}


def test_events_do_not_count_against_the_limit(clients: FakeClients, home: FakeEc2) -> None:
    """Launches are enforced at once."""
    home.launch(*map(an_instance, range(12)))
    batch = Batch(clients, a_message(events.launch(*map(an_id, range(12)))), policy=TEN)
    assert batch.report.outcomes == {Outcome.REMEDIATED: 12}


def test_a_launch_without_ids_does_not_come_back_for_instances_over_the_limit(
    clients: FakeClients, home: FakeEc2
) -> None:
    """The next sweep continues with them."""
    home.launch(*map(an_instance, range(12)))
    batch = Batch(clients, a_message(events.launch_without_ids()), policy=TEN)
    assert batch.report.outcomes == {Outcome.REMEDIATED: 10, Outcome.DEFERRED: 2}
    assert batch.again == []


def test_a_launch_without_ids_comes_back_for_throttled_instances(clients: FakeClients, home: FakeEc2) -> None:
    """Unlike the limit, throttling passes soon."""
    home.launch(*map(an_instance, range(12)))
    home.modify_errors[an_id(3)] = [THROTTLED] * 100
    batch = Batch(clients, a_message(events.launch_without_ids()), policy=a_policy(max_changes_per_sweep=20))
    assert batch.report.outcomes[Outcome.DEFERRED] == 1
    assert batch.again == ["m-1"]
