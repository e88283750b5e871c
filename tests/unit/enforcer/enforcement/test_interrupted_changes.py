"""A killed process leaves open entries; a later sweep completes them from what the instances show."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.ledger.entry import Entry
from imds_enforcer.model import InstanceState, OptionsState, Outcome, Switch
from imds_enforcer.policy import PolicyVersions
from tests.fakes import example_events as events
from tests.fakes.example_events import a_message
from tests.fakes.examples import AWAY, HOME, POLICY_PARAMETER, THROTTLED, V1_ALLOWED, V2_ONLY, an_id, an_instance
from tests.fakes.runs import App, Documents, ledger, metric_names

if TYPE_CHECKING:
    from imds_enforcer.model import Change, MetadataOptions
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

SCHEDULE = {"trigger": "schedule"}
LEFT = "the process that was to make the change ended before it recorded the outcome"
WHY = "HttpTokens is optional, not required"


class Killed(BaseException):
    """Stands for a killed process."""


def _leave_behind(clients: FakeClients, number: int = 1, region: str = HOME, **fields: Any) -> Entry:
    """The intent to require tokens of a process that was killed a moment ago."""
    entry = Entry(
        instance_id=an_id(number),
        region=region,
        at=clients.clock.now(),
        run_id="run-0",
        trigger="launch",
        versions=PolicyVersions(1, 1),
        before=V1_ALLOWED,
        wanted=V2_ONLY,
        ends_at=clients.clock.now() + timedelta(seconds=60),
        reason=WHY,
    )
    entry = replace(entry, **fields)
    clients.ledger_table.entries.write([entry])
    return entry


def _completed(clients: FakeClients, app: App, seconds: float = 60) -> Entry:
    """The entry after the next sweep."""
    clients.clock.advance(seconds)
    app.invoke(SCHEDULE)
    (entry,) = (entry for entry in ledger(clients) if entry.run_id == "run-0")
    return entry


@pytest.mark.parametrize(
    ("options", "outcome", "shown"),
    [
        (V2_ONLY, Outcome.REMEDIATED, "has the changed options"),
        (replace(V2_ONLY, state=OptionsState.PENDING), Outcome.PENDING, "has the changed options"),
        (V1_ALLOWED, Outcome.DEFERRED, "does not have the changed options"),
        (
            replace(V1_ALLOWED, http_put_response_hop_limit=3),
            Outcome.DEFERRED,
            "has options that someone else has set since",
        ),
        (
            replace(V2_ONLY, http_endpoint=Switch.DISABLED),
            Outcome.DEFERRED,
            "has options that someone else has set since",
        ),
    ],
)
def test_an_interrupted_change_is_completed_from_what_the_instance_shows(
    clients: FakeClients, app: App, options: MetadataOptions, outcome: Outcome, shown: str
) -> None:
    """Before the sweep itself changes anything."""
    clients.ec2(HOME).launch(an_instance(1, options))
    _leave_behind(clients)
    entry = _completed(clients, app)
    assert (entry.outcome, entry.reason) == (outcome, f"{LEFT}; the instance {shown}; {WHY}")
    assert entry.after == (None if outcome is Outcome.DEFERRED else options)


def test_an_entry_that_its_process_has_completed_stays_as_it_is(clients: FakeClients, home: FakeEc2, app: App) -> None:
    """The index of open entries may lag behind, and a slow process may end just then."""
    home.launch(an_instance(1, V2_ONLY))
    left = _leave_behind(clients)
    done = replace(left, outcome=Outcome.FAILED, after=None, code="UnauthorizedOperation", reason="not allowed")

    def complete(request: str) -> None:
        if request == f"Query {an_id(1)}":
            clients.table.before_read = None
            clients.ledger_table.entries.write([done])

    clients.table.before_read = complete
    assert _completed(clients, app) == done


@pytest.mark.parametrize("gone", [None, InstanceState.TERMINATED, InstanceState.SHUTTING_DOWN])
def test_the_change_of_a_gone_instance_is_completed(
    clients: FakeClients, home: FakeEc2, app: App, gone: InstanceState | None
) -> None:
    """Its result stays unknown, and no longer matters."""
    if gone:
        home.launch(an_instance(1, V2_ONLY, state=gone))
    _leave_behind(clients)
    entry = _completed(clients, app)
    assert (entry.outcome, entry.after, entry.result) == (Outcome.GONE, None, None)


def test_a_change_whose_process_may_still_live_stays_open(clients: FakeClients, home: FakeEc2, app: App) -> None:
    """Until Lambda must have stopped the process."""
    home.launch(an_instance(1, V2_ONLY))
    _leave_behind(clients)
    assert _completed(clients, app, seconds=59).outcome is None
    assert _completed(clients, app, seconds=1).outcome is Outcome.REMEDIATED


def test_the_change_of_an_instance_that_cannot_be_read_stays_open(
    clients: FakeClients, home: FakeEc2, app: App, metrics: Documents
) -> None:
    """The next sweep completes it; the region is still swept, and no failure of the ledger is reported."""
    home.launch(an_instance(1, V2_ONLY), an_instance(2))
    _leave_behind(clients)
    home.read_errors[1] = THROTTLED
    assert _completed(clients, app).outcome is None
    assert home.modified_ids == [an_id(2)]
    assert metric_names(metrics()) == {"REMEDIATED", "SweepCompleted"}
    assert _completed(clients, app).outcome is Outcome.REMEDIATED


def test_an_open_entry_in_a_region_that_the_policy_leaves_out_waits(
    clients: FakeClients, away: FakeEc2, app: App
) -> None:
    """No sweep goes there until the policy covers the region again."""
    away.launch(an_instance(1, V2_ONLY))
    clients.ssm.put(POLICY_PARAMETER, f'{{"regions": {{"exclude": ["{AWAY}"]}}}}')
    _leave_behind(clients, region=AWAY)
    assert _completed(clients, app).outcome is None
    app.invoke({"inventory": True})
    assert away.calls == []
    clients.ssm.put(POLICY_PARAMETER, "{}")
    assert _completed(clients, app).outcome is Outcome.REMEDIATED


def _kill(_: FakeEc2, __: str, ___: Change) -> None:
    raise Killed


def test_after_a_kill_before_the_change_the_history_has_no_change(
    clients: FakeClients, home: FakeEc2, app: App
) -> None:
    """The sweep that completes the entry then changes the instance, with an entry of its own."""
    home.launch(an_instance(1))
    home.judge = _kill
    with pytest.raises(Killed):
        app.batch(a_message(events.launch(an_id(1))))
    home.judge = None
    clients.clock.advance(900)
    app.invoke(SCHEDULE)
    killed, swept = ledger(clients)
    assert (killed.trigger, killed.outcome, killed.result) == ("launch", Outcome.DEFERRED, None)
    assert (swept.trigger, swept.outcome, swept.result) == ("schedule", Outcome.REMEDIATED, V2_ONLY)


def test_after_a_kill_after_the_change_the_history_has_the_change(
    clients: FakeClients, home: FakeEc2, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The instance shows it."""
    home.launch(an_instance(1))

    def killed(_: object) -> dict[str, object]:
        raise Killed

    modify, read = home.modify, home.read

    def modify_and_be_killed(instance_id: str, change: Change) -> None:
        modify(instance_id, change)
        monkeypatch.setattr(home, "read", killed)

    monkeypatch.setattr(home, "modify", modify_and_be_killed)
    with pytest.raises(Killed):
        app.invoke(SCHEDULE)
    monkeypatch.setattr(home, "read", read)
    clients.clock.advance(900)
    app.invoke(SCHEDULE)
    (entry,) = ledger(clients)
    assert (entry.outcome, entry.result) == (Outcome.REMEDIATED, V2_ONLY)


