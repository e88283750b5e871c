import random
from datetime import timedelta
from typing import Any

import pytest

from infra.local.client import LocalAws
from tests.fakes import example_events
from tests.integration.enforcer_process import Enforcer, WrongClock
from tests.integration.guarded_fleet import AWAY, HOME, MODIFY, REGIONS, Fleet
from tests.integration.local_resources import UNKNOWN

LONG_AGO = "2021-03-04T05:06:07Z"
FAR_AHEAD = "2041-03-04T05:06:07Z"
YEARS = timedelta(days=3650)
SIGNABLE = timedelta(minutes=5)
"""AWS refuses requests signed by a clock that is further off: with those, EC2 says nothing of any instance."""


def test_an_instance_that_many_messages_name_is_changed_once(aws: LocalAws) -> None:
    """Whatever they say happened to it, none of them comes back."""
    fleet = Fleet(aws)
    one, *others = fleet.healthy[HOME]
    records = fleet.records(
        fleet.event(example_events.launch, one, *others, *fleet.protected[HOME]),
        *(fleet.event(kind, one) for kind in (example_events.running, example_events.drift) for _ in range(3)),
        fleet.event(example_events.launch_without_ids),
    )
    run = Enforcer(aws).batch(records)
    assert run.remediated == {*fleet.healthy[HOME]}
    assert aws.calls(MODIFY) == 3
    assert run.coming_back(records) == []
    assert fleet.lagging() == {*fleet.healthy[AWAY]}
    assert Enforcer(aws).sweep().remediated == {*fleet.healthy[AWAY]}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_batch_that_is_delivered_again_changes_nothing_more(aws: LocalAws) -> None:
    """As where Lambda could not delete what was handled."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    records = fleet.records(*fleet.events())
    assert enforcer.batch(records).remediated == fleet.ids
    for process in (enforcer, Enforcer(aws)):
        second = process.batch(records)
        assert {second.outcomes[instance] for instance in fleet.ids} == {"COMPLIANT"}
        assert second.coming_back(records) == []
    assert aws.calls(MODIFY) == 6
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_shuffled_and_doubled_events_come_to_the_same(aws: LocalAws) -> None:
    """Drift before the launch, and the end of a story before its beginning, spread over several batches."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    events = [
        fleet.event(kind, instance, region=region)
        for region in REGIONS
        for instance in (*fleet.healthy[region], *fleet.protected[region])
        for kind in (example_events.launch, example_events.running, example_events.drift)
        for _ in range(2)
    ]
    random.Random(2026).shuffle(events)  # noqa: S311  # an order, not a secret
    for first in range(0, len(events), 15):
        records = fleet.records(*events[first : first + 15])
        assert enforcer.batch(records).coming_back(records) == []
    assert aws.calls(MODIFY) == 6
    assert fleet.lagging() == set()
    assert fleet.violated() == []


@pytest.mark.parametrize("time", [LONG_AGO, FAR_AHEAD])
def test_events_of_any_age_are_held_against_what_ec2_shows_now(aws: LocalAws, time: str) -> None:
    """What was terminated or switched off meanwhile is left alone, and one that EC2 does not know stops no other."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    ended, switched_off, *_ = fleet.healthy[AWAY]
    ec2 = aws.client("ec2", AWAY)
    ec2.terminate_instances(InstanceIds=[ended])
    ec2.modify_instance_metadata_options(InstanceId=switched_off, HttpEndpoint="disabled")
    aws.reset_calls()
    events = [*fleet.events(), fleet.event(example_events.drift, UNKNOWN)]
    records = fleet.records(*({**event, "time": time} for event in events))
    run = enforcer.batch(records)
    assert run.remediated == fleet.ids - {ended, switched_off}
    assert (run.outcomes[ended], run.outcomes[switched_off]) == ("SKIPPED", "SKIPPED")
    assert aws.calls(MODIFY) == 4
    assert run.codes == {UNKNOWN: "InvalidInstanceID.NotFound"}
    assert run.outcomes[UNKNOWN] == {LONG_AGO: "GONE", FAR_AHEAD: "DEFERRED"}[time]
    assert len(run.coming_back(records)) == (time == FAR_AHEAD)
    assert enforcer.sweep().remediated == set()
    assert fleet.lagging() == {ended, switched_off}
    assert fleet.violated() == []


@pytest.mark.parametrize("off", [YEARS, -YEARS])
def test_a_clock_that_is_years_off_keeps_nobody_from_the_policy(aws: LocalAws, off: timedelta) -> None:
    """Neither in a batch nor in a sweep."""
    fleet, enforcer = Fleet(aws), Enforcer(aws, clock=WrongClock(off))
    events = [event for event in fleet.events() if event["region"] == HOME]
    records = fleet.records(*events)
    run = enforcer.batch(records)
    assert run.remediated == {*fleet.healthy[HOME]}
    assert run.coming_back(records) == []
    assert enforcer.sweep().remediated == {*fleet.healthy[AWAY]}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


@pytest.mark.parametrize("off", [SIGNABLE, -SIGNABLE])
def test_by_a_wrong_clock_no_new_instance_is_given_up(aws: LocalAws, off: timedelta) -> None:
    """EC2 does not show it yet, as just after any launch: its message comes back, however late it seems to be."""
    fleet, enforcer, records = _just_launched(aws, WrongClock(off))
    aws.knobs(visibility_seconds=3600)
    run = enforcer.batch(records)
    assert set(run.codes.values()) == {"InvalidInstanceID.NotFound"}
    aws.knobs(visibility_seconds=0)
    again = run.coming_back(records)
    assert len(again) == len(records)
    assert enforcer.batch(again).remediated == fleet.ids
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_what_a_wrong_clock_gave_up_the_sweep_finds(aws: LocalAws) -> None:
    """Even if no message comes back."""
    fleet, enforcer, records = _just_launched(aws, WrongClock(YEARS))
    aws.knobs(visibility_seconds=3600)
    assert enforcer.batch(records).remediated == set()
    aws.knobs(visibility_seconds=0)
    assert enforcer.sweep().remediated == fleet.ids
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def _just_launched(aws: LocalAws, clock: WrongClock) -> tuple[Fleet, Enforcer, list[dict[str, Any]]]:
    fleet = Fleet(aws)
    records = fleet.records(*fleet.events())
    return fleet, Enforcer(aws, clock=clock), records
