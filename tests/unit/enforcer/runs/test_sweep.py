from __future__ import annotations

import threading
from dataclasses import replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.decision.drift_filters import drift_filters
from imds_enforcer.model import InstanceState, Outcome, Switch, Trigger
from imds_enforcer.policy import Mode, RegionSelection
from imds_enforcer.reporting.report import RegionStatus
from imds_enforcer.runs.events import SweepRequest
from tests.fakes.examples import (
    AWAY,
    DENIED_BY_SCP,
    HOME,
    IMDS_OFF,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    WRONG_STATE,
    a_policy,
    an_exemption,
    an_id,
    an_instance,
)
from tests.fakes.runs import SCHEDULE, Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imds_enforcer.model import Failure, Instance
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

INVENTORY = SweepRequest(Trigger.INVENTORY)


def test_every_enabled_region_is_brought_in_line(clients: FakeClients, home: FakeEc2, away: FakeEc2) -> None:
    """This includes a region that forwards no events."""
    home.launch(an_instance(1), an_instance(2, V2_ONLY))
    away.launch(an_instance(3))
    done = Sweep(clients)
    assert done.logged == {an_id(1): Outcome.REMEDIATED, an_id(3): Outcome.REMEDIATED}
    assert {trigger for _, trigger in done.log} == {"schedule"}
    assert done.statuses == {HOME: RegionStatus.DONE, AWAY: RegionStatus.DONE}
    assert (done.report.run_id, done.report.trigger) == ("run-1", "schedule")


def test_ec2_is_asked_only_for_instances_that_differ(clients: FakeClients, home: FakeEc2) -> None:
    """If all is well, a region costs one request."""
    home.launch(an_instance(1, V2_ONLY), an_instance(2, IMDS_OFF))
    done = Sweep(clients)
    assert home.finds == list(drift_filters(a_policy()))
    assert clients.ec2_calls == ["DescribeInstances", "DescribeInstances"]
    assert done.report.outcomes == {}


def test_regions_that_the_policy_leaves_out_are_not_asked(clients: FakeClients, home: FakeEc2, away: FakeEc2) -> None:
    """The report does not have them either."""
    home.launch(an_instance(1))
    away.launch(an_instance(2))
    done = Sweep(clients, a_policy(regions=RegionSelection(include=(AWAY,))))
    assert list(done.report.regions) == [AWAY]
    assert home.calls == []
    assert done.logged == {an_id(2): Outcome.REMEDIATED}


@pytest.mark.parametrize(
    "regions", [RegionSelection(include=(HOME, "eu-wset-1")), RegionSelection(exclude=("eu-wset-1",))]
)
def test_a_region_of_the_policy_that_the_account_does_not_have_is_a_warning(
    clients: FakeClients, regions: RegionSelection
) -> None:
    """A misspelt name would silently leave a region out."""
    warnings = Sweep(clients, a_policy(regions=regions)).report.warnings
    assert warnings == ("The policy names the region eu-wset-1, which is not enabled in this account.",)


def test_a_policy_without_regions_gives_an_empty_report(clients: FakeClients) -> None:
    """A warning says why."""
    done = Sweep(clients, a_policy(regions=RegionSelection(include=("ap-east-9",))))
    assert done.report.regions == {}
    assert len(done.report.warnings) == 1


@pytest.mark.parametrize(
    ("failure", "status", "request_"),
    [
        (SERVER_FAULT, RegionStatus.REGION_FAILED, SCHEDULE),
        (UNAUTHORIZED, RegionStatus.REGION_FAILED, SCHEDULE),
        (DENIED_BY_SCP, RegionStatus.REGION_DENIED, INVENTORY),
        (DENIED_BY_SCP, RegionStatus.REGION_DENIED, SweepRequest(Trigger.COMMAND)),
    ],
)
def test_a_region_that_fails_stops_no_other(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, failure: Failure, status: RegionStatus, request_: SweepRequest
) -> None:
    """The report has it with EC2's error; a region that an organization denies has not failed."""
    home.find_errors[1] = failure
    home.launch(an_instance(1))
    away.launch(an_instance(2))
    done = Sweep(clients, request=request_)
    assert done.statuses == {HOME: status, AWAY: RegionStatus.DONE}
    assert done.report.as_json()["regions"][HOME] == {"status": status, "outcomes": {}, "error": str(failure)}
    assert done.logged == {an_id(2): Outcome.REMEDIATED}