@pytest.mark.parametrize(
    ("taken", "outcomes"),
    [
        (False, [Outcome.DEFERRED, Outcome.REMEDIATED]),
        (True, [Outcome.REMEDIATED, Outcome.REMEDIATED]),
    ],
)
def test_a_later_runs_change_is_not_credited_to_the_killed_run(
    clients: FakeClients, home: FakeEc2, app: App, *, taken: bool, outcomes: list[Outcome]
) -> None:
    """The message comes back before the next sweep: the entry is completed from what the later run found."""
    home.launch(an_instance(1, V2_ONLY if taken else V1_ALLOWED))
    _leave_behind(clients)
    clients.ssm.put(POLICY_PARAMETER, '{"http_put_response_hop_limit": 2}')
    clients.clock.advance(60)
    assert app.batch(a_message(events.launch(an_id(1)), receives=2)) == []
    clients.clock.advance(10)
    app.invoke(SCHEDULE)
    killed, later = ledger(clients)
    assert (killed.run_id, later.run_id) == ("run-0", "run-1")
    assert [killed.outcome, later.outcome] == outcomes
    found = "been made" if taken else "not been made"
    assert killed.reason == f"{LEFT}; the later run run-1 found that the change had {found}; {WHY}"
    assert (killed.result is not None) is taken
