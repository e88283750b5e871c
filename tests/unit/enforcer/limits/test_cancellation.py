"""Why a run begins no further change, and the reason that it gives."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.limits.cancellation import Cancellation, RegionCancellation
from imds_enforcer.limits.region_limits import RegionLimits
from imds_enforcer.model import Deadline, HttpTokens, Outcome
from imds_enforcer.policy import PolicyVersions
from tests.fakes.clients import FakeClients, FakeVersions, a_cancellation, a_run, an_enforcer
from tests.fakes.examples import SERVER_FAULT, THROTTLED, V1_ALLOWED, a_policy, an_id, an_instance

if TYPE_CHECKING:
    from imds_enforcer.enforcement.enforcer import Enforcer
    from imds_enforcer.model import Result
    from imds_enforcer.runs.run import PolicyRun
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2

NEWER = PolicyVersions(4, 7)


@pytest.fixture
def versions() -> FakeVersions:
    """The policy's versions in Parameter Store."""
    return FakeVersions()


def _toggle(versions: FakeVersions) -> None:
    versions.now = NEWER


def test_a_run_lasts_until_its_deadline(clock: FakeClock, versions: FakeVersions) -> None:
    """Then "out of time" is its reason."""
    cancellation = a_cancellation(clock, 60, versions)
    assert cancellation.reason() is None
    clock.advance(60)
    assert (cancellation.reason(), cancellation.cancelled) == ("out of time", "out of time")


def test_a_run_ends_with_its_policy(clock: FakeClock, versions: FakeVersions) -> None:
    """For good: even the old values, stored again, have a new version."""
    cancellation = a_cancellation(clock, 60, versions)
    _toggle(versions)
    assert cancellation.reason() == "the policy has changed during the run, to versions 4 (HttpTokens) and 7 (policy)"
    versions.now = PolicyVersions(3, 7)
    assert cancellation.reason() is not None


def test_the_check_of_the_policy_may_be_a_moment_old(clock: FakeClock, versions: FakeVersions) -> None:
    """Before each change the run asks the cache, not Parameter Store."""
    a_cancellation(clock, 60, versions).reason()
    assert versions.asked == [False]


def test_under_a_policy_that_cannot_be_read_nothing_is_written(clock: FakeClock, versions: FakeVersions) -> None:
    """It may have changed."""
    versions.failure = THROTTLED
    assert a_cancellation(clock, 60, versions).reason() == f"Parameter Store is out of reach ({THROTTLED})"


def test_whether_a_run_was_overtaken_is_read_at_that_moment(clock: FakeClock, versions: FakeVersions) -> None:
    """The answer decides whether a difference counts as a failure."""
    cancellation = a_cancellation(clock, 60, versions)
    assert not cancellation.overtaken()
    _toggle(versions)
    assert cancellation.overtaken()
    assert versions.asked == [True, True]
    versions.failure = THROTTLED
    assert not cancellation.overtaken(), "an unread policy excuses nothing"


def _enforcer(ec2: FakeEc2, clock: FakeClock, versions: FakeVersions) -> Enforcer:
    return an_enforcer(ec2, clock, a_policy(), seconds=700, source=versions)


def test_a_run_whose_policy_changes_stops_writing(ec2: FakeEc2, clock: FakeClock, versions: FakeVersions) -> None:
    """It reads back and reports what it has sent; the rest is left to the sweep that the new policy started."""
    clock.at(10, lambda: _toggle(versions))
    results = list(_enforcer(ec2, clock, versions).enforce(ec2.launch(*map(an_instance, range(400)))))
    outcomes = [result.outcome for result in results]
    assert outcomes.count(Outcome.REMEDIATED) == len(ec2.sent) == pytest.approx(100 + 10 * 5, abs=6)
    assert outcomes.count(Outcome.DEFERRED) == 400 - len(ec2.sent)
    reasons = {result.reason for result in results if result.outcome is Outcome.DEFERRED}
    why = "the policy has changed during the run, to versions 4 (HttpTokens) and 7 (policy)"
    assert reasons <= {why, f"{why}; HttpTokens is optional, not required"}
    assert clock.elapsed < 15


def test_no_change_is_sent_under_a_policy_no_longer_in_force(
    ec2: FakeEc2, clock: FakeClock, versions: FakeVersions
) -> None:
    """Not even the first."""
    _toggle(versions)
    (result,) = _enforcer(ec2, clock, versions).enforce(ec2.launch(an_instance()))
    assert result.outcome is Outcome.DEFERRED
    assert ec2.calls == []


def test_a_difference_under_a_newer_policy_is_no_failure(
    ec2: FakeEc2, clock: FakeClock, versions: FakeVersions
) -> None:
    """The newer policy's own sweep corrects the instance; an alarm would be false."""
    ec2.applied_after = 5

    def overtake() -> None:
        _toggle(versions)
        ec2.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)

    clock.at(1, overtake)
    results = {r.instance_id: r for r in _enforcer(ec2, clock, versions).enforce(ec2.launch(*map(an_instance, (1, 2))))}
    overtaken = results[an_id(1)]
    assert (overtaken.outcome, overtaken.after, overtaken.failure) == (Outcome.DEFERRED, V1_ALLOWED, None)
    assert overtaken.reason.startswith(
        "EC2 accepted the change, then the policy changed; ReadBackDiffers: EC2 accepted "
    )
    assert results[an_id(2)].outcome is Outcome.REMEDIATED


