"""A launch so large that its event names no instance: the batch sweeps its whole region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.model import Outcome
from imds_enforcer.reporting.report import RegionStatus
from tests.fakes import example_events as events
from tests.fakes.example_events import a_message
from tests.fakes.examples import (
    AWAY,
    HOME,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V2_ONLY,
    a_policy,
    an_exemption,
    an_id,
    an_instance,
)
from tests.fakes.runs import Batch

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2


def test_a_launch_whose_ids_were_omitted_is_found_by_sweeping_its_region(clients: FakeClients, home: FakeEc2) -> None:
    """It sweeps only that region, and only instances that differ."""
    home.launch(*map(an_instance, range(3)), an_instance(3, V2_ONLY))
    batch = Batch(clients, a_message(events.launch_without_ids()))
    assert batch.outcomes == {an_id(number): Outcome.REMEDIATED for number in range(3)}
    assert {trigger for _, trigger in batch.log} == {"launch"}
    assert batch.again == []
    assert len(home.finds) == 1
    assert clients.ec2(AWAY).calls == []


def test_several_launches_without_ids_cost_one_sweep(clients: FakeClients, home: FakeEc2) -> None:
    """The sweep finds the instances of all of them."""
    home.launch(an_instance())
    Batch(clients, *(a_message(events.launch_without_ids(), f"m-{number}") for number in range(3)))
    assert len(home.finds) == 1


def test_named_instances_and_a_sweep_count_once(clients: FakeClients, home: FakeEc2) -> None:
    """The sweep does not find an instance that was just changed."""
    home.launch(an_instance(1), an_instance(2))
    batch = Batch(clients, a_message(events.running(an_id(1)), "m-1"), a_message(events.launch_without_ids(), "m-2"))
    assert batch.report.outcomes == {Outcome.REMEDIATED: 2}
    assert home.modified_ids == [an_id(1), an_id(2)]


def test_a_named_instance_that_still_differs_counts_once_too(clients: FakeClients, home: FakeEc2) -> None:
    """The sweep finds it, but it already has its result: it is neither counted nor changed again."""
    home.launch(an_instance(1, tags={"legacy": ""}), an_instance(2), an_instance(3))
    home.modify_errors[an_id(2)] = [UNAUTHORIZED] * 2
    messages = a_message(events.launch(an_id(1), an_id(2)), "m-1"), a_message(events.launch_without_ids(), "m-2")
    batch = Batch(clients, *messages, policy=a_policy(exemptions=(an_exemption(tag_key="legacy"),)))
    assert batch.report.outcomes == {Outcome.EXEMPT: 1, Outcome.FAILED: 1, Outcome.REMEDIATED: 1}
    assert sorted(result.instance_id for result, _ in batch.log) == [an_id(1), an_id(2), an_id(3)]
    assert home.modify_errors[an_id(2)] == [UNAUTHORIZED], "asked for once"
    assert batch.again == []


@pytest.mark.parametrize("failure", [THROTTLED, SERVER_FAULT])
def test_a_sweep_that_was_cut_short_is_repeated(clients: FakeClients, home: FakeEc2, failure: Any) -> None:
    """Only the launch without ids comes back."""
    home.launch(an_instance())
    home.find_errors[1] = failure
    batch = Batch(clients, a_message(events.running(), "m-1"), a_message(events.launch_without_ids(), "m-2"))
    assert batch.again == ["m-2"]
    assert batch.report.regions[HOME].status is RegionStatus.REGION_FAILED


def test_a_sweep_that_ran_out_of_time_is_repeated(clients: FakeClients, home: FakeEc2) -> None:
    """It found instances that it had no time to change."""
    home.launch(an_instance())
    home.read_seconds = 41
    batch = Batch(clients, a_message(events.launch_without_ids()))
    assert batch.outcomes == {an_id(): Outcome.DEFERRED}
    assert batch.again == ["m-1"]


def test_a_sweep_that_ec2_refuses_for_good_is_not_repeated(clients: FakeClients, home: FakeEc2) -> None:
    """The report has the failed region."""
    home.find_errors[1] = UNAUTHORIZED
    batch = Batch(clients, a_message(events.launch_without_ids()))
    assert batch.again == []
    assert list(batch.report.failed_regions) == [HOME]


def test_a_deferred_instance_that_was_named_does_not_repeat_the_sweep(clients: FakeClients, home: FakeEc2) -> None:
    """The sweep covered the whole region."""
    batch = Batch(clients, a_message(events.running(), "m-1"), a_message(events.launch_without_ids(), "m-2"))
    assert home.finds
    assert batch.again == ["m-1"]
