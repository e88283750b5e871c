"""The ledger has every change before EC2 is asked for it, its outcome afterwards, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import HttpTokens, InstanceState, OptionsState, Outcome, Switch, Trigger
from imds_enforcer.policy import PolicyVersions
from imds_enforcer.runs.events import SweepRequest
from tests.fakes import example_events as events
from tests.fakes.clients import a_run
from tests.fakes.clock import START
from tests.fakes.example_events import a_message
from tests.fakes.examples import (
    NOT_FOUND,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    WRONG_STATE,
    a_policy,
    an_id,
    an_instance,
)
from tests.fakes.runs import Batch, Sweep, ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from imds_enforcer.ledger.entry import Entry
    from imds_enforcer.model import Change, Failure, MetadataOptions
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2


def _overhear(clients: FakeClients, home: FakeEc2) -> list[tuple[Entry, MetadataOptions | None]]:
    """Each change's entry at the moment EC2 is asked, and the options that the enforcer knew."""
    heard: list[tuple[Entry, MetadataOptions | None]] = []

    def listen(ec2: FakeEc2, instance_id: str, _: Change) -> None:
        *_older, entry = clients.ledger_table.entries.of(instance_id)
        heard.append((entry, ec2.shown[instance_id].options))

    home.judge = listen
    return heard


def test_a_change_is_recorded_before_ec2_is_asked(clients: FakeClients, home: FakeEc2) -> None:
    """As open, with the present and the wanted options: a process killed now leaves a trace."""
    home.launch(*map(an_instance, range(30)))
    heard = _overhear(clients, home)
    Sweep(clients)
    assert len(heard) == 30
    for entry, known in heard:
        assert (entry.outcome, entry.before, entry.wanted, entry.after) == (None, V1_ALLOWED, V2_ONLY, None)
        assert entry.before == known
        assert entry.ends_at == START + timedelta(seconds=700 + 20 + 30)


def test_the_outcome_replaces_the_intent(clients: FakeClients, home: FakeEc2) -> None:
    """One change has one entry."""
    home.launch(an_instance(1), an_instance(2, state=InstanceState.STOPPED))
    Sweep(clients)
    running, stopped = sorted(ledger(clients), key=lambda entry: entry.instance_id)
    assert (running.outcome, running.before, running.after) == (Outcome.REMEDIATED, V1_ALLOWED, V2_ONLY)
    assert running.reason == "HttpTokens is optional, not required"
    assert (running.run_id, running.versions, running.by) == ("run-1", PolicyVersions(3, 7), None)
    assert stopped.outcome is Outcome.PENDING
    assert stopped.after is not None
    assert stopped.after.state is OptionsState.PENDING
    assert clients.ledger_table.entries.open_intents() == []


@pytest.mark.parametrize(
    ("event", "trigger"),
    [(events.launch(an_id()), "launch"), (events.running(), "running"), (events.drift(), "drift")],
)
def test_an_entry_names_its_trigger(clients: FakeClients, home: FakeEc2, event: dict[str, Any], trigger: str) -> None:
    """The kind of event that led to the change."""
    home.launch(an_instance())
    Batch(clients, a_message(event))
    (entry,) = ledger(clients)
    assert (entry.trigger, entry.outcome) == (trigger, Outcome.REMEDIATED)


@pytest.mark.parametrize("others", [events.running(), events.launch(an_id())])
def test_drift_is_recorded_as_drift_whatever_other_events_name_the_instance(
    clients: FakeClients, home: FakeEc2, others: dict[str, Any]
) -> None:
    """Corrections of drift are counted: an earlier event about the instance must not hide one."""
    home.launch(an_instance())
    batch = Batch(clients, a_message(others, "m-1"), a_message(events.drift(), "m-2"))
    assert [entry.trigger for entry in ledger(clients)] == ["drift"]
    assert [trigger for _, trigger in batch.log] == ["drift"]


