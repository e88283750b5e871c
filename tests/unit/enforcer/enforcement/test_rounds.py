"""Changes that EC2 throttles or does not answer: when they are sent again, and on which observation."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.enforcement.attempt import MAX_OBSERVATION_AGE
from imds_enforcer.model import InstanceState, Outcome, Switch
from tests.fakes.clients import an_enforcer
from tests.fakes.examples import (
    IMDS_OFF,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    a_policy,
    an_id,
    an_instance,
)

if TYPE_CHECKING:
    from imds_enforcer.model import Failure, Instance, Result
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2

WHY = "HttpTokens is optional, not required"
MODIFY, READ = "ModifyInstanceMetadataOptions", "DescribeInstances"


@pytest.fixture(autouse=True)
def _one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send changes one after the other: with several threads on one clock, ages would be unclear."""
    monkeypatch.setattr("imds_enforcer.enforcement.remediation.MAX_CONNECTIONS", 1)


def _enforce(ec2: FakeEc2, clock: FakeClock, observed: list[Instance], seconds: float = 2_000) -> dict[str, Result]:
    enforcer = an_enforcer(ec2, clock, a_policy(), seconds=seconds)
    results = list(enforcer.enforce(observed))
    by_id = {result.instance_id: result for result in results}
    assert len(by_id) == len(results), "one result an instance"
    return by_id


@pytest.mark.parametrize("seconds", [0, 0.7, 3, 9.9, 13])
@pytest.mark.parametrize(
    "failures",
    [[], [THROTTLED] * 4, [SERVER_FAULT] * 2, [SERVER_FAULT, THROTTLED, SERVER_FAULT, THROTTLED]],
    ids=["answered", "throttled", "unanswered", "both"],
)
def test_no_change_leaves_on_an_observation_older_than_ten_seconds(
    ec2: FakeEc2, clock: FakeClock, failures: list[Failure], seconds: float
) -> None:
    """This holds however slow EC2 is, and however often a change must be sent."""
    observed = ec2.launch(*map(an_instance, range(8)))
    ec2.modify_seconds, ec2.read_seconds = seconds, 1
    for instance in observed:
        ec2.modify_errors[instance.instance_id] = list(failures)
    results = _enforce(ec2, clock, observed)
    assert {result.outcome for result in results.values()} == {Outcome.REMEDIATED}
    assert Counter(ec2.sent_ids) == {instance.instance_id: len(failures) + 1 for instance in observed}
    assert max(age for _, age in ec2.sent) <= MAX_OBSERVATION_AGE == 10


def test_a_throttled_change_is_sent_again_once_the_bucket_has_a_token(ec2: FakeEc2, clock: FakeClock) -> None:
    """A fresh observation need not be renewed: a throttled request changed nothing."""
    ec2.modify_errors[an_id()] = [THROTTLED] * 2
    (result,) = _enforce(ec2, clock, ec2.launch(an_instance())).values()
    assert (result.outcome, result.reason, result.failure) == (Outcome.REMEDIATED, WHY, None)
    assert ec2.calls == [MODIFY, MODIFY, MODIFY, READ]
    assert clock.pauses == pytest.approx([0.4, 0.4], rel=0.1)


def test_the_rest_of_a_round_waits_with_a_throttled_change(ec2: FakeEc2, clock: FakeClock) -> None:
    """The limit is the account's: more requests would only keep the bucket empty."""
    ec2.modify_errors[an_id(2)] = [THROTTLED]
    results = _enforce(ec2, clock, ec2.launch(*map(an_instance, range(1, 5))))
    assert ec2.sent_ids == [an_id(number) for number in (1, 2, 3, 4, 2)]
    assert len(clock.pauses) == 3, "each waits for its own token"
    assert {result.outcome for result in results.values()} == {Outcome.REMEDIATED}


def test_a_throttled_change_goes_to_the_end_of_the_line(ec2: FakeEc2, clock: FakeClock) -> None:
    """A change that EC2 always refuses must not take every new token."""
    ec2.modify_errors[an_id(1)] = [THROTTLED] * 100
    results = _enforce(ec2, clock, ec2.launch(*map(an_instance, range(1, 5))), seconds=30)
    assert ec2.sent_ids[:5] == [an_id(number) for number in (1, 2, 3, 4, 1)]
    assert [result.outcome for result in results.values()].count(Outcome.REMEDIATED) == 3


