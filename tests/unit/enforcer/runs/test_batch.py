from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.model import InstanceState, Outcome
from imds_enforcer.policy import Mode, RegionSelection
from imds_enforcer.runs.retry import MAX_RECEIVES
from tests.fakes import example_events as events
from tests.fakes.example_events import a_message
from tests.fakes.examples import (
    AWAY,
    HOME,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V2_ONLY,
    WRONG_STATE,
    a_policy,
    an_exemption,
    an_id,
    an_instance,
)
from tests.fakes.runs import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from imds_enforcer.model import Failure, Instance
    from tests.fakes.clients import FakeClients
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2


def test_named_instances_are_enforced_and_their_messages_acknowledged(clients: FakeClients, home: FakeEc2) -> None:
    """Each instance has one line in the log and counts once in the report."""
    home.launch(an_instance(1), an_instance(2, V2_ONLY))
    batch = Batch(clients, a_message(events.launch(an_id(1), an_id(2))))
    assert batch.outcomes == {an_id(1): Outcome.REMEDIATED, an_id(2): Outcome.COMPLIANT}
    assert [trigger for _, trigger in batch.log] == ["launch", "launch"]
    assert batch.again == []
    assert batch.report.trigger == "events"
    assert batch.report.outcomes == {Outcome.REMEDIATED: 1, Outcome.COMPLIANT: 1}


def test_a_launch_of_managed_instances_is_acknowledged_without_a_look(clients: FakeClients, home: FakeEc2) -> None:
    """EC2 may hide them: the batch would wait for them and report them as gone."""
    batch = Batch(clients, a_message(events.managed_launch(an_id(1), an_id(2))))
    assert (batch.again, batch.outcomes) == ([], {})
    assert (home.reads, home.finds) == ([[]], []), "neither they nor the region"


@pytest.mark.parametrize("event", [events.running, events.drift])
def test_a_managed_instance_that_another_event_names_is_skipped(
    clients: FakeClients, home: FakeEc2, event: Callable[..., dict[str, Any]]
) -> None:
    """A service may change its options, or the account may show managed instances."""
    home.launch(an_instance(1, managed_by="eks.amazonaws.com"))
    batch = Batch(clients, a_message(event(an_id(1))))
    assert (batch.again, batch.outcomes, home.sent) == ([], {an_id(1): Outcome.SKIPPED}, [])


def test_ids_are_merged_before_anything_is_asked(clients: FakeClients, home: FakeEc2) -> None:
    """At least two events announce a launch, and each may be delivered twice."""
    home.launch(an_instance(1), an_instance(2))
    launch, running = events.launch(an_id(1), an_id(2)), events.running(an_id(1))
    batch = Batch(clients, *(a_message(body, f"m-{n}") for n, body in enumerate([running, launch, running, launch])))
    assert home.reads[0] == [an_id(1), an_id(2)]
    assert home.modified_ids == [an_id(1), an_id(2)]
    assert sorted(result.instance_id for result, _ in batch.log) == [an_id(1), an_id(2)]
    assert batch.report.outcomes == {Outcome.REMEDIATED: 2}


def test_each_region_is_enforced_on_its_own(clients: FakeClients, home: FakeEc2) -> None:
    """A forwarder brings events of another region; a region that fails stops no other."""
    home.read_errors[1] = UNAUTHORIZED
    home.launch(an_instance(1))
    clients.ec2(AWAY).launch(an_instance(2))
    batch = Batch(
        clients, a_message(events.running(an_id(1)), "m-1"), a_message(events.drift(an_id(2), region=AWAY), "m-2")
    )
    assert batch.outcomes == {an_id(1): Outcome.FAILED, an_id(2): Outcome.REMEDIATED}
    assert batch.report.regions[AWAY].outcomes == {Outcome.REMEDIATED: 1}
    assert batch.report.regions[HOME].outcomes == {Outcome.FAILED: 1}
    assert {result.instance_id: trigger for result, trigger in batch.log}[an_id(2)] == "drift"