@pytest.mark.parametrize("trigger", [Trigger.SCHEDULE, Trigger.MANUAL, Trigger.POLICY_CHANGE, Trigger.SECOND_LOOK])
def test_a_region_that_the_organization_denies_is_named_once_a_day(
    clients: FakeClients, away: FakeEc2, trigger: Trigger
) -> None:
    """The inventory names it. The other sweeps ask the region but do not report it."""
    away.find_errors[1] = away.find_errors[2] = DENIED_BY_SCP
    done = Sweep(clients, request=SweepRequest(trigger))
    assert done.statuses == {HOME: RegionStatus.DONE}
    assert away.calls == ["DescribeInstances"]
    assert not done.report.needs_attention
    away.launch(an_instance(1))
    assert Sweep(clients, request=INVENTORY).statuses[AWAY] is RegionStatus.REGION_DENIED
    assert Sweep(clients, request=SweepRequest(trigger)).logged == {an_id(1): Outcome.REMEDIATED}


def test_pages_read_before_a_region_was_denied_count(clients: FakeClients, away: FakeEc2) -> None:
    """Every change is reported."""
    away.launch(an_instance(1), an_instance(2))
    away.page_size = 1
    away.find_errors[2] = DENIED_BY_SCP
    done = Sweep(clients)
    assert done.report.outcomes == {Outcome.REMEDIATED: 1}
    assert done.statuses[AWAY] is RegionStatus.REGION_DENIED


def test_the_pages_before_a_failure_count(clients: FakeClients, home: FakeEc2) -> None:
    """Instances on these pages are enforced and reported."""
    home.launch(*map(an_instance, range(5)))
    home.page_size = 2
    home.find_errors[3] = SERVER_FAULT
    done = Sweep(clients)
    assert home.modified_ids == [an_id(number) for number in range(4)]
    assert done.report.outcomes == {Outcome.REMEDIATED: 4}
    assert done.statuses[HOME] is RegionStatus.REGION_FAILED


def test_each_instance_counts_once(clients: FakeClients, home: FakeEc2) -> None:
    """Just after its change, another set of filters may still find an instance with its old options."""
    differing = replace(V1_ALLOWED, http_put_response_hop_limit=5)
    home.launch(an_instance(1, differing), an_instance(2, replace(differing, http_tokens=V2_ONLY.http_tokens)))
    home.visible_after = 5
    policy = a_policy(http_put_response_hop_limit=2)
    done = Sweep(clients, policy)
    assert len(home.finds) == 2
    assert done.report.outcomes == {Outcome.REMEDIATED: 2}
    assert home.modified_ids == [an_id(1), an_id(2)]


def test_an_instance_found_twice_has_one_result(clients: FakeClients, home: FakeEc2) -> None:
    """It moved from one set of filters to the other during the sweep."""
    home.launch(an_instance(1))
    home.ignored = {an_id(1)}
    policy = a_policy(http_put_response_hop_limit=2)

    def another_hand() -> None:
        home.set_options(an_id(1), http_tokens=V2_ONLY.http_tokens)

    clients.clock.at(19, another_hand)
    done = Sweep(clients, policy)
    assert len(home.finds) == 2
    assert len(done.log) == 1
    assert done.report.outcomes == {Outcome.FAILED: 1}


def test_hidden_managed_instances_are_counted_once_a_day(clients: FakeClients, home: FakeEc2) -> None:
    """The inventory counts them. A sweep for drift cannot change them and does not need them."""
    home.launch(an_instance(1, managed_by="eks.amazonaws.com"))
    assert Sweep(clients).report.outcomes == {}
    counted = Sweep(clients, request=INVENTORY).report
    assert (counted.outcomes, counted.instances) == ({Outcome.SKIPPED: 1}, 1)


def test_unchanged_instances_are_counted_but_not_logged(clients: FakeClients, home: FakeEc2) -> None:
    """The same hundred exemptions every quarter of an hour are no news."""
    home.managed_visible = True
    home.launch(an_instance(1, tags={"legacy": ""}), an_instance(2, managed_by="eks.amazonaws.com"))
    done = Sweep(clients, a_policy(exemptions=(an_exemption(tag_key="legacy"),)))
    assert done.log == []
    assert done.report.outcomes == {Outcome.EXEMPT: 1, Outcome.SKIPPED: 1}


