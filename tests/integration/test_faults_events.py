import random
from datetime import timedelta

import pytest

from infra.local.client import LocalAws
from tests.fakes import example_events
from tests.integration.enforcer_process import Enforcer, WrongClock
from tests.integration.guarded_fleet import AWAY, HOME, MODIFY, REGIONS, Fleet

YEARS = timedelta(days=3650)


def test_shuffled_and_repeated_events_have_the_same_result(aws: LocalAws) -> None:
    """Several batches bring drift before its launch, in any order."""
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


@pytest.mark.parametrize("off", [YEARS, -YEARS])
def test_with_a_clock_that_is_years_off_instances_still_follow_the_policy(aws: LocalAws, off: timedelta) -> None:
    """In a batch and in a sweep."""
    fleet, enforcer = Fleet(aws), Enforcer(aws, clock=WrongClock(off))
    events = [event for event in fleet.events() if event["region"] == HOME]
    records = fleet.records(*events)
    run = enforcer.batch(records)
    assert run.remediated == {*fleet.healthy[HOME]}
    assert run.coming_back(records) == []
    assert enforcer.sweep().remediated == {*fleet.healthy[AWAY]}
    assert fleet.lagging() == set()
    assert fleet.violated() == []
