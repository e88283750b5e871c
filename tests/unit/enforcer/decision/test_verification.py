"""Success means read back: the outcome of a change that EC2 has accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.model import HttpTokens, InstanceState, Kind, OptionsState, Outcome, Switch
from tests.fakes.clients import an_enforcer
from tests.fakes.examples import IMDS_OFF, SERVER_FAULT, V1_ALLOWED, V2_ONLY, a_policy, an_id, an_instance

if TYPE_CHECKING:
    from imds_enforcer.model import Instance, Result
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2

WHY = "HttpTokens is optional, not required"
UNSEEN = f"EC2 accepted the change but does not show the instance's options; {WHY}"


def _enforce(ec2: FakeEc2, clock: FakeClock, *instances: Instance) -> list[Result]:
    """Enforce the policy; a change has twenty seconds."""
    observed = ec2.launch(*instances)
    enforcer = an_enforcer(ec2, clock, a_policy())
    return list(enforcer.enforce(observed))


def test_a_pending_change_is_waited_for(ec2: FakeEc2, clock: FakeClock) -> None:
    """The instance is remediated when EC2 has applied the change, not when it has accepted it."""
    ec2.applied_after = 3
    (result,) = _enforce(ec2, clock, an_instance())
    assert (result.outcome, result.reason) == (Outcome.REMEDIATED, WHY)
    assert result.after == V2_ONLY
    assert clock.elapsed >= 3


def test_the_first_looks_are_close_together(ec2: FakeEc2, clock: FakeClock) -> None:
    """Most changes are applied within a second; no two looks are more than two seconds apart."""
    ec2.applied_after = 12
    _enforce(ec2, clock, an_instance())
    assert clock.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0, 2.0])


def test_the_time_spent_on_results_counts_towards_the_pause(ec2: FakeEc2, clock: FakeClock) -> None:
    """Logging the results of one look does not delay the next."""
    stopped = an_instance(2, state=InstanceState.STOPPED)
    observed = ec2.launch(an_instance(1), stopped)
    ec2.applied_after = 0.05
    for result in an_enforcer(ec2, clock, a_policy()).enforce(observed):
        if result.instance_id == stopped.instance_id:
            clock.advance(0.03)
    assert clock.pauses == pytest.approx([0.07])


def test_an_instance_with_a_final_outcome_is_not_read_again(ec2: FakeEc2, clock: FakeClock) -> None:
    """One request reads all those that still wait."""
    ec2.applied_after = 1
    stopped = an_instance(2, state=InstanceState.STOPPED)
    _enforce(ec2, clock, an_instance(1), stopped, an_instance(3))
    assert ec2.reads[0] == [an_id(1), an_id(2), an_id(3)]
    assert ec2.reads[-1] == [an_id(1), an_id(3)]


def test_a_change_still_pending_at_the_time_out_is_reported_as_pending(ec2: FakeEc2, clock: FakeClock) -> None:
    """It is neither a success nor a failure."""
    ec2.applied_after = 1_000
    (result,) = _enforce(ec2, clock, an_instance())
    assert (result.outcome, result.reason) == (
        Outcome.PENDING,
        f"EC2 accepted the change but has not applied it yet; {WHY}",
    )
    assert result.after == replace(V2_ONLY, state=OptionsState.PENDING)
    assert result.failure is None
    assert 20 <= clock.elapsed < 23


@pytest.mark.parametrize("state", [InstanceState.STOPPING, InstanceState.STOPPED])
def test_a_change_to_an_instance_at_rest_is_pending_at_once(
    ec2: FakeEc2, clock: FakeClock, state: InstanceState
) -> None:
    """It applies at the next start, and the run does not wait for that."""
    (result,) = _enforce(ec2, clock, an_instance(state=state))
    assert result.outcome is Outcome.PENDING
    assert result.reason == f"the instance is {state}: the change applies at its next start; {WHY}"
    assert clock.pauses == []


def test_a_late_description_is_not_a_difference(ec2: FakeEc2, clock: FakeClock) -> None:
    """EC2 may show the old options for a while."""
    ec2.visible_after = 15
    (result,) = _enforce(ec2, clock, an_instance())
    assert result.outcome is Outcome.REMEDIATED


def test_a_stopped_instance_is_pending_only_once_the_change_shows(ec2: FakeEc2, clock: FakeClock) -> None:
    """Its old options prove nothing."""
    ec2.visible_after = 5
    (result,) = _enforce(ec2, clock, an_instance(state=InstanceState.STOPPED))
    assert result.outcome is Outcome.PENDING
    assert clock.elapsed >= 5


def test_a_difference_that_lasts_is_a_failure(ec2: FakeEc2, clock: FakeClock) -> None:
    """EC2 accepted the change and did not make it; the message has both sets of options in EC2's own words."""
    ec2.ignored = {an_id()}
    (result,) = _enforce(ec2, clock, an_instance())
    assert result.outcome is Outcome.FAILED
    assert result.failure is not None
    assert result.failure.code == "ReadBackDiffers"
    assert not result.failure.may_work_later
    assert result.failure.message == (
        "EC2 accepted {'HttpTokens': 'required', 'HttpEndpoint': 'enabled', 'HttpPutResponseHopLimit': 1, "
        "'HttpProtocolIpv6': 'disabled', 'InstanceMetadataTags': 'disabled', 'State': 'applied'} "
        "but shows {'HttpTokens': 'optional', 'HttpEndpoint': 'enabled', 'HttpPutResponseHopLimit': 1, "
        "'HttpProtocolIpv6': 'disabled', 'InstanceMetadataTags': 'disabled', 'State': 'applied'}"
    )
    assert result.after == V1_ALLOWED
    assert clock.elapsed >= 20


