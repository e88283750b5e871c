"""Which instances the watch looks at: those on which the enforcer required tokens, and which still require them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.decision.legacy_calls import REJECTED
from imds_enforcer.model import HttpTokens, Outcome, Trigger
from imds_enforcer.policy import Watch
from imds_enforcer.runs.watch import watch
from tests.fakes.clock import START
from tests.fakes.entries import a_change, an_entry, an_intent
from tests.fakes.examples import AWAY, HOME, SERVER_FAULT, V1_ALLOWED, V2_ONLY, an_id, an_instance

if TYPE_CHECKING:
    from imds_enforcer.ledger.entry import Entry
    from tests.fakes.clients import FakeClients
    from tests.fakes.clock import FakeClock

TERMS = Watch(hours=24, rejected_calls=1)
TAKEN = an_entry(at=START - timedelta(hours=5))
LATER = START - timedelta(hours=4)
GIVEN_BACK = a_change(V2_ONLY, http_tokens=HttpTokens.OPTIONAL, at=LATER, run_id="run-2")
REVERTED = replace(GIVEN_BACK, trigger=Trigger.REVERT)


def _watched(clients: FakeClients, clock: FakeClock, *entries: Entry) -> list[Entry]:
    """The changes over the limit, if every instance gets calls without a token."""
    clients.ledger_table.entries.write(entries)
    for number in (1, 2):
        for metrics in clients.metrics.values():
            metrics.data[REJECTED, an_id(number)] = [(START - timedelta(hours=1), 3.0)]
    return [each.change for each in watch(clients, clock, TERMS).over_limit]


def test_changes_to_required_are_watched(clients: FakeClients, clock: FakeClock) -> None:
    """In every region."""
    away = replace(TAKEN, instance_id=an_id(2), region=AWAY)
    assert _watched(clients, clock, TAKEN, away) == [TAKEN, away]


@pytest.mark.parametrize(
    "entries",
    [
        [replace(TAKEN, at=START - timedelta(hours=26))],
        [GIVEN_BACK],
        [a_change(V2_ONLY, http_put_response_hop_limit=2)],
        [replace(TAKEN, outcome=Outcome.FAILED, after=V1_ALLOWED)],
        [replace(TAKEN, outcome=Outcome.COMPLIANT)],
        [an_intent()],
        [TAKEN, GIVEN_BACK],
        [TAKEN, REVERTED],
    ],
)
def test_only_changes_to_required_are_watched(clients: FakeClients, clock: FakeClock, entries: list[Entry]) -> None:
    """The enforcer did not cause the rejected calls of other instances, and asking about them costs money."""
    assert _watched(clients, clock, *entries) == []
    assert clients.metrics[HOME].requests == []


@pytest.mark.parametrize(
    "later",
    [
        replace(REVERTED, outcome=Outcome.FAILED, after=None),
        replace(REVERTED, outcome=Outcome.FAILED, after=V2_ONLY),
        replace(REVERTED, outcome=None, after=None),
        replace(GIVEN_BACK, outcome=Outcome.FAILED, after=None),
        a_change(V2_ONLY, http_put_response_hop_limit=2, at=LATER, run_id="run-2"),
    ],
)
def test_only_a_change_to_optional_ends_the_watch(clients: FakeClients, clock: FakeClock, later: Entry) -> None:
    """A failed revert does not: the calls are still rejected."""
    assert _watched(clients, clock, TAKEN, later) == [TAKEN]


def test_the_latest_change_to_required_counts(clients: FakeClients, clock: FakeClock) -> None:
    """Calls rejected before tokens were optional again no longer matter."""
    again = an_entry(at=START - timedelta(hours=3), run_id="run-3")
    assert _watched(clients, clock, TAKEN, REVERTED, again) == [again]


def test_a_region_out_of_reach_stops_no_other(clients: FakeClients, clock: FakeClock) -> None:
    """The failure is reported."""
    clients.metrics[AWAY].failure = SERVER_FAULT
    clients.ec2(HOME).launch(an_instance(options=V2_ONLY))
    assert _watched(clients, clock, replace(TAKEN, instance_id=an_id(2), region=AWAY), TAKEN) == [TAKEN]
    watched = watch(clients, clock, TERMS)
    assert {region: error.failure for region, error in watched.failures.items()} == {AWAY: SERVER_FAULT}