def test_regions_run_in_parallel(clients: FakeClients, home: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow region does not hold up launches in another."""
    meeting = threading.Barrier(2)

    def meet(read: Callable[[Iterable[str]], dict[str, Instance]], ids: Iterable[str]) -> dict[str, Instance]:
        meeting.wait(timeout=10)
        return read(ids)

    for fake in (home, clients.ec2(AWAY)):
        monkeypatch.setattr(fake, "read", partial(meet, fake.read))
    batch = Batch(clients, a_message(events.running(), "m-1"), a_message(events.running(region=AWAY), "m-2"))
    assert batch.again == ["m-1", "m-2"]


def test_one_unknown_id_does_not_hide_the_others(clients: FakeClients, home: FakeEc2) -> None:
    """Four are enforced at once; the message comes back for the fifth."""
    home.launch(*map(an_instance, range(1, 5)))
    batch = Batch(clients, a_message(events.launch(*map(an_id, range(1, 6)))))
    assert home.modified_ids == [an_id(number) for number in range(1, 5)]
    assert batch.outcomes[an_id(5)] is Outcome.DEFERRED
    assert batch.again == ["m-1"]


def test_an_instance_is_gone_ten_minutes_after_its_event(clients: FakeClients, clock: FakeClock) -> None:
    """Until then its message comes back; afterwards it does not."""
    message = a_message(events.running(an_id()))
    clock.advance(599)
    assert Batch(clients, message).outcomes == {an_id(): Outcome.DEFERRED}
    clock.advance(1)
    batch = Batch(clients, message)
    assert batch.outcomes == {an_id(): Outcome.GONE}
    assert batch.again == []


def test_the_newest_event_counts_for_the_age(clients: FakeClients, clock: FakeClock) -> None:
    """An id that a new event names is new, even if an old event named it too."""
    clock.advance(660)
    old, new = events.running(), events.running(time="2026-11-22T12:10:00Z")
    batch = Batch(clients, a_message(old, "m-1"), a_message(new, "m-2"))
    assert batch.outcomes == {an_id(): Outcome.DEFERRED}
    assert batch.again == ["m-1", "m-2"]


@pytest.mark.parametrize("failures", [[SERVER_FAULT] * 3, [WRONG_STATE]])
def test_a_failure_that_may_pass_brings_its_message_back(
    clients: FakeClients, home: FakeEc2, failures: list[Failure]
) -> None:
    """No other message comes back."""
    home.launch(an_instance(1), an_instance(2))
    home.modify_errors[an_id(1)] = failures
    batch = Batch(clients, a_message(events.running(an_id(1)), "m-1"), a_message(events.running(an_id(2)), "m-2"))
    assert batch.outcomes == {an_id(1): Outcome.DEFERRED, an_id(2): Outcome.REMEDIATED}
    assert batch.again == ["m-1"]


def test_a_change_throttled_until_the_deadline_comes_back(clients: FakeClients, home: FakeEc2) -> None:
    """After as many attempts as fit into forty seconds."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [THROTTLED] * 100
    batch = Batch(clients, a_message(events.running()))
    ((result, _),) = batch.log
    assert (result.outcome, result.failure) == (Outcome.DEFERRED, THROTTLED)
    assert result.reason == f"{THROTTLED}; the queue tries again"
    assert 10 < len(home.sent) < 60
    assert batch.again == ["m-1"]


def test_every_message_that_names_a_failed_instance_comes_back(clients: FakeClients, home: FakeEc2) -> None:
    """Any one of them alone could get lost."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [WRONG_STATE]
    batch = Batch(clients, a_message(events.running(), "m-1"), a_message(events.launch(an_id()), "m-2"))
    assert batch.again == ["m-1", "m-2"]


def test_a_final_failure_is_acknowledged(clients: FakeClients, home: FakeEc2) -> None:
    """The report has it with EC2's code."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [UNAUTHORIZED]
    batch = Batch(clients, a_message(events.running()))
    assert batch.again == []
    assert [result.failure for result in batch.report.failures] == [UNAUTHORIZED]


def test_a_failure_at_the_twelfth_delivery_is_final(clients: FakeClients, home: FakeEc2) -> None:
    """It counts as failed, and its message goes to the dead-letter queue, where a person can look at it."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [SERVER_FAULT] * 6
    assert Batch(clients, a_message(events.running(), receives=11)).outcomes == {an_id(): Outcome.DEFERRED}
    batch = Batch(clients, a_message(events.running(), receives=MAX_RECEIVES))
    assert batch.outcomes == {an_id(): Outcome.FAILED}
    assert batch.again == ["m-1"]


def test_an_instance_that_a_younger_message_names_has_not_failed_yet(clients: FakeClients, home: FakeEc2) -> None:
    """The younger message brings a retry."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [SERVER_FAULT] * 3
    batch = Batch(clients, a_message(events.running(), "m-1", receives=12), a_message(events.running(), "m-2"))
    assert batch.outcomes == {an_id(): Outcome.DEFERRED}


def test_a_failed_read_brings_the_messages_of_its_region_back(clients: FakeClients, home: FakeEc2) -> None:
    """No instance was read, and none is lost."""
    home.launch(an_instance(1))
    home.read_errors[1] = SERVER_FAULT
    batch = Batch(clients, a_message(events.launch(an_id(1), an_id(2))))
    assert batch.outcomes == {an_id(1): Outcome.DEFERRED, an_id(2): Outcome.DEFERRED}
    assert batch.again == ["m-1"]
    assert home.modified == []


def test_instances_cut_off_by_the_deadline_come_back(clients: FakeClients, home: FakeEc2) -> None:
    """They are deferred, not failed."""
    home.launch(an_instance())
    home.read_seconds = 41
    batch = Batch(clients, a_message(events.running()))
    assert batch.outcomes == {an_id(): Outcome.DEFERRED}
    assert batch.again == ["m-1"]


def test_a_pending_change_is_acknowledged(clients: FakeClients, home: FakeEc2) -> None:
    """EC2 has accepted the change; a retry would change nothing."""
    home.launch(an_instance(state=InstanceState.STOPPED))
    batch = Batch(clients, a_message(events.drift()))
    assert batch.outcomes == {an_id(): Outcome.PENDING}
    assert batch.again == []


def test_a_region_that_the_policy_leaves_out_is_skipped_without_a_call(clients: FakeClients, home: FakeEc2) -> None:
    """Each instance has a line in the log; a launch without ids is skipped too."""
    home.launch(an_instance())
    policy = a_policy(regions=RegionSelection(exclude=(HOME,)))
    messages = a_message(events.running(), "m-1"), a_message(events.launch_without_ids(), "m-2")
    batch = Batch(clients, *messages, policy=policy)
    ((result, trigger),) = batch.log
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "the policy leaves this region out")
    assert trigger == "running"
    assert batch.again == []
    assert clients.ec2_calls == []