@pytest.mark.parametrize(
    "option",
    [
        {"http_put_response_hop_limit": 5},
        {"http_protocol_ipv6": Switch.ENABLED},
        {"instance_metadata_tags": Switch.ENABLED},
    ],
)
def test_a_difference_in_an_option_that_the_change_did_not_name_is_a_failure(
    ec2: FakeEc2, clock: FakeClock, option: dict[str, Any]
) -> None:
    """The option had to stay as it was; a container may depend on it."""
    ec2.applied_after = 1
    clock.at(0.05, lambda: ec2.set_options(an_id(), **option))
    (result,) = _enforce(ec2, clock, an_instance())
    assert result.outcome is Outcome.FAILED
    assert result.failure is not None
    assert (result.failure.code, result.failure.kind) == ("ReadBackDiffers", Kind.FINAL)
    shown = replace(V2_ONLY, **option)
    assert result.failure.message == f"EC2 accepted {V2_ONLY.as_log()} but shows {shown.as_log()}"
    assert result.after == shown
    assert 20 <= clock.elapsed < 23
    assert ec2.sent_ids == [an_id()]


def test_a_temporary_difference_does_not_count(ec2: FakeEc2, clock: FakeClock) -> None:
    """Only a difference that remains when the time is up counts."""
    ec2.applied_after = 1
    clock.at(0.05, lambda: ec2.set_options(an_id(), http_put_response_hop_limit=5))
    clock.at(10, lambda: ec2.set_options(an_id(), http_put_response_hop_limit=1))
    (result,) = _enforce(ec2, clock, an_instance())
    assert (result.outcome, result.after) == (Outcome.REMEDIATED, V2_ONLY)
    assert 10 <= clock.elapsed < 13


def test_an_endpoint_switched_off_after_the_change_is_neither_success_nor_failure(
    ec2: FakeEc2, clock: FakeClock
) -> None:
    """The instance is not written to again; as its metadata service is off, it counts as compliant."""
    ec2.applied_after = 1
    off = {"http_endpoint": Switch.DISABLED, "http_tokens": HttpTokens.OPTIONAL}
    clock.at(0.05, lambda: ec2.set_options(an_id(), **off))
    (result,) = _enforce(ec2, clock, an_instance())
    assert result.outcome is Outcome.SKIPPED
    assert result.reason == "the metadata service was switched off meanwhile, which satisfies every policy"
    assert (result.after, result.failure) == (IMDS_OFF, None)
    assert result.compliant
    assert 20 <= clock.elapsed < 23
    assert ec2.sent_ids == [an_id()]


def test_a_failed_read_back_is_retried(ec2: FakeEc2, clock: FakeClock) -> None:
    """The change itself is not sent again."""
    ec2.read_errors = {1: SERVER_FAULT, 2: SERVER_FAULT}
    (result,) = _enforce(ec2, clock, an_instance())
    assert result.outcome is Outcome.REMEDIATED
    assert len(ec2.modified) == 1


def test_a_change_that_cannot_be_read_back_is_pending_with_the_error(ec2: FakeEc2, clock: FakeClock) -> None:
    """EC2 accepted it; nothing more is known."""
    ec2.read_errors = dict.fromkeys(range(1, 100), SERVER_FAULT)
    (result,) = _enforce(ec2, clock, an_instance())
    assert (result.outcome, result.failure) == (Outcome.PENDING, SERVER_FAULT)
    assert result.reason == f"EC2 accepted the change, but the read-back failed (InternalError: EC2 said so); {WHY}"
    assert result.after is None


def test_a_changed_instance_that_is_not_listed_is_pending(ec2: FakeEc2, clock: FakeClock) -> None:
    """EC2 may not list a new instance for a while."""
    ec2.applied_after = 1
    clock.at(0.05, lambda: ec2.forget(an_id()))
    (result,) = _enforce(ec2, clock, an_instance())
    assert (result.outcome, result.reason) == (Outcome.PENDING, UNSEEN)
    assert (result.before, result.after, result.failure) == (V1_ALLOWED, None, None)


def test_a_changed_instance_whose_options_become_unreadable_is_pending(ec2: FakeEc2, clock: FakeClock) -> None:
    """The change is neither proven nor disproven, and not sent again."""
    ec2.applied_after = 1
    clock.at(0.05, lambda: ec2.make_unreadable(an_id()))
    (result,) = _enforce(ec2, clock, an_instance())
    assert (result.outcome, result.reason) == (Outcome.PENDING, UNSEEN)
    assert (result.before, result.after, result.failure) == (V1_ALLOWED, None, None)
    assert 20 <= clock.elapsed < 23
    assert len(ec2.modified) == 1


@pytest.mark.parametrize("state", [InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED])
def test_an_instance_terminated_meanwhile_is_gone(ec2: FakeEc2, clock: FakeClock, state: InstanceState) -> None:
    """It is reported as gone at once, and not as failed."""
    ec2.applied_after = 10
    clock.at(0.5, lambda: ec2.set_state(an_id(), state))
    (result,) = _enforce(ec2, clock, an_instance())
    assert (result.outcome, result.reason) == (Outcome.GONE, f"the instance was {state} before the change was applied")
    assert result.failure is None
    assert clock.elapsed < 2


def test_each_change_has_its_own_time_out(ec2: FakeEc2, clock: FakeClock) -> None:
    """The time of a change begins when EC2 accepts it."""
    ec2.applied_after, ec2.modify_seconds = 19, 5
    results = _enforce(ec2, clock, an_instance(1), an_instance(2))
    assert [result.outcome for result in results] == [Outcome.REMEDIATED, Outcome.REMEDIATED]
