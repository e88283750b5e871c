"""How long a run may go on changing instances, and what it says when it may not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.clock import Deadline
from imds_enforcer.model import HttpTokens, Outcome
from imds_enforcer.policy import PolicyVersions
from tests.unit.examples import SERVER_FAULT, THROTTLED, V1_ALLOWED, a_policy, an_id, an_instance
from tests.unit.fake_clients import FakeClients, FakeVersions, a_mandate, a_run, an_enforcer

if TYPE_CHECKING:
    from imds_enforcer.enforcer import Enforcer
    from tests.unit.fake_clock import FakeClock
    from tests.unit.fake_ec2 import FakeEc2

NEWER = PolicyVersions(4, 7)


@pytest.fixture
def versions() -> FakeVersions:
    """Parameter Store, as far as versions go."""
    return FakeVersions()


def _toggle(versions: FakeVersions) -> None:
    versions.now = NEWER


def test_a_mandate_lasts_until_its_deadline(clock: FakeClock, versions: FakeVersions) -> None:
    """And says so then."""
    mandate = a_mandate(clock, 60, versions)
    assert mandate.ended() is None
    clock.advance(60)
    assert (mandate.ended(), mandate.why_ended) == ("out of time", "out of time")


def test_a_mandate_ends_with_its_policy(clock: FakeClock, versions: FakeVersions) -> None:
    """Once and for all: should the old values come back, they come as a new version."""
    mandate = a_mandate(clock, 60, versions)
    _toggle(versions)
    assert mandate.ended() == "the policy has changed, to versions 4 (HttpTokens) and 7 (policy)"
    versions.now = PolicyVersions(3, 7)
    assert mandate.ended() is not None


def test_what_is_known_of_the_policy_may_be_a_moment_old(clock: FakeClock, versions: FakeVersions) -> None:
    """Before each change the cache is asked, and not Parameter Store."""
    a_mandate(clock, 60, versions).ended()
    assert versions.asked == [False]


def test_under_a_policy_that_cannot_be_read_nothing_is_written(clock: FakeClock, versions: FakeVersions) -> None:
    """It may have changed."""
    versions.failure = THROTTLED
    assert a_mandate(clock, 60, versions).ended() == f"Parameter Store is out of reach ({THROTTLED})"


def test_whether_a_run_was_overtaken_is_read_at_that_moment(clock: FakeClock, versions: FakeVersions) -> None:
    """It decides whether a difference is somebody's fault."""
    mandate = a_mandate(clock, 60, versions)
    assert not mandate.overtaken()
    _toggle(versions)
    assert mandate.overtaken()
    assert versions.asked == [True, True]
    versions.failure = THROTTLED
    assert not mandate.overtaken(), "what cannot be known excuses nothing"


def _enforcer(ec2: FakeEc2, clock: FakeClock, versions: FakeVersions) -> Enforcer:
    return an_enforcer(ec2, clock, a_policy(), seconds=700, source=versions)


def test_a_run_whose_policy_changes_stops_writing(ec2: FakeEc2, clock: FakeClock, versions: FakeVersions) -> None:
    """What it had done is read back and told; the rest is left to the sweep that the change has started."""
    clock.at(10, lambda: _toggle(versions))
    results = list(_enforcer(ec2, clock, versions).enforce(ec2.launch(*map(an_instance, range(400)))))
    outcomes = [result.outcome for result in results]
    assert outcomes.count(Outcome.REMEDIATED) == len(ec2.sent) == pytest.approx(100 + 10 * 5, abs=6)
    assert outcomes.count(Outcome.DEFERRED) == 400 - len(ec2.sent)
    reasons = {result.reason for result in results if result.outcome is Outcome.DEFERRED}
    why = "the policy has changed, to versions 4 (HttpTokens) and 7 (policy)"
    assert reasons <= {why, f"{why}; HttpTokens is optional, not required"}
    assert clock.elapsed < 15


def test_no_change_is_sent_under_a_policy_that_is_no_more(
    ec2: FakeEc2, clock: FakeClock, versions: FakeVersions
) -> None:
    """Not even the first."""
    _toggle(versions)
    (result,) = _enforcer(ec2, clock, versions).enforce(ec2.launch(an_instance()))
    assert result.outcome is Outcome.DEFERRED
    assert ec2.calls == []