def test_audit_mode_writes_nothing(clients: FakeClients, home: FakeEc2) -> None:
    """Each planned change is logged every time, because audit mode is for that."""
    home.launch(an_instance())
    done = Sweep(clients, a_policy(mode=Mode.AUDIT))
    assert done.logged == {an_id(): Outcome.WOULD_REMEDIATE}
    assert "ModifyInstanceMetadataOptions" not in clients.ec2_calls


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (THROTTLED, Outcome.DEFERRED),
        (WRONG_STATE, Outcome.DEFERRED),
        (UNAUTHORIZED, Outcome.FAILED),
        (SERVER_FAULT, Outcome.FAILED),
    ],
)
def test_the_next_sweep_is_the_retry(clients: FakeClients, home: FakeEc2, failure: Failure, outcome: Outcome) -> None:
    """Throttling raises no alarm; an instance that fails does not make its region fail."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [failure] * 100
    done = Sweep(clients, seconds=60)
    assert done.logged == {an_id(): outcome}
    assert done.statuses[HOME] is RegionStatus.DONE
    home.modify_errors.clear()
    assert Sweep(clients).logged == {an_id(): Outcome.REMEDIATED}


def test_an_instance_that_vanished_is_gone(clients: FakeClients, home: FakeEc2) -> None:
    """It disappeared between the listing and the change."""
    home.launch(an_instance(1), an_instance(2))
    home.page_size = 1
    home.read_seconds = 6
    clients.clock.at(8, lambda: home.forget(an_id(2)))
    assert Sweep(clients).logged[an_id(2)] is Outcome.GONE


def test_a_sweep_stops_writing_at_its_deadline_and_the_next_continues(clients: FakeClients, home: FakeEc2) -> None:
    """The rest is reported as deferred."""
    home.launch(*map(an_instance, range(40)))
    home.modify_seconds = 1
    done = Sweep(clients, seconds=10)
    outcomes = done.report.outcomes
    assert outcomes[Outcome.REMEDIATED] >= 10
    assert outcomes[Outcome.DEFERRED] == 40 - outcomes[Outcome.REMEDIATED] > 0
    left = Sweep(clients).report.outcomes
    assert left == {Outcome.REMEDIATED: outcomes[Outcome.DEFERRED]}


def test_an_inventory_counts_every_instance(clients: FakeClients, home: FakeEc2, away: FakeEc2) -> None:
    """It also changes those that differ; terminated instances do not count."""
    home.page_size = 2
    home.launch(
        an_instance(1),
        an_instance(2, V2_ONLY),
        an_instance(3, IMDS_OFF),
        an_instance(4, tags={"legacy": ""}),
        an_instance(5, state=InstanceState.STOPPED),
        an_instance(6, state=InstanceState.TERMINATED),
    )
    away.launch(an_instance(7, V2_ONLY))
    report = Sweep(clients, a_policy(exemptions=(an_exemption(tag_key="legacy"),)), INVENTORY).report
    assert home.finds == [{}]
    assert report.trigger == "inventory"
    assert (report.instances, report.compliant) == (6, 4)
    assert {name: (part.instances, part.compliant) for name, part in report.regions.items()} == {
        HOME: (5, 3),
        AWAY: (1, 1),
    }
    assert report.outcomes == {
        Outcome.REMEDIATED: 1,
        Outcome.COMPLIANT: 2,
        Outcome.SKIPPED: 1,
        Outcome.EXEMPT: 1,
        Outcome.PENDING: 1,
    }
    assert home.actual(an_id(5)).options == V2_ONLY


@pytest.mark.parametrize("trigger", [Trigger.INVENTORY, Trigger.SCHEDULE, Trigger.COMMAND])
def test_a_region_that_the_policy_leaves_out_is_not_asked(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, trigger: Trigger
) -> None:
    """The inventory does not count it either."""
    home.launch(an_instance(1))
    away.launch(an_instance(2), an_instance(3, V2_ONLY))
    done = Sweep(clients, a_policy(regions=RegionSelection(exclude=(AWAY,))), SweepRequest(trigger))
    assert done.statuses == {HOME: RegionStatus.DONE}
    assert done.report.instances == 1
    assert away.calls == []


def test_regions_are_visited_in_parallel(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow region does not use up the others' time."""
    meeting = threading.Barrier(2)

    def meet(find: Callable[..., Iterator[list[Instance]]], *asked: object) -> Iterator[list[Instance]]:
        meeting.wait(timeout=10)
        return find(*asked)

    for fake in (home, away):
        monkeypatch.setattr(fake, "find", partial(meet, fake.find))
    assert set(Sweep(clients).statuses.values()) == {RegionStatus.DONE}


def test_expired_exemptions_are_reported_until_they_are_removed(clients: FakeClients) -> None:
    """The day of the sweep decides whether they have expired."""
    expired = an_exemption("old SDK", expires=date(2026, 11, 21))
    lasting = an_exemption("vendor image", expires=date(2026, 11, 22))
    policy = a_policy(exemptions=(expired, lasting), instance_metadata_tags=Switch.DISABLED)
    assert Sweep(clients, policy).report.expired_exemptions == (expired,)


def test_a_sweep_reports_its_duration(clients: FakeClients, home: FakeEc2) -> None:
    """The duration is in seconds."""
    home.read_seconds = 3
    assert Sweep(clients).report.seconds == pytest.approx(3)


def test_an_error_in_the_program_is_not_hidden_in_a_region(
    clients: FakeClients, home: FakeEc2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only refusals by AWS belong to a region; any other error must reach the alarm."""

    def broken(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr(home, "find", broken)
    with pytest.raises(KeyError):
        Sweep(clients)
