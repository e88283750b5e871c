"""The ledger out of reach: changes that cannot be recorded wait, instances that may be held are not changed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from imds_enforcer.limits.region_limits import limits_of
from imds_enforcer.model import AwsError, Change, HttpTokens, Outcome, PlannedChange
from imds_enforcer.policy import Mode
from imds_enforcer.runs.sweep import sweep
from tests.fakes import example_events as events
from tests.fakes.clients import a_run
from tests.fakes.example_events import a_message
from tests.fakes.examples import AWAY, HOME, SERVER_FAULT, THROTTLED, V1_ALLOWED, V2_ONLY, a_policy, an_id, an_instance
from tests.fakes.runs import SCHEDULE as SCHEDULED
from tests.fakes.runs import App, Batch, Documents, Sweep, ledger, metric_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imds_enforcer.aws.dynamodb import Item
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

SCHEDULE = {"trigger": "schedule"}
NOT_WRITTEN_DOWN = f"the ledger is out of reach ({THROTTLED}), and no change is made without an entry in it"
NOT_KNOWN = f"the ledger is out of reach ({THROTTLED}), so holds could not be read"
WHY = "HttpTokens is optional, not required"


def test_a_change_that_cannot_be_recorded_waits(clients: FakeClients, home: FakeEc2) -> None:
    """EC2 is not asked for it, and the message comes back."""
    home.launch(an_instance())
    clients.table.write_failure = THROTTLED
    batch = Batch(clients, a_message(events.running()))
    ((result, _),) = batch.log
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, f"{NOT_WRITTEN_DOWN}; {WHY}")
    assert batch.again == ["m-1"]
    assert home.sent == []
    assert clients.table.writes == 1, "it is not tried twice"
    clients.table.write_failure = None
    assert Batch(clients, a_message(events.running())).outcomes == {an_id(): Outcome.REMEDIATED}


def test_a_sweep_whose_changes_cannot_be_recorded_leaves_them_to_the_next(clients: FakeClients, home: FakeEc2) -> None:
    """Each change and the region have the reason."""
    home.launch(*map(an_instance, range(300)))
    clients.table.write_failure = THROTTLED
    report = Sweep(clients).report
    assert report.outcomes == {Outcome.DEFERRED: 300}
    assert report.stopped_regions == {HOME: NOT_WRITTEN_DOWN}
    assert home.sent == []
    assert clients.clock.elapsed < 10, "it does not try for each"
    clients.table.write_failure = None
    assert Sweep(clients).report.outcomes == {Outcome.REMEDIATED: 300}


def test_changes_that_were_not_recorded_use_no_request_tokens(clients: FakeClients, home: FakeEc2) -> None:
    """The process, if it lives on, finds the bucket as full as before."""
    home.launch(*map(an_instance, range(100)))
    clients.table.write_failure = THROTTLED
    Sweep(clients)
    assert home.changes.take(1_000) == 100


def test_a_ledger_that_cannot_be_written_raises_its_alarm(
    app: App, clients: FakeClients, home: FakeEc2, metrics: Documents
) -> None:
    """In sweep and batch; the alarm for failed regions stays quiet."""
    home.launch(an_instance())
    clients.table.write_failure = THROTTLED
    for invoke in (lambda: app.invoke(SCHEDULE), lambda: app.batch(a_message(events.running()))):
        home.set_options(an_id(), http_tokens=V1_ALLOWED.http_tokens)
        invoke()
        names = metric_names(metrics())
        assert "LedgerUnavailable" in names
        assert "RegionStopped" not in names


def test_if_holds_cannot_be_read_nothing_is_changed(clients: FakeClients, home: FakeEc2) -> None:
    """Any instance might be held."""
    home.launch(*map(an_instance, range(3)))
    clients.table.read_failure = THROTTLED
    done = Sweep(clients)
    assert {(result.outcome, result.reason) for result, _ in done.log} == {(Outcome.DEFERRED, f"{NOT_KNOWN}; {WHY}")}
    batch = Batch(clients, a_message(events.running(an_id(1))))
    assert batch.outcomes == {an_id(1): Outcome.DEFERRED}
    assert batch.again == ["m-1"]
    assert home.sent == []
    assert clients.table.written == []


def test_if_holds_become_unreadable_nothing_more_is_changed(clients: FakeClients, home: FakeEc2) -> None:
    """In the middle of a sweep: changes already sent are verified and reported, the others wait."""
    home.launch(*map(an_instance, range(300)))

    def cut_off() -> None:
        clients.table.read_failure = THROTTLED

    clients.clock.at(5, cut_off)
    done = Sweep(clients)
    assert done.report.outcomes[Outcome.REMEDIATED] == len(home.sent) < 200
    assert done.report.outcomes[Outcome.DEFERRED] == 300 - len(home.sent)
    clients.table.read_failure = None
    assert {entry.instance_id for entry in ledger(clients) if entry.result} == set(home.modified_ids)


def test_in_audit_mode_a_table_that_returns_gives_no_second_outcome(clients: FakeClients, home: FakeEc2) -> None:
    """Instances deferred on the first page are not reported again."""
    home.launch(*map(an_instance, range(4)))
    home.page_size = 2
    clients.table.read_failure = THROTTLED

    def recover() -> None:
        clients.table.read_failure = None

    home.read_seconds = 2
    clients.clock.at(3, recover)
    done = Sweep(clients, a_policy(mode=Mode.AUDIT))
    assert done.report.outcomes.total() == 4
    assert len(done.log) == 4
    assert done.logged[an_id(0)] is Outcome.DEFERRED


def test_an_outcome_that_cannot_be_recorded_is_still_reported(
    clients: FakeClients, home: FakeEc2, app: App, metrics: Documents
) -> None:
    """The instance was changed. Its entry stays open, and the next sweep completes it from what the instance shows."""
    home.launch(an_instance())

    def cut_off(ec2: FakeEc2, instance_id: str, change: Change) -> None:
        del ec2, instance_id, change
        clients.table.write_failure = THROTTLED

    home.judge = cut_off
    answer = app.invoke(SCHEDULE)
    assert answer["outcomes"] == {"REMEDIATED": 1}
    assert answer["regions"][HOME]["ledger_error"] == str(THROTTLED)
    assert "LedgerUnavailable" in metric_names(metrics())
    assert [entry.outcome for entry in ledger(clients)] == [None]
    clients.table.write_failure = None
    clients.clock.advance(900)
    app.invoke(SCHEDULE)
    (entry,) = ledger(clients)
    assert (entry.outcome, entry.after) == (Outcome.REMEDIATED, V2_ONLY)


def test_a_table_that_hangs_soon_stops_the_region(clients: FakeClients, home: FakeEc2) -> None:
    """Each attempt takes longer than an observation is good for."""
    home.launch(*map(an_instance, range(3)))

    def hang(_: Sequence[Item]) -> None:
        clients.clock.advance(39)
        raise AwsError(SERVER_FAULT)

    clients.table.before_write = hang
    done = Sweep(clients, seconds=300)
    assert set(done.logged.values()) == {Outcome.DEFERRED}
    assert home.sent == []
    assert done.report.seconds < 90
    assert done.report.as_json()["regions"][HOME]["ledger_error"] == str(SERVER_FAULT)


def test_one_failed_write_stops_the_region(clients: FakeClients, home: FakeEc2) -> None:
    """The first hundred changes share a round and are sent; the others wait for the next run."""
    home.launch(*map(an_instance, range(150)))

    def refuse(items: Sequence[Item]) -> None:
        if len(clients.table.written) >= 100 and items[0].get("open"):
            raise AwsError(THROTTLED)

    clients.table.before_write = refuse
    report = Sweep(clients).report.regions[HOME]
    assert report.outcomes == Counter({Outcome.REMEDIATED: 100, Outcome.DEFERRED: 50})
    assert report.ledger_failure == THROTTLED


def test_a_change_that_was_not_recorded_does_not_count_against_the_limit(clients: FakeClients, home: FakeEc2) -> None:
    """It was not sent."""
    home.launch(*map(an_instance, range(10)))
    clients.table.write_failure = THROTTLED
    policy = a_policy(max_changes_per_sweep=10)
    limits = limits_of(policy, [HOME])
    assert sweep(a_run(clients, policy), SCHEDULED, limits).outcomes == {Outcome.DEFERRED: 10}
    others = [
        PlannedChange(an_instance(n), Change(http_tokens=HttpTokens.REQUIRED), V2_ONLY, "why") for n in range(10, 20)
    ]
    assert limits[HOME].admit(others) == others


def test_without_the_ledger_no_entry_is_completed_and_no_instance_is_watched(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """A sweep that finds nothing to change still completes, and reports what it could not do."""
    home.launch(an_instance(1, V2_ONLY))
    clients.table.read_failure = THROTTLED
    answer = app.invoke(SCHEDULE)
    assert [part["status"] for part in answer["regions"].values()] == ["DONE", "DONE"]
    assert [line["message"] for line in log_lines() if line["level"] == "ERROR"] == [
        "open entries of the ledger could not be read",
        "the lease could not be taken: this sweep begins without it",
        "the watch was skipped: the ledger could not be read",
    ]
    assert clients.ec2(AWAY).sent == []
