from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import Outcome, Result
from imds_enforcer.runs.retry import MAX_RECEIVES, finalize_event, finalize_sweep, retry_delay, wants_retry
from tests.fakes.examples import (
    DENIED_BY_SCP,
    HOME,
    NOT_FOUND,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V1_ALLOWED,
    a_failure,
    an_id,
)

if TYPE_CHECKING:
    from imds_enforcer.model import Failure

WRONG_STATE = a_failure("IncorrectInstanceState")
PASSING = [THROTTLED, SERVER_FAULT, NOT_FOUND, WRONG_STATE]
FINAL = [UNAUTHORIZED, DENIED_BY_SCP]


def _result(outcome: Outcome, failure: Failure | None = None) -> Result:
    return Result(
        instance_id=an_id(), region=HOME, outcome=outcome, reason="as it was", before=V1_ALLOWED, failure=failure
    )


def _finalized(failure: Failure | None, *, age: float = 1, receives: int = 1) -> Result:
    return finalize_event(_result(Outcome.FAILED, failure), age=age, receives=receives, gone_after=600)


def test_the_delay_doubles_and_ends_at_five_minutes() -> None:
    """Twelve deliveries take about half an hour."""
    delays = [retry_delay(receives) for receives in range(1, MAX_RECEIVES + 1)]
    assert delays == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300]


def _waiting(*turns: float | None) -> list[Result]:
    return [replace(_result(Outcome.DEFERRED), look_again_in=turn) for turn in turns]


@pytest.mark.parametrize(
    ("turns", "delay"),
    [
        ([120.0], 120),
        ([0.2], 1),
        ([119.001], 120),
        ([900.0], 900),
        ([240.0, 30.0, 899.0], 30),
        ([], 40),
        ([None], 40),
        # For one of them the time of the next look is unknown: it may be soon.
        ([240.0, None], 40),
        ([None, 5.0], 40),
    ],
)
def test_a_message_comes_back_at_the_earliest_known_time(turns: list[float | None], delay: int) -> None:
    """Not a second earlier, or it would come back once more; after the usual delay if a time is unknown."""
    assert retry_delay(4, _waiting(*turns)) == delay


def test_a_known_time_does_not_depend_on_the_number_of_deliveries() -> None:
    """The instance waits for that time only."""
    assert {retry_delay(receives, _waiting(77)) for receives in range(1, MAX_RECEIVES + 1)} == {77}


def test_an_instance_left_to_the_sweep_brings_no_message_back() -> None:
    """The sweep finds the instance itself."""
    deferred = _result(Outcome.DEFERRED)
    assert wants_retry(deferred)
    assert not wants_retry(replace(deferred, left_to_sweep=True))


@pytest.mark.parametrize("failure", PASSING)
@pytest.mark.parametrize("receives", [1, 11])
def test_a_failure_that_may_pass_goes_back_to_the_queue(failure: Failure, receives: int) -> None:
    """The reason names the error."""
    result = _finalized(failure, receives=receives)
    assert result.outcome is Outcome.DEFERRED
    assert result.reason == f"{failure}; the queue tries again"
    assert result.failure is failure
    assert result.before is V1_ALLOWED
    assert wants_retry(result)


@pytest.mark.parametrize("failure", PASSING)
def test_the_twelfth_delivery_is_the_last(failure: Failure) -> None:
    """The instance has failed; its message comes back once more and so reaches the dead-letter queue."""
    result = _finalized(failure, receives=12)
    assert result.outcome is Outcome.FAILED
    assert result.failure is failure
    assert wants_retry(result)


@pytest.mark.parametrize("failure", FINAL)
def test_a_final_failure_is_reported_and_its_message_acknowledged(failure: Failure) -> None:
    """A retry would get the same answer."""
    result = _finalized(failure)
    assert result == _result(Outcome.FAILED, failure)
    assert not wants_retry(result)


@pytest.mark.parametrize(
    ("age", "outcome"), [(0, Outcome.DEFERRED), (599.9, Outcome.DEFERRED), (600, Outcome.GONE), (1e6, Outcome.GONE)]
)
def test_an_instance_still_unknown_ten_minutes_after_its_event_is_gone(age: float, outcome: Outcome) -> None:
    """Until then EC2 may just not show it yet."""
    result = _finalized(NOT_FOUND, age=age)
    assert result.outcome is outcome
    assert wants_retry(result) == (outcome is Outcome.DEFERRED)


def test_gone_is_no_failure_even_at_the_last_delivery() -> None:
    """Its message is acknowledged and does not reach the dead-letter queue."""
    result = _finalized(NOT_FOUND, age=601.4, receives=12)
    assert result.outcome is Outcome.GONE
    assert result.reason == "EC2 still does not know the instance 601 s after its event"
    assert not wants_retry(result)


@pytest.mark.parametrize("failure", [THROTTLED, SERVER_FAULT, WRONG_STATE])
def test_only_an_unknown_instance_can_be_gone(failure: Failure) -> None:
    """An old event about an existing instance still counts."""
    assert _finalized(failure, age=10_000).outcome is Outcome.DEFERRED


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.FAILED])
def test_other_outcomes_stay(outcome: Outcome) -> None:
    """A change that EC2 accepted is not sent again because its read-back was throttled."""
    result = _result(outcome, THROTTLED)
    assert finalize_event(result, age=1e6, receives=12, gone_after=600) is result
    assert finalize_sweep(result) is result
    assert wants_retry(result) == (outcome is Outcome.DEFERRED)


def test_a_failure_without_an_aws_error_stays() -> None:
    """Nothing suggests that a retry would help."""
    result = _finalized(None)
    assert result == _result(Outcome.FAILED)
    assert finalize_sweep(result) is result
    assert not wants_retry(result)


@pytest.mark.parametrize("failure", [THROTTLED, WRONG_STATE])
def test_the_next_sweep_retries(failure: Failure) -> None:
    """What the next sweep retries raises no alarm."""
    result = finalize_sweep(_result(Outcome.FAILED, failure))
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, f"{failure}; the next sweep tries again")


def test_an_instance_that_vanished_during_a_sweep_is_gone() -> None:
    """EC2 listed it a moment ago, so this is not eventual consistency."""
    result = finalize_sweep(_result(Outcome.FAILED, NOT_FOUND))
    assert (result.outcome, result.reason) == (Outcome.GONE, "the instance vanished after EC2 listed it")


@pytest.mark.parametrize("failure", [SERVER_FAULT, *FINAL])
def test_other_failures_of_a_sweep_are_failures(failure: Failure) -> None:
    """Operators should hear of them."""
    result = _result(Outcome.FAILED, failure)
    assert finalize_sweep(result) is result
