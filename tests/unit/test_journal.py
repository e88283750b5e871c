"""What is written of each change; outcomes not one by one, and not long after they are known."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.decision import Change
from imds_enforcer.dynamodb import BATCH_SIZE
from imds_enforcer.journal import Journal
from imds_enforcer.model import HttpTokens, Outcome, Switch
from imds_enforcer.plan import Planned, result_of
from imds_enforcer.policy import PolicyVersions
from infra.local.waiting import until
from tests.unit.examples import V1_ALLOWED, V2_ONLY, an_id, an_instance
from tests.unit.runs import ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imds_enforcer.dynamodb import Item
    from imds_enforcer.model import Instance, MetadataOptions
    from tests.unit.fake_clients import FakeClients

_LONG_ENOUGH_TO_BE_WRONG = 0.2
"""Seconds for what must not happen yet."""


@pytest.fixture
def journal(clients: FakeClients) -> Journal:
    """What is tested, with as many intents as fill a request."""
    journal = Journal(
        clients.records,
        clients.clock,
        run_id="run-1",
        versions=PolicyVersions(3, 7),
        ends_at=clients.clock.now() + timedelta(seconds=900),
        trigger_of=lambda _: "launch",
    )
    plans = [_plan(an_instance(number)) for number in range(BATCH_SIZE)]
    journal.intend(plans)
    assert list(journal.intended(plans)) == [plans]
    clients.table.requests.clear()
    return journal


def _plan(instance: Instance, wanted: MetadataOptions = V2_ONLY) -> Planned:
    return Planned(instance, Change(http_tokens=HttpTokens.REQUIRED), wanted, "why")


def _complete(journal: Journal, number: int) -> None:
    journal.complete(result_of(an_instance(number), Outcome.REMEDIATED, "why", after=V2_ONLY))
    journal.flush()


def _written(clients: FakeClients) -> int:
    return sum(entry.outcome is not None for entry in ledger(clients))


def test_outcomes_are_written_once_they_fill_a_request(clients: FakeClients, journal: Journal) -> None:
    """No time need pass for it."""
    for number in range(BATCH_SIZE):
        _complete(journal, number)
    assert until(lambda: _written(clients)) == BATCH_SIZE
    journal.close()
    assert clients.table.writes == 1


def test_outcomes_that_fill_no_request_are_written_after_some_seconds(clients: FakeClients, journal: Journal) -> None:
    """What the process would take with it, if it were killed, is seconds old at most."""
    _complete(journal, 0)
    clients.clock.advance(4.9)
    _complete(journal, 1)
    clients.clock.advance(0.1)
    _complete(journal, 2)
    assert until(lambda: _written(clients)) == 3
    assert clients.table.writes == 1
    _complete(journal, 3)
    clients.clock.advance(4.9)
    _complete(journal, 4)
    journal.close()
    assert _written(clients) == 5
    assert clients.table.writes == 2


def test_no_thread_outlives_the_visit(journal: Journal) -> None:
    """The process goes on, with other visits."""
    _complete(journal, 0)
    journal.close()
    assert [each.name for each in threading.enumerate() if each.name.startswith(("intents", "outcomes"))] == []


def test_an_intent_is_missing_where_a_later_look_found_or_wants_something_else(journal: Journal) -> None:
    """Either alone: what is set back later is what was there before the change, and as it was wanted."""
    same = _plan(an_instance(1))
    others = [
        _plan(an_instance(1, replace(V1_ALLOWED, http_put_response_hop_limit=3))),
        _plan(an_instance(1), replace(V2_ONLY, http_put_response_hop_limit=5)),
        _plan(an_instance(BATCH_SIZE)),
    ]
    assert journal.missing([same, *others]) == others


@pytest.mark.parametrize("taken", [True, False])
def test_what_an_instance_shows_is_the_changes_doing_only_if_ec2_took_it(
    clients: FakeClients, journal: Journal, *, taken: bool
) -> None:
    """Who required tokens and then switched the service off must not find it undone as if it were the enforcer's."""
    off = replace(V2_ONLY, http_endpoint=Switch.DISABLED)
    if taken:
        journal.taken(an_id(1))
    journal.complete(result_of(an_instance(1), Outcome.SKIPPED, "the metadata service is off", after=off))
    journal.close()
    (entry,) = clients.records.entries_of(an_id(1))
    assert entry.after == (off if taken else None)
    assert (entry.result is not None) is taken


@pytest.fixture
def slow(clients: FakeClients) -> Iterator[threading.Event]:
    """Once it is set, the first write goes on; the others do not wait for it."""
    released, numbers = threading.Event(), itertools.count()

    def hold_up(_: Sequence[Item]) -> None:
        if next(numbers) == 0:
            released.wait(10)

    clients.table.before_write = hold_up
    yield released
    released.set()


def test_an_outcome_is_never_written_before_its_intent(
    clients: FakeClients, journal: Journal, slow: threading.Event
) -> None:
    """The intent would stand in its place, as if the change were still under way."""
    journal.intend([_plan(an_instance(BATCH_SIZE))])
    with ThreadPoolExecutor(1) as pool:
        completing = pool.submit(_complete, journal, BATCH_SIZE)
        wait([completing], timeout=_LONG_ENOUGH_TO_BE_WRONG)
        slow.set()
        completing.result()
    journal.close()
    assert [entry.outcome for entry in clients.records.entries_of(an_id(BATCH_SIZE))] == [Outcome.REMEDIATED]


def test_what_is_intended_anew_is_never_overtaken_by_what_was_intended_before(
    clients: FakeClients, journal: Journal, slow: threading.Event
) -> None:
    """What is set back later is what was there when the change was made."""
    found = replace(V1_ALLOWED, http_put_response_hop_limit=3)
    journal.intend([_plan(an_instance(BATCH_SIZE))])
    with ThreadPoolExecutor(1) as pool:
        anew = pool.submit(journal.intend, [_plan(an_instance(BATCH_SIZE, found))])
        wait([anew], timeout=_LONG_ENOUGH_TO_BE_WRONG)
        slow.set()
        anew.result()
    journal.close()
    assert [entry.before for entry in clients.records.entries_of(an_id(BATCH_SIZE))] == [found]
