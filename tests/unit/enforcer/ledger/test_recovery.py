from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.ledger.recovery import completed, left_behind
from imds_enforcer.model import InstanceState, OptionsState, Outcome
from tests.fakes.clock import START
from tests.fakes.entries import an_entry, an_intent
from tests.fakes.examples import V1_ALLOWED, V2_ONLY, an_id, an_instance

if TYPE_CHECKING:
    from imds_enforcer.model import Instance, MetadataOptions

INTENT = an_intent(reason="why it was to be")
ENDED = "the process that was to make the change ended before it recorded the outcome"
V2_COMING = replace(V2_ONLY, state=OptionsState.PENDING)


def test_an_intent_is_left_behind_once_its_process_is_surely_gone() -> None:
    """Until then the process may still be at work on it."""
    other = an_intent(2, ends_at=INTENT.ends_at + timedelta(seconds=1))
    moment = timedelta(microseconds=1)
    assert left_behind([INTENT, other], INTENT.ends_at - moment) == []
    assert left_behind([INTENT, other], INTENT.ends_at) == [INTENT]
    assert left_behind([INTENT, other], other.ends_at) == [INTENT, other]


@pytest.mark.parametrize("outcome", Outcome)
def test_an_entry_with_an_outcome_is_not_left_behind(outcome: Outcome) -> None:
    """However old it is: the index that lists open intents may be late."""
    assert left_behind([an_entry(outcome=outcome)], START + timedelta(days=9)) == []


@pytest.mark.parametrize(
    ("shown", "outcome", "after"),
    [(V2_ONLY, Outcome.REMEDIATED, V2_ONLY), (V2_COMING, Outcome.PENDING, V2_COMING)],
)
def test_an_instance_that_shows_what_was_wanted_was_changed(
    shown: MetadataOptions, outcome: Outcome, after: MetadataOptions
) -> None:
    """So the change can be undone like any other."""
    entry = completed(INTENT, {an_id(): an_instance(options=shown)})
    reason = f"{ENDED}; the instance has the changed options; why it was to be"
    assert entry == replace(INTENT, outcome=outcome, after=after, reason=reason)
    assert entry.result == after


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (V1_ALLOWED, "the instance does not have the changed options"),
        (replace(V1_ALLOWED, state=OptionsState.PENDING), "the instance does not have the changed options"),
        (
            replace(V2_ONLY, http_put_response_hop_limit=9),
            "the instance has options that someone else has set since",
        ),
        (None, "EC2 returned unrecognized metadata options"),
    ],
)
def test_an_instance_that_shows_anything_else_is_left_to_the_sweep(shown: MetadataOptions | None, why: str) -> None:
    """The entry claims no change that was not seen, and has nothing to undo."""
    entry = completed(INTENT, {an_id(): an_instance(options=shown)})
    assert entry == replace(INTENT, outcome=Outcome.DEFERRED, reason=f"{ENDED}; {why}; why it was to be")
    assert entry.result is None


@pytest.mark.parametrize(
    "seen",
    [
        {},
        {an_id(2): an_instance(2, V2_ONLY)},
        {an_id(): an_instance(options=V2_ONLY, state=InstanceState.TERMINATED)},
        {an_id(): an_instance(options=V1_ALLOWED, state=InstanceState.SHUTTING_DOWN)},
    ],
)
def test_an_instance_that_ended_in_the_meantime_is_gone(seen: dict[str, Instance]) -> None:
    """Whatever options EC2 still shows."""
    reason = f"{ENDED}, and the instance is gone; why it was to be"
    assert completed(INTENT, seen) == replace(INTENT, outcome=Outcome.GONE, reason=reason)


def test_of_several_later_runs_the_first_decides() -> None:
    """What the second one found is the work of the first."""
    found_as_it_was = an_intent(run_id="run-2", at=START + timedelta(minutes=1))
    found_changed = an_intent(run_id="run-3", at=START + timedelta(minutes=2), before=V2_ONLY)
    entry = completed(INTENT, {an_id(): an_instance(options=V2_ONLY)}, [found_changed, INTENT, found_as_it_was])
    assert (entry.outcome, entry.result) == (Outcome.DEFERRED, None)
    assert "the later run run-2 found that the change had not been made" in entry.reason


def test_other_options_than_wanted_are_not_the_work_of_the_interrupted_run() -> None:
    """Someone required tokens and set another hop limit than was wanted: there is nothing to undo."""
    others = replace(V2_ONLY, http_put_response_hop_limit=9)
    later = an_intent(run_id="run-2", at=START + timedelta(minutes=1), before=others)
    entry = completed(INTENT, {an_id(): an_instance(options=others)}, [INTENT, later])
    assert (entry.outcome, entry.after, entry.result) == (Outcome.DEFERRED, None, None)


def test_a_change_that_a_later_run_found_made_can_be_undone() -> None:
    """Its result is what that run found, not what the instance shows now."""
    later = an_intent(run_id="run-2", at=START + timedelta(minutes=1), before=V2_COMING)
    entry = completed(INTENT, {an_id(): an_instance(options=V1_ALLOWED)}, [INTENT, later])
    reason = f"{ENDED}; the later run run-2 found that the change had been made; why it was to be"
    assert entry == replace(INTENT, outcome=Outcome.REMEDIATED, after=V2_COMING, reason=reason)
    assert entry.result == V2_COMING