def test_at_the_deadline_a_throttled_change_has_ec2s_code(ec2: FakeEc2, clock: FakeClock) -> None:
    """Queue and sweep turn it into DEFERRED."""
    ec2.modify_errors[an_id()] = [THROTTLED] * 100
    (result,) = _enforce(ec2, clock, ec2.launch(an_instance()), seconds=25).values()
    assert (result.outcome, result.reason) == (Outcome.FAILED, str(THROTTLED))
    assert (result.before, result.after, result.failure) == (V1_ALLOWED, None, THROTTLED)
    assert max(clock.pauses) <= 4, "the pace never falls to nothing"
    assert 10 < len(ec2.sent) < 30, "nor are requests wasted"
    assert clock.elapsed == pytest.approx(25, abs=4)


def test_a_service_switched_off_while_a_change_was_throttled_stays_off(ec2: FakeEc2, clock: FakeClock) -> None:
    """The instance is read again before the attempt that would switch the service on."""
    ec2.modify_errors[an_id()] = [THROTTLED] * 100
    clock.at(10.5, lambda: ec2.set_options(an_id(), http_endpoint=Switch.DISABLED))
    (result,) = _enforce(ec2, clock, ec2.launch(an_instance())).values()
    assert (result.outcome, result.after) == (Outcome.SKIPPED, IMDS_OFF)
    assert ec2.actual(an_id()).options == IMDS_OFF
    assert ec2.calls == [MODIFY] * len(ec2.sent) + [READ]


def test_changes_from_before_the_throttling_are_read_back(ec2: FakeEc2, clock: FakeClock) -> None:
    """Another instance's deadline must not lose their results."""
    ec2.modify_errors[an_id(2)] = [THROTTLED] * 100
    results = _enforce(ec2, clock, ec2.launch(an_instance(1), an_instance(2)), seconds=60)
    assert {instance_id: result.outcome for instance_id, result in results.items()} == {
        an_id(1): Outcome.REMEDIATED,
        an_id(2): Outcome.FAILED,
    }
    assert ec2.modified_ids == [an_id(1)]


def test_an_unanswered_change_is_sent_again_after_another_look(ec2: FakeEc2, clock: FakeClock) -> None:
    """The lost attempt may have made the old observation wrong."""
    ec2.modify_errors[an_id()] = [SERVER_FAULT]
    (result,) = _enforce(ec2, clock, ec2.launch(an_instance())).values()
    assert (result.outcome, result.failure) == (Outcome.REMEDIATED, None)
    assert ec2.calls == [MODIFY, READ, MODIFY, READ]
    assert clock.pauses == [2]


def test_an_unanswered_change_that_ec2_made_is_remediated_and_not_sent_again(ec2: FakeEc2, clock: FakeClock) -> None:
    """COMPLIANT would be wrong: this run changed it."""
    ec2.unanswered = {an_id()}
    (result,) = _enforce(ec2, clock, ec2.launch(an_instance())).values()
    assert (result.outcome, result.reason, result.failure) == (Outcome.REMEDIATED, WHY, None)
    assert (result.before, result.after) == (V1_ALLOWED, V2_ONLY)
    assert ec2.sent_ids == [an_id()]


def test_an_unanswered_change_that_ec2_made_is_verified_like_any_other(ec2: FakeEc2, clock: FakeClock) -> None:
    """The run waits until it is applied, or reports it as pending."""
    ec2.unanswered = {an_id(1), an_id(2)}
    ec2.applied_after = 9
    observed = ec2.launch(an_instance(1), an_instance(2, state=InstanceState.STOPPED))
    results = _enforce(ec2, clock, observed)
    assert results[an_id(1)].outcome is Outcome.REMEDIATED
    assert results[an_id(2)].outcome is Outcome.PENDING
    assert results[an_id(2)].reason == f"the instance is stopped: the change applies at its next start; {WHY}"
    assert clock.elapsed >= 9
    assert ec2.sent_ids == [an_id(1), an_id(2)]


def test_three_unanswered_attempts_are_a_failure(ec2: FakeEc2, clock: FakeClock) -> None:
    """The failure has the last code. Each attempt but the first follows another look."""
    ec2.modify_errors[an_id(1)] = [SERVER_FAULT] * 3
    results = _enforce(ec2, clock, ec2.launch(an_instance(1), an_instance(2)))
    failed = results[an_id(1)]
    assert (failed.outcome, failed.failure, failed.reason) == (Outcome.FAILED, SERVER_FAULT, str(SERVER_FAULT))
    assert results[an_id(2)].outcome is Outcome.REMEDIATED
    assert ec2.sent_ids == [an_id(1), an_id(2), an_id(1), an_id(1)]
    assert ec2.reads == [[an_id(1), an_id(2)], [an_id(1)]], "one look reads back the one and looks up the other"
    assert clock.pauses == [2, 2]


