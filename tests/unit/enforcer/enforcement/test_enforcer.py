from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.aws.boto import MAX_CONNECTIONS
from imds_enforcer.model import Change, HttpTokens, InstanceState, Outcome, Switch
from imds_enforcer.policy import Mode
from tests.fakes.clients import an_enforcer
from tests.fakes.examples import (
    IMDS_OFF,
    NOT_FOUND,
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

if TYPE_CHECKING:
    from imds_enforcer.enforcement.enforcer import Enforcer
    from imds_enforcer.model import Failure, Instance, Result
    from imds_enforcer.policy import Policy
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2

REQUIRE = Change(http_tokens=HttpTokens.REQUIRED)


def _enforcer(ec2: FakeEc2, clock: FakeClock, policy: Policy | None = None, seconds: float = 1_000) -> Enforcer:
    return an_enforcer(ec2, clock, policy or a_policy(), seconds=seconds)


def _by_id(results: list[Result]) -> dict[str, Result]:
    by_id = {result.instance_id: result for result in results}
    assert len(by_id) == len(results), "one result an instance"
    return by_id


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send changes one after the other, so that a test knows which of them came late."""
    monkeypatch.setattr("imds_enforcer.enforcement.remediation.MAX_CONNECTIONS", 1)


def test_an_instance_that_differs_is_changed_and_read_back(ec2: FakeEc2, clock: FakeClock) -> None:
    """The result has the options before and after, and the reason."""
    observed = ec2.launch(an_instance())
    (result,) = _enforcer(ec2, clock).enforce(observed)
    assert ec2.modified == [(an_id(), REQUIRE)]
    assert ec2.actual(an_id()).options == V2_ONLY
    assert (result.outcome, result.reason) == (Outcome.REMEDIATED, "HttpTokens is optional, not required")
    assert (result.instance_id, result.region) == (an_id(), "eu-west-1")
    assert (result.before, result.after, result.failure) == (V1_ALLOWED, V2_ONLY, None)


def test_no_instances_cost_no_call(ec2: FakeEc2, clock: FakeClock) -> None:
    """And give no result."""
    assert list(_enforcer(ec2, clock).enforce([])) == []
    assert ec2.calls == []


@pytest.mark.parametrize(
    ("instance", "outcome", "reason"),
    [
        (an_instance(1, V2_ONLY), Outcome.COMPLIANT, "HttpTokens is required, all options match the policy"),
        (an_instance(1, IMDS_OFF), Outcome.SKIPPED, "the metadata service is off, which satisfies every policy"),
        (an_instance(state=InstanceState.TERMINATED), Outcome.SKIPPED, "the instance is terminated"),
        (an_instance(managed_by="eks"), Outcome.SKIPPED, "managed by eks: the account cannot change it"),
        (an_instance(tags={"legacy": ""}), Outcome.EXEMPT, "exempt: legacy SDK"),
    ],
)
def test_an_instance_that_needs_no_change_costs_no_call(
    ec2: FakeEc2, clock: FakeClock, instance: Instance, outcome: Outcome, reason: str
) -> None:
    """It still has a result with a reason."""
    policy = a_policy(exemptions=(an_exemption(tag_key="legacy"),))
    (result,) = _enforcer(ec2, clock, policy).enforce(ec2.launch(instance))
    assert (result.outcome, result.reason) == (outcome, reason)
    assert result.before == result.after == instance.options
    assert ec2.calls == []


def test_audit_mode_writes_nothing_and_reports_the_planned_change(ec2: FakeEc2, clock: FakeClock) -> None:
    """It makes no call, and shows the options as they would be."""
    observed = ec2.launch(an_instance(1), an_instance(2, V2_ONLY))
    policy = a_policy(mode=Mode.AUDIT, http_put_response_hop_limit=2)
    results = _by_id(list(_enforcer(ec2, clock, policy).enforce(observed)))
    would = results[an_id(1)]
    assert would.outcome is Outcome.WOULD_REMEDIATE
    assert would.reason == "HttpTokens is optional, not required, HttpPutResponseHopLimit is 1, not 2"
    assert (would.before, would.after) == (V1_ALLOWED, replace(V2_ONLY, http_put_response_hop_limit=2))
    assert ec2.calls == []


def test_one_failing_instance_does_not_stop_the_others(ec2: FakeEc2, clock: FakeClock) -> None:
    """Only its own result has the failure, with EC2's code."""
    observed = ec2.launch(*map(an_instance, range(20)))
    ec2.modify_errors[an_id(3)] = [UNAUTHORIZED]
    results = _by_id(list(_enforcer(ec2, clock).enforce(observed)))
    failed = results.pop(an_id(3))
    assert (failed.outcome, failed.failure) == (Outcome.FAILED, UNAUTHORIZED)
    assert failed.reason == "UnauthorizedOperation: EC2 said so"
    assert failed.before == V1_ALLOWED
    assert len(results) == 19
    assert {result.outcome for result in results.values()} == {Outcome.REMEDIATED}
    assert ec2.actual(an_id(3)).options == V1_ALLOWED


@pytest.mark.parametrize("failure", [UNAUTHORIZED, NOT_FOUND, WRONG_STATE])
def test_a_refusal_is_not_retried_here(ec2: FakeEc2, clock: FakeClock, failure: Failure) -> None:
    """Retries are up to the queue or the next sweep."""
    observed = ec2.launch(an_instance())
    ec2.modify_errors[an_id()] = [failure]
    (result,) = _enforcer(ec2, clock).enforce(observed)
    assert (result.outcome, result.failure) == (Outcome.FAILED, failure)
    assert ec2.calls == ["ModifyInstanceMetadataOptions"]
    assert clock.pauses == []


def test_changes_are_sent_in_parallel(ec2: FakeEc2, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many at once as a client has connections: in sequence, each would wait for all before it."""
    observed = ec2.launch(*map(an_instance, range(MAX_CONNECTIONS)))
    meeting = threading.Barrier(MAX_CONNECTIONS)
    modify = ec2.modify

    def meet(instance_id: str, change: Change) -> None:
        meeting.wait(timeout=10)
        modify(instance_id, change)

    monkeypatch.setattr(ec2, "modify", meet)
    results = list(_enforcer(ec2, clock).enforce(observed))
    assert {result.outcome for result in results} == {Outcome.REMEDIATED}


def test_a_large_fleet_is_read_back_two_hundred_at_a_time(ec2: FakeEc2, clock: FakeClock) -> None:
    """One request can name no more."""
    observed = ec2.launch(*map(an_instance, range(450)))
    results = _by_id(list(_enforcer(ec2, clock).enforce(observed)))
    assert len(results) == 450
    assert max(len(ids) for ids in ec2.reads) == 200
    assert len(ec2.reads) < 15
    assert len(ec2.modified) == 450


def test_an_observation_is_good_for_ten_seconds(ec2: FakeEc2, clock: FakeClock) -> None:
    """It is not renewed before the change."""
    observed = ec2.launch(an_instance())
    clock.advance(10)
    list(_enforcer(ec2, clock).enforce(observed))
    assert ec2.calls == ["ModifyInstanceMetadataOptions", "DescribeInstances"]


def test_older_observations_are_read_again_in_one_batch(ec2: FakeEc2, clock: FakeClock) -> None:
    """And decided again before anything is changed."""
    observed = ec2.launch(*map(an_instance, range(5)))
    clock.advance(10.1)
    results = list(_enforcer(ec2, clock).enforce(observed))
    assert ec2.calls[0] == "DescribeInstances"
    assert ec2.reads[0] == [an_id(number) for number in range(5)]
    assert {result.outcome for result in results} == {Outcome.REMEDIATED}


@pytest.mark.usefixtures("one_at_a_time")
def test_an_endpoint_that_was_switched_off_meanwhile_stays_off(ec2: FakeEc2, clock: FakeClock) -> None:
    """A change would switch it on: slow changes before it make its observation too old."""
    observed = ec2.launch(*map(an_instance, range(8)))
    ec2.modify_seconds = 3
    clock.at(8, lambda: ec2.set_options(an_id(6), http_endpoint=Switch.DISABLED))
    results = _by_id(list(_enforcer(ec2, clock).enforce(observed)))
    assert ec2.actual(an_id(6)).options == IMDS_OFF
    assert results[an_id(6)].outcome is Outcome.SKIPPED
    assert results[an_id(6)].reason == "the metadata service is off, which satisfies every policy"
    others = [result.outcome for instance_id, result in results.items() if instance_id != an_id(6)]
    assert others == [Outcome.REMEDIATED] * 7
    assert set(ec2.reads[0]) == set(map(an_id, range(8))), "what is too old is read again, and the others read back"


@pytest.mark.usefixtures("one_at_a_time")
def test_an_instance_that_someone_else_changed_meanwhile_is_decided_again(ec2: FakeEc2, clock: FakeClock) -> None:
    """The other's change is not overwritten; the enforcer's is computed for the options now there."""
    first, second = ec2.launch(an_instance(1), an_instance(2))
    ec2.set_options(an_id(1), http_tokens=HttpTokens.REQUIRED)
    ec2.set_options(an_id(2), http_put_response_hop_limit=2)
    clock.advance(60)
    policy = a_policy(http_put_response_hop_limit=2)
    results = _by_id(list(_enforcer(ec2, clock, policy).enforce([first, second])))
    assert ec2.modified == [
        (an_id(1), replace(REQUIRE, http_put_response_hop_limit=2)),
        (an_id(2), REQUIRE),
    ]
    assert results[an_id(1)].before == V2_ONLY
    assert results[an_id(2)].reason == "HttpTokens is optional, not required"


def test_an_instance_that_is_no_longer_listed_is_unknown(ec2: FakeEc2, clock: FakeClock) -> None:
    """The queue or the sweep decides what that means."""
    observed = ec2.launch(an_instance())
    ec2.forget(an_id())
    clock.advance(11)
    (result,) = _enforcer(ec2, clock).enforce(observed)
    assert result.outcome is Outcome.FAILED
    assert result.failure is not None
    assert result.failure.code == "InvalidInstanceID.NotFound"
    assert result.failure.may_work_later
    assert ec2.modified == []


@pytest.mark.parametrize(
    ("failure", "outcome", "reason"),
    [
        (UNAUTHORIZED, Outcome.FAILED, str(UNAUTHORIZED)),
        (
            THROTTLED,
            Outcome.DEFERRED,
            f"out of time, and the instance could not be read ({THROTTLED}); HttpTokens is optional, not required",
        ),
    ],
)
def test_an_instance_that_cannot_be_read_again_is_not_changed(
    ec2: FakeEc2, clock: FakeClock, failure: Failure, outcome: Outcome, reason: str
) -> None:
    """Only old observations are affected; fresh ones are acted on. A failure that may pass fails no instance."""
    old = ec2.launch(an_instance(1))
    clock.advance(11)
    fresh = ec2.launch(an_instance(2))
    ec2.read_errors = dict.fromkeys(range(1, 500), failure)
    results = _by_id(list(_enforcer(ec2, clock, seconds=60).enforce(old + fresh)))
    old_one = results[an_id(1)]
    assert (old_one.outcome, old_one.failure, old_one.reason) == (outcome, failure, reason)
    assert (results[an_id(2)].outcome, results[an_id(2)].failure) == (Outcome.PENDING, failure)
    assert ec2.modified_ids == [an_id(2)]


def test_when_every_instance_has_its_result_the_run_ends_at_once(ec2: FakeEc2, clock: FakeClock) -> None:
    """Even after a failed look."""
    observed = ec2.launch(an_instance())
    clock.advance(11)
    ec2.read_errors = {1: UNAUTHORIZED}
    (result,) = _enforcer(ec2, clock).enforce(observed)
    assert result.failure == UNAUTHORIZED
    assert clock.pauses == []


def test_a_failed_look_is_repeated(ec2: FakeEc2, clock: FakeClock) -> None:
    """While time remains: every change depends on a look."""
    observed = ec2.launch(an_instance())
    clock.advance(11)
    ec2.read_errors = {1: THROTTLED, 2: SERVER_FAULT}
    (result,) = _enforcer(ec2, clock).enforce(observed)
    assert (result.outcome, result.failure) == (Outcome.REMEDIATED, None)
    assert clock.pauses == [2, 2]


@pytest.mark.usefixtures("one_at_a_time")
def test_no_change_is_begun_after_the_deadline(ec2: FakeEc2, clock: FakeClock) -> None:
    """The others wait for the next run; the reason names the planned change."""
    observed = ec2.launch(*map(an_instance, range(6)))
    ec2.modify_seconds = 2
    results = _by_id(list(_enforcer(ec2, clock, seconds=5).enforce(observed)))
    assert ec2.modified_ids == [an_id(0), an_id(1), an_id(2)]
    deferred = results[an_id(3)]
    assert deferred.outcome is Outcome.DEFERRED
    assert deferred.reason == "out of time; HttpTokens is optional, not required"
    assert [result.outcome for result in results.values()].count(Outcome.DEFERRED) == 3
    assert results[an_id(0)].outcome is Outcome.REMEDIATED, "what was begun is read back"


def test_after_the_deadline_no_instance_is_read_again(ec2: FakeEc2, clock: FakeClock) -> None:
    """No change could follow."""
    observed = ec2.launch(an_instance())
    clock.advance(60)
    (result,) = _enforcer(ec2, clock, seconds=0).enforce(observed)
    assert result.outcome is Outcome.DEFERRED
    assert ec2.calls == []


def test_looks_that_are_always_too_slow_end_at_the_deadline(ec2: FakeEc2, clock: FakeClock) -> None:
    """They do not go on for ever."""
    observed = ec2.launch(an_instance())
    clock.advance(11)
    ec2.read_seconds = 15
    (result,) = _enforcer(ec2, clock, seconds=60).enforce(observed)
    assert result.outcome is Outcome.DEFERRED
    assert ec2.modified == []
    assert len(ec2.reads) == 4