def test_audit_mode_writes_nothing(clients: FakeClients, home: FakeEc2) -> None:
    """It reads and reports."""
    home.launch(an_instance())
    batch = Batch(clients, a_message(events.running()), policy=a_policy(mode=Mode.AUDIT))
    assert batch.outcomes == {an_id(): Outcome.WOULD_REMEDIATE}
    assert batch.again == []
    assert home.calls == ["DescribeInstances"]


def test_an_event_about_no_instance_is_acknowledged(clients: FakeClients) -> None:
    """For example a launch that failed."""
    failed = events.launch()
    failed["detail"] |= {"errorCode": "Client.InstanceLimitExceeded", "responseElements": None}
    batch = Batch(clients, a_message(failed))
    assert (batch.log, batch.again) == ([], [])


def test_an_exempt_instance_that_an_event_names_is_logged(clients: FakeClients, home: FakeEc2) -> None:
    """The person who just launched it may look for it."""
    home.launch(an_instance())
    batch = Batch(clients, a_message(events.running()), policy=a_policy(exemptions=(an_exemption(),)))
    assert batch.outcomes == {an_id(): Outcome.EXEMPT}


def test_a_batch_of_malformed_messages_does_nothing(clients: FakeClients) -> None:
    """No delivery is left to work on."""
    batch = Batch(clients)
    assert (batch.report.regions, batch.again) == ({}, [])


def test_the_report_has_the_duration_of_the_run(clients: FakeClients, home: FakeEc2) -> None:
    """Measured on the monotonic clock."""
    home.launch(an_instance())
    home.modify_seconds = 2
    assert Batch(clients, a_message(events.running())).report.seconds == pytest.approx(2)