def test_differences_are_explained_with_one_request(ec2: FakeEc2, clock: FakeClock, versions: FakeVersions) -> None:
    """However many differences there are."""
    observed = ec2.launch(*map(an_instance, range(50)))
    ec2.ignored = {instance.instance_id for instance in observed}
    results = list(_enforcer(ec2, clock, versions).enforce(observed))
    assert {result.outcome for result in results} == {Outcome.FAILED}
    assert versions.asked.count(True) == 1


def test_a_run_can_be_cancelled(clock: FakeClock, versions: FakeVersions) -> None:
    """The first reason stays, whatever else ends it afterwards."""
    cancellation = a_cancellation(clock, 60, versions)
    assert (cancellation.reason(), cancellation.cancelled) == (None, None)
    cancellation.cancel("interrupted")
    clock.advance(60)
    cancellation.cancel("something else")
    assert (cancellation.reason(), cancellation.cancelled) == ("interrupted", "interrupted")


def test_a_run_cancelled_during_a_check_keeps_that_reason(clock: FakeClock, versions: FakeVersions) -> None:
    """One thread still waits for Parameter Store when another cancels the run."""
    cancellation = a_cancellation(clock, 60, versions)
    versions.failure = THROTTLED
    versions.before = lambda: cancellation.cancel("interrupted")
    assert cancellation.reason() == "interrupted"


def test_a_run_without_a_stored_policy_lasts_until_its_deadline(clock: FakeClock) -> None:
    """No policy can overtake it."""
    cancellation = Cancellation(Deadline.after(clock, 60), PolicyVersions(), None)
    assert (cancellation.reason(), cancellation.overtaken()) == (None, False)
    clock.advance(60)
    assert cancellation.reason() == "out of time"


def test_a_region_ends_with_its_run(clock: FakeClock, versions: FakeVersions) -> None:
    """A region that stops alone stops no other region."""
    run, limits = a_cancellation(clock, 60, versions), RegionLimits.none("eu-west-1")
    stopped, other = RegionCancellation(run, limits), RegionCancellation(run, limits)
    stopped.stop("the ledger is out of reach")
    stopped.stop("something else")
    assert (stopped.reason(), stopped.stopped) == ("the ledger is out of reach", "the ledger is out of reach")
    assert (other.reason(), other.stopped) == (None, None)
    run.cancel("interrupted")
    assert (other.reason(), other.stopped) == ("interrupted", None)


def _enforced(run: PolicyRun, home: FakeEc2, *numbers: int) -> list[Result]:
    enforcer = run.for_events(home.name, lambda _: "launch", {}, lambda result: result)
    return list(enforcer.enforce(home.read(map(an_id, numbers)).values()))


def _under_way(run: PolicyRun) -> set[str]:
    return {plan.instance_id for plan in run.under_way()}


def test_a_run_knows_which_changes_are_under_way(clients: FakeClients, home: FakeEc2) -> None:
    """A change is under way from the moment it is sent until it is read back."""
    home.launch(an_instance(1))
    run, seen = a_run(clients, a_policy()), []
    home.judge = lambda *_: seen.append(_under_way(run))
    home.applied_after = 5
    clients.clock.at(1, lambda: seen.append(_under_way(run)))
    (result,) = _enforced(run, home, 1)
    assert result.outcome is Outcome.REMEDIATED
    assert seen == [{an_id(1)}, {an_id(1)}]
    assert _under_way(run) == set()


def test_a_result_is_known_while_it_is_written_to_the_ledger(clients: FakeClients, home: FakeEc2) -> None:
    """A table that hangs must not hide what was changed."""
    home.launch(an_instance(1))
    run = a_run(clients, a_policy())
    seen: list[list[Outcome]] = []
    clients.table.before_write = lambda items: seen.append(
        [result.outcome for result in run.latest()] if "open" not in items[0] else []
    )
    _enforced(run, home, 1)
    assert seen == [[], [Outcome.REMEDIATED]]


def test_a_throttled_change_is_not_under_way(clients: FakeClients, home: FakeEc2) -> None:
    """EC2 did not accept it."""
    home.launch(an_instance(1))
    run, seen = a_run(clients, a_policy()), []
    home.modify_errors = defaultdict(list, {an_id(1): [THROTTLED]})
    clients.clock.at(0.01, lambda: seen.append(_under_way(run)))
    _enforced(run, home, 1)
    assert seen == [set()]


def test_an_unanswered_change_is_under_way(clients: FakeClients, home: FakeEc2) -> None:
    """EC2 may have made it, whatever becomes of the next attempt."""
    home.launch(an_instance(1))
    run, seen = a_run(clients, a_policy()), []
    home.modify_errors = defaultdict(list, {an_id(1): [SERVER_FAULT, THROTTLED]})
    clients.clock.at(0.01, lambda: seen.append(_under_way(run)))
    _enforced(run, home, 1)
    assert seen == [{an_id(1)}]