@pytest.mark.parametrize("trigger", [Trigger.SCHEDULE, Trigger.POLICY_CHANGE, Trigger.MANUAL, Trigger.INVENTORY])
def test_an_entry_names_the_trigger_of_its_sweep(clients: FakeClients, home: FakeEc2, trigger: Trigger) -> None:
    """An inventory changes instances as any sweep does."""
    home.launch(an_instance())
    Sweep(clients, request=SweepRequest(trigger))
    assert [entry.trigger for entry in ledger(clients)] == [trigger]


def test_instances_of_a_launch_without_ids_are_in_the_ledger(clients: FakeClients, home: FakeEc2) -> None:
    """A sweep of the region finds them."""
    home.launch(an_instance())
    Batch(clients, a_message(events.launch_without_ids()))
    assert [(entry.trigger, entry.outcome) for entry in ledger(clients)] == [("launch", Outcome.REMEDIATED)]


def test_a_hundred_changes_cost_eight_ledger_requests(clients: FakeClients, home: FakeEc2) -> None:
    """Four for the intents, four for the outcomes."""
    home.launch(*map(an_instance, range(100)))
    Sweep(clients)
    assert clients.table.writes == 8


def test_a_long_sweep_has_every_change_in_the_ledger(clients: FakeClients, home: FakeEc2) -> None:
    """Once EC2's bucket is empty, each intent needs its own request, while outcomes share theirs."""
    home.launch(*map(an_instance, range(200)))
    Sweep(clients)
    assert len(home.modified) == 200
    assert clients.table.writes <= 4 + 100 + 20
    assert {entry.outcome for entry in ledger(clients)} == {Outcome.REMEDIATED}


def test_outcomes_are_in_the_ledger_before_they_are_reported(clients: FakeClients, home: FakeEc2) -> None:
    """All outcomes known by then, before the first of them is reported."""
    clients.fakes = {home.name: home}
    enforcer = a_run(clients, a_policy()).for_events(home.name, lambda _: "launch", {}, lambda result: result)
    results = enforcer.enforce(home.launch(*map(an_instance, range(3))))
    assert next(results).outcome is Outcome.REMEDIATED
    assert [entry.outcome for entry in ledger(clients)] == [Outcome.REMEDIATED] * 3
    assert len(list(results)) == 2


def test_without_changes_the_ledger_gets_no_request(clients: FakeClients, home: FakeEc2) -> None:
    """Neither from a sweep nor from a batch."""
    home.launch(an_instance(1, V2_ONLY))
    Sweep(clients)
    Batch(clients, a_message(events.running()))
    assert clients.table.requests == []


@pytest.mark.parametrize(
    ("failures", "outcome"),
    [
        ([THROTTLED] * 100, Outcome.DEFERRED),
        ([WRONG_STATE], Outcome.DEFERRED),
        ([UNAUTHORIZED], Outcome.FAILED),
        ([NOT_FOUND], Outcome.GONE),
    ],
)
def test_a_refused_change_is_in_the_ledger_as_refused(
    clients: FakeClients, home: FakeEc2, failures: list[Failure], outcome: Outcome
) -> None:
    """With EC2's code and the report's reason; it has no result."""
    home.launch(an_instance())
    code = failures[0].code
    home.modify_errors[an_id()] = failures
    done = Sweep(clients, seconds=30)
    (entry,) = ledger(clients)
    assert (entry.outcome, entry.code) == (outcome, code)
    assert done.logged == {an_id(): outcome}
    assert entry.result is None


def test_a_change_cut_off_by_the_deadline_is_in_the_ledger_as_deferred(clients: FakeClients, home: FakeEc2) -> None:
    """Its intent was written together with those of changes sent in time."""
    home.launch(*map(an_instance, range(150)))
    home.modify_seconds = 0.05
    Sweep(clients, seconds=2)
    changed = {entry.instance_id for entry in ledger(clients) if entry.result}
    assert changed == set(home.modified_ids)
    left = [entry for entry in ledger(clients) if entry.instance_id not in changed]
    assert left
    assert {entry.outcome for entry in left} == {Outcome.DEFERRED}
    assert clients.ledger_table.entries.open_intents() == []


