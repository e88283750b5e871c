"""Sweeps of fleets too large for one sweep."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.limits.pacing import RESERVE
from imds_enforcer.limits.region_limits import limits_of
from imds_enforcer.model import Deadline, Outcome
from imds_enforcer.reporting.report import RegionStatus
from imds_enforcer.runs.sweep import sweep
from tests.fakes.clients import a_run
from tests.fakes.example_events import a_message, running
from tests.fakes.examples import (
    AWAY,
    HOME,
    SERVER_FAULT,
    TOKENS_PARAMETER,
    UNAUTHORIZED,
    V2_ONLY,
    a_policy,
    an_id,
    an_instance,
)
from tests.fakes.runs import SCHEDULE, Batch, Sweep

if TYPE_CHECKING:
    from imds_enforcer.model import Change
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

WHY = "HttpTokens is optional, not required"


def test_a_fleet_is_changed_at_the_pace_of_ec2(clients: FakeClients, home: FakeEc2) -> None:
    """A hundred at once and then five each second, and no slower."""
    home.launch(*map(an_instance, range(400)))
    done = Sweep(clients)
    assert done.report.outcomes == {Outcome.REMEDIATED: 400}
    assert done.report.seconds == pytest.approx((400 - 100) / 5, rel=0.01)


def _spares(home: FakeEc2) -> list[int]:
    """What a launch would find in the bucket each time after the sweep took from it."""
    spares: list[int] = []
    take = home.changes.take

    def spy(wanted: int, left: int = 0) -> int:
        granted = take(wanted, left)
        spares.append(take(1_000))
        home.changes.give_back(spares[-1])
        return granted

    home.changes.take = spy  # type: ignore[method-assign]  # to look after each time
    return spares


def test_a_launch_in_the_middle_of_a_sweep_finds_the_reserve(clients: FakeClients, home: FakeEc2) -> None:
    """Until the sweep's last changes, which may use it."""
    home.launch(*map(an_instance, range(400)))
    spares = _spares(home)
    Sweep(clients)
    assert min(spares[:-5]) >= RESERVE
    assert spares[-1] == 0


