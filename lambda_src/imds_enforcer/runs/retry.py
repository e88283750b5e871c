"""What is retried, when, and when the retries end."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from imds_enforcer.model import Failure, Kind, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_RECEIVES = 12
"""Deliveries before the event queue moves a message to its dead-letter queue; the stack sets the same number."""

_FIRST_DELAY_SECONDS = 5
_MAX_DELAY_SECONDS = 300


def retry_delay(receives: int, waiting: Iterable[Result] = ()) -> int:
    """Seconds until a message is delivered again: doubled each time, five minutes at most.

    If every one of the `waiting` results says when to look again, the delay is the earliest of these times instead.
    """
    turns = [result.look_again_in for result in waiting]
    known = [turn for turn in turns if turn is not None]
    if known and len(known) == len(turns):
        return math.ceil(min(known))
    return min(_FIRST_DELAY_SECONDS << (receives - 1), _MAX_DELAY_SECONDS)


def finalize_event(result: Result, *, age: float, receives: int, gone_after: float) -> Result:
    """The outcome of an instance that an event named `age` seconds ago.

    Right after a launch, EC2 may not know the instance yet, or may refuse to change it (EC2
    Developer Guide, "Eventual consistency"): the queue tries again. An instance that EC2 still
    does not know after `gone_after` seconds is gone.
    """
    failure = result.failure
    if result.outcome is not Outcome.FAILED or failure is None or not failure.may_work_later:
        return result
    if failure.kind is Kind.UNKNOWN_INSTANCE and age >= gone_after:
        reason = f"EC2 still does not know the instance {age:.0f} s after its event"
        return replace(result, outcome=Outcome.GONE, reason=reason)
    if receives < MAX_RECEIVES:
        return _deferred(result, failure, "the queue tries again")
    return result


def finalize_sweep(result: Result) -> Result:
    """The outcome of an instance that a sweep found; the next sweep is its retry."""
    failure = result.failure
    if result.outcome is not Outcome.FAILED or failure is None:
        return result
    match failure.kind:
        case Kind.UNKNOWN_INSTANCE:
            return replace(result, outcome=Outcome.GONE, reason="the instance vanished after EC2 listed it")
        case Kind.THROTTLED | Kind.WRONG_STATE:
            return _deferred(result, failure, "the next sweep tries again")
        case Kind.UNAVAILABLE | Kind.CREDENTIALS | Kind.REGION | Kind.FINAL:
            return result
        case _:
            assert_never(failure.kind)


def wants_retry(result: Result) -> bool:
    """True if the message that named the instance must come back."""
    if result.outcome is Outcome.DEFERRED:
        return not result.left_to_sweep
    return result.outcome is Outcome.FAILED and result.failure is not None and result.failure.may_work_later


def _deferred(result: Result, failure: Failure, what_follows: str) -> Result:
    return replace(result, outcome=Outcome.DEFERRED, reason=f"{failure}; {what_follows}")