def test_what_a_newer_policy_has_set_is_no_failure(ec2: FakeEc2, clock: FakeClock, versions: FakeVersions) -> None:
    """Its own sweep sets the instance right; an alarm for it would be a false one."""
    ec2.applied_after = 5

    def overtake() -> None:
        _toggle(versions)
        ec2.set_options(an_id(1), http_tokens=HttpTokens.OPTIONAL)

    clock.at(1, overtake)
    results = {r.instance_id: r for r in _enforcer(ec2, clock, versions).enforce(ec2.launch(*map(an_instance, (1, 2))))}
    overtaken = results[an_id(1)]
    assert (overtaken.outcome, overtaken.after, overtaken.failure) == (Outcome.DEFERRED, V1_ALLOWED, None)
    assert overtaken.reason.startswith("accepted, and then the policy changed; ReadBackDiffers: EC2 accepted ")
    assert results[an_id(2)].outcome is Outcome.REMEDIATED


def test_differences_are_explained_with_one_request(ec2: FakeEc2, clock: FakeClock, versions: FakeVersions) -> None:
    """However many there are."""
    observed = ec2.launch(*map(an_instance, range(50)))
    ec2.ignored = {instance.instance_id for instance in observed}
    results = list(_enforcer(ec2, clock, versions).enforce(observed))
    assert {result.outcome for result in results} == {Outcome.FAILED}
    assert versions.asked.count(True) == 1


def test_a_mandate_can_be_ended(clock: FakeClock, versions: FakeVersions) -> None:
    """From outside, and with a moment up to which what was sent is read back."""
    mandate = a_mandate(clock, 60, versions)
    assert not mandate.no_more_read_back
    mandate.end("interrupted", Deadline.after(clock, 2))
    assert (mandate.ended(), mandate.no_more_read_back) == ("interrupted", False)
    clock.advance(2)
    assert mandate.no_more_read_back


def test_a_mandate_that_is_ended_meanwhile_stays_so(clock: FakeClock, versions: FakeVersions) -> None:
    """While one thread still waits for Parameter Store, another ends it."""
    mandate = a_mandate(clock, 60, versions)
    versions.failure = THROTTLED
    versions.before = lambda: mandate.end("interrupted", Deadline.after(clock, 2))
    assert mandate.ended() == "interrupted"


def test_it_is_known_what_was_sent(clients: FakeClients, home: FakeEc2, clock: FakeClock) -> None:
    """A change that EC2 turned away was not made; of any other nobody knows before it is answered."""
    home.launch(*map(an_instance, (1, 2)))
    mandate = a_mandate(clock)
    run = replace(a_run(clients, a_policy()), mandate=mandate)

    def end(*_: object) -> None:
        mandate.end("interrupted", Deadline.after(clock, 2))

    home.judge = end
    home.modify_errors = defaultdict(list, {an_id(number): [THROTTLED] for number in (1, 2)})
    visit = run.visit_for_events(home.name, lambda _: "launch", {}, lambda result: result)
    results = list(visit.enforcer.enforce(home.read([an_id(1), an_id(2)]).values()))
    assert mandate.sent == {}
    assert len(results) == 2
    home.judge, home.modify_errors = None, defaultdict(list)
    again = replace(run, mandate=a_mandate(clock))
    visit = again.visit_for_events(home.name, lambda _: "launch", {}, lambda result: result)
    list(visit.enforcer.enforce(home.read([an_id(1)]).values()))
    assert set(again.mandate.sent) == {an_id(1)}


def test_a_change_that_was_sent_before_it_was_turned_away(
    clients: FakeClients, home: FakeEc2, clock: FakeClock
) -> None:
    """The first attempt had no answer: it may have been taken, whatever becomes of the second."""
    home.launch(an_instance(1))
    mandate = a_mandate(clock)

    def end(*_: object) -> None:
        if len(home.sent) == 1:
            mandate.end("interrupted", Deadline.after(clock, 2))

    home.judge = end
    home.modify_errors = defaultdict(list, {an_id(1): [SERVER_FAULT, THROTTLED]})
    run = replace(a_run(clients, a_policy()), mandate=mandate)
    visit = run.visit_for_events(home.name, lambda _: "launch", {}, lambda result: result)
    list(visit.enforcer.enforce(home.read([an_id(1)]).values()))
    assert set(mandate.sent) == {an_id(1)}