def test_instances_left_to_another_sweep_keep_no_reserve(
    clients: FakeClients, home: FakeEc2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the sweep's limit is used up, the retries of the changes that it began are its last changes."""
    home.launch(*map(an_instance, range(400)))
    lefts: list[int] = []
    take, modify = home.changes.take, home.modify

    def listen(wanted: int, left: int = 0) -> int:
        if wanted:
            lefts.append(left)
        return take(wanted, left)

    def fail_the_last(instance_id: str, change: Change) -> dict[str, Any]:
        if len(set(home.sent_ids)) >= 100 and instance_id not in home.sent_ids:
            home.modify_errors[instance_id] = [SERVER_FAULT]
        return modify(instance_id, change)

    monkeypatch.setattr(home.changes, "take", listen)
    monkeypatch.setattr(home, "modify", fail_the_last)
    done = Sweep(clients, a_policy(max_changes_per_sweep=105))
    assert done.report.outcomes == {Outcome.REMEDIATED: 105, Outcome.DEFERRED: 295}
    assert lefts[-1] == 5


def test_events_use_the_reserve(clients: FakeClients, home: FakeEc2) -> None:
    """The reserve is for them."""
    home.launch(*map(an_instance, range(150)))
    spares = _spares(home)
    Batch(clients, *(a_message(running(an_id(number)), str(number)) for number in range(150)))
    assert len(home.sent) == 150
    assert max(spares) == 0


def test_each_region_has_its_own_pace(clients: FakeClients, home: FakeEc2, away: FakeEc2) -> None:
    """Two regions take no longer than one."""
    home.launch(*map(an_instance, range(100)))
    away.launch(*map(an_instance, range(100)))
    assert home.changes is not away.changes
    assert Sweep(clients).report.outcomes == {Outcome.REMEDIATED: 200}
    assert clients.clock.elapsed < 5


def test_reads_grow_with_time_and_not_with_the_fleet(clients: FakeClients, home: FakeEc2) -> None:
    """One look every ten seconds renews waiting instances and reads back changed ones."""
    home.launch(*map(an_instance, range(400)))
    Sweep(clients)
    assert home.calls.count("DescribeInstances") <= 1 + 60 / 10 + 4


def test_a_compliant_region_costs_one_request_for_each_set_of_filters(clients: FakeClients, home: FakeEc2) -> None:
    """However large the region is."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(5_000)))
    assert Sweep(clients).report.outcomes == {}
    assert home.calls == ["DescribeInstances"]
    home.calls.clear()
    Sweep(clients, a_policy(http_put_response_hop_limit=1))
    assert home.calls == ["DescribeInstances", "DescribeInstances"]


def test_the_order_is_random(clients: FakeClients, home: FakeEc2) -> None:
    """In EC2's order, the same instances would always be first."""
    home.launch(*map(an_instance, range(50)))
    shuffle = random.Random(1).shuffle  # noqa: S311  # an order, not a secret
    run = a_run(clients, a_policy())
    run.shuffle = shuffle
    sweep(run, SCHEDULE, limits_of(a_policy(), clients.fakes))
    assert sorted(home.sent_ids) == list(map(an_id, range(50)))
    assert home.sent_ids != sorted(home.sent_ids)


def test_instances_that_always_fail_do_not_block_the_others(clients: FakeClients, home: FakeEc2) -> None:
    """EC2 refuses half the fleet for good, and a sweep has time for a third."""
    fleet, sweeps = 600, 0
    home.launch(*map(an_instance, range(fleet)))
    refused = set(map(an_id, range(fleet // 2)))
    home.modify_errors |= {instance_id: [UNAUTHORIZED] * 100 for instance_id in refused}
    shuffle = random.Random(7).shuffle  # noqa: S311  # an order, not a secret
    while len(home.modified) < fleet - len(refused):
        sweeps += 1
        assert sweeps <= 12
        seconds = (fleet / 3 - 100) / 5
        before = len(home.sent)
        run = a_run(clients, a_policy(), seconds=seconds)
        run.shuffle = shuffle
        sweep(run, SCHEDULE, limits_of(a_policy(), clients.fakes))
        assert len(home.sent) - before <= fleet / 3 + 2
        clients.clock.advance(900)
    assert set(home.modified_ids).isdisjoint(refused)


def test_the_next_sweep_continues_with_the_deferred_instances(clients: FakeClients, home: FakeEc2) -> None:
    """Every instance counts once, including those that were never read again."""
    home.launch(*map(an_instance, range(2_500)))
    done = Sweep(clients, seconds=60)
    outcomes = done.report.outcomes
    assert outcomes.total() == 2_500
    assert outcomes[Outcome.REMEDIATED] == pytest.approx(100 + 60 * 5 - RESERVE, abs=5)
    assert outcomes[Outcome.DEFERRED] == 2_500 - outcomes[Outcome.REMEDIATED]
    assert done.report.as_json()["stopped"] == "out of time"
    assert {result.reason for result, _ in done.log} == {WHY, "out of time", f"out of time; {WHY}"}
    clients.clock.advance(900)
    left = Sweep(clients, seconds=1_000).report
    assert left.outcomes == {Outcome.REMEDIATED: outcomes[Outcome.DEFERRED]}
    assert "stopped" not in left.as_json()
    assert len(home.sent) == 2_500, "nothing twice"


def test_of_a_large_fleet_only_ids_are_kept(clients: FakeClients, home: FakeEc2) -> None:
    """Instances without a plan are read, two hundred at a time, when their turn comes; those with a plan go first."""
    home.launch(*map(an_instance, range(1_100)))
    run = a_run(clients, a_policy(), seconds=60)
    run.shuffle = lambda ids: ids.sort(reverse=True)
    sweep(run, SCHEDULE, limits_of(a_policy(), clients.fakes))
    assert home.sent_ids[0] == an_id(999)
    reads = [len(ids) for ids in home.reads]
    assert max(reads) == 200
    assert max(age for _, age in home.sent) <= 10


def test_a_region_too_large_to_list_has_failed(clients: FakeClients, home: FakeEc2, away: FakeEc2) -> None:
    """Listed instances are enforced; the others must not count as compliant."""
    home.launch(*map(an_instance, range(10)))
    home.page_size, home.read_seconds = 2, 10
    away.launch(an_instance(99))
    run = a_run(clients, a_policy())
    run.list_deadline = Deadline.after(clients.clock, 25)
    report = sweep(run, SCHEDULE, limits_of(a_policy(), clients.fakes))
    assert report.outcomes[Outcome.REMEDIATED] + report.outcomes[Outcome.DEFERRED] < 11
    assert home.pages < 5
    assert report.regions[HOME].status is RegionStatus.REGION_FAILED
    assert str(report.regions[HOME].failure) == (
        "OutOfTime: the region has more instances than a sweep has time to list"
    )
    assert report.regions[AWAY].status is RegionStatus.DONE


def test_a_sweep_overtaken_by_a_new_policy_says_so(clients: FakeClients, home: FakeEc2) -> None:
    """It stops within five seconds of the policy's change."""
    home.launch(*map(an_instance, range(400)))
    clients.clock.at(20, lambda: clients.ssm.put(TOKENS_PARAMETER, "optional"))
    done = Sweep(clients)
    assert done.report.stopped == "the policy has changed during the run, to versions 2 (HttpTokens) and 1 (policy)"
    assert done.report.outcomes[Outcome.REMEDIATED] == len(home.sent) <= 100 + 25 * 5
    assert done.report.outcomes.total() == 400
    assert done.report.seconds < 20 + 5