def _forget(home: FakeEc2, instance_id: str) -> None:
    home.forget(instance_id)


def _end(home: FakeEc2, instance_id: str) -> None:
    home.set_state(instance_id, InstanceState.TERMINATED)


def _switch_off(home: FakeEc2, instance_id: str) -> None:
    home.set_options(instance_id, http_endpoint=Switch.DISABLED)


def _set_right(home: FakeEc2, instance_id: str) -> None:
    home.set_options(instance_id, http_tokens=HttpTokens.REQUIRED)


@pytest.mark.parametrize("happening", [_forget, _end, _switch_off, _set_right])
def test_a_change_by_someone_else_is_not_in_the_ledger_as_the_enforcers(
    clients: FakeClients, home: FakeEc2, happening: Callable[[FakeEc2, str], None]
) -> None:
    """EC2 throttles the change, and then the instance no longer needs it: there is nothing to undo."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [THROTTLED] * 1_000
    clients.clock.at(1, lambda: happening(home, an_id()))
    Sweep(clients)
    assert home.modified == []
    (entry,) = clients.ledger_table.entries.of(an_id())
    assert entry.outcome not in {None, Outcome.REMEDIATED}
    assert entry.result is None


def test_a_change_that_was_decided_again_is_recorded_again(clients: FakeClients, home: FakeEc2) -> None:
    """Someone changed another option in between: a revert must restore that, not the older value."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [THROTTLED] * 12
    clients.clock.at(1, lambda: home.set_options(an_id(), http_put_response_hop_limit=5))
    heard = _overhear(clients, home)
    Sweep(clients)
    assert {known.http_put_response_hop_limit for _, known in heard if known} == {1, 5}
    assert all(entry.before == known for entry, known in heard)
    (entry,) = ledger(clients)
    assert (entry.outcome, entry.before.http_put_response_hop_limit) == (Outcome.REMEDIATED, 5)


def test_a_retried_change_is_one_entry(clients: FakeClients, home: FakeEc2) -> None:
    """Its answer was lost twice; what the instance shows counts."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [SERVER_FAULT] * 2
    Sweep(clients)
    assert len(home.sent) == 3
    assert [entry.outcome for entry in ledger(clients)] == [Outcome.REMEDIATED]


def test_an_unanswered_change_that_ec2_made_is_in_the_ledger(clients: FakeClients, home: FakeEc2) -> None:
    """The next look shows it."""
    home.launch(an_instance())
    home.unanswered = {an_id()}
    Sweep(clients)
    (entry,) = ledger(clients)
    assert (entry.outcome, entry.after) == (Outcome.REMEDIATED, V2_ONLY)


@pytest.mark.parametrize("taken", [True, False])
def test_a_change_whose_effect_is_unknown_stays_open(clients: FakeClients, home: FakeEc2, *, taken: bool) -> None:
    """The last of three answers was lost. A recorded failure might be wrong, and a revert would skip the change."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [SERVER_FAULT] * (2 if taken else 3)
    home.unanswered = {an_id()}
    assert Sweep(clients).logged == {an_id(): Outcome.FAILED}
    assert (home.actual(an_id()).options == V2_ONLY) is taken
    (entry,) = ledger(clients)
    assert entry.outcome is None


def test_a_change_unanswered_at_the_deadline_stays_open(clients: FakeClients, home: FakeEc2) -> None:
    """EC2 may have made it."""
    home.launch(an_instance())
    home.unanswered, home.modify_seconds = {an_id()}, 5
    Sweep(clients, seconds=4)
    assert home.actual(an_id()).options == V2_ONLY
    (entry,) = ledger(clients)
    assert entry.outcome is None