def test_a_refusal_after_an_unanswered_attempt_is_final(ec2: FakeEc2, clock: FakeClock) -> None:
    """The refusal is the answer that the run waits for."""
    ec2.modify_errors[an_id()] = [SERVER_FAULT, UNAUTHORIZED]
    (result,) = _enforce(ec2, clock, ec2.launch(an_instance())).values()
    assert (result.outcome, result.failure) == (Outcome.FAILED, UNAUTHORIZED)
    assert len(ec2.sent) == 2


def test_a_service_switched_off_after_an_unanswered_attempt_stays_off(ec2: FakeEc2, clock: FakeClock) -> None:
    """This holds however fresh the attempt's observation was."""
    ec2.modify_errors[an_id()] = [SERVER_FAULT]
    clock.at(1, lambda: ec2.set_options(an_id(), http_endpoint=Switch.DISABLED))
    (result,) = _enforce(ec2, clock, ec2.launch(an_instance())).values()
    assert (result.outcome, result.after) == (Outcome.SKIPPED, IMDS_OFF)
    assert ec2.actual(an_id()).options == IMDS_OFF
    assert ec2.sent_ids == [an_id()]


def test_an_unanswered_attempt_is_not_repeated_without_a_look(ec2: FakeEc2, clock: FakeClock) -> None:
    """It fails with its own code at the deadline."""
    ec2.modify_errors[an_id()] = [SERVER_FAULT]
    ec2.read_errors = dict.fromkeys(range(1, 100), THROTTLED)
    (result,) = _enforce(ec2, clock, ec2.launch(an_instance()), seconds=30).values()
    assert (result.outcome, result.failure) == (Outcome.FAILED, SERVER_FAULT)
    assert ec2.sent_ids == [an_id()]


def test_an_unanswered_attempt_at_the_deadline_has_failed_with_its_code(ec2: FakeEc2, clock: FakeClock) -> None:
    """This run neither sends the change again nor looks at the instance again; the next run does."""
    ec2.modify_errors[an_id()] = [SERVER_FAULT]
    (result,) = _enforce(ec2, clock, ec2.launch(an_instance()), seconds=2).values()
    assert (result.outcome, result.failure) == (Outcome.FAILED, SERVER_FAULT)
    assert ec2.calls == [MODIFY]


def test_an_outage_of_reads_fails_no_instance_that_was_not_tried(ec2: FakeEc2, clock: FakeClock) -> None:
    """These instances wait for the next run. They have the outage's code."""
    ec2.read_errors = dict.fromkeys(range(1, 900), SERVER_FAULT)
    results = _enforce(ec2, clock, ec2.launch(*map(an_instance, range(500))), seconds=60)
    changed = [result for result in results.values() if result.outcome is Outcome.PENDING]
    deferred = [result for result in results.values() if result.outcome is Outcome.DEFERRED]
    assert len(changed) == len(set(ec2.sent_ids)) > 0
    assert len(deferred) == 500 - len(changed)
    assert {result.failure for result in deferred} == {SERVER_FAULT}


def test_a_caller_that_stops_early_leaves_no_token_taken(ec2: FakeEc2, clock: FakeClock) -> None:
    """Later runs in the same process use the same bucket."""
    observed = ec2.launch(*map(an_instance, range(100)))
    ec2.modify_errors |= {instance.instance_id: [UNAUTHORIZED] for instance in observed}
    results = an_enforcer(ec2, clock, a_policy()).enforce(observed)
    next(iter(results))
    del results
    clock.advance(1_000)
    assert ec2.changes.take(1_000) == 100


def test_the_client_for_changes_is_made_before_the_age_of_an_observation_is_checked(
    ec2: FakeEc2, clock: FakeClock
) -> None:
    """On a cold start with many regions, making it may take long."""
    ec2.prepare_seconds = MAX_OBSERVATION_AGE + 1
    _enforce(ec2, clock, ec2.launch(an_instance()))
    assert [age for _, age in ec2.sent] == [0]
    assert ec2.calls[:2] == [READ, MODIFY]
