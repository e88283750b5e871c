from datetime import timedelta

from imds_enforcer.aws.dynamodb import Table
from imds_enforcer.aws.ledger_table import LedgerTable
from imds_enforcer.ledger.entry import Entry
from imds_enforcer.model import HttpTokens, Outcome, SystemClock
from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.integration.enforcer_process import INVENTORY, SCHEDULE, Enforcer, WrongClock
from tests.integration.enforcer_worker import Worker
from tests.integration.guarded_fleet import DESCRIBE, HOME, MODIFY, REGIONS, TABLE, Fleet

A_SCHEDULE = timedelta(minutes=15)
"""The time from one sweep to the next."""


def test_a_process_killed_in_the_middle_of_its_changes_loses_nothing(aws: LocalAws) -> None:
    """The process has changed some instances; the next process changes the rest when it gets the same batch."""
    fleet = Fleet(aws)
    records = fleet.records(*fleet.events())
    for region in REGIONS:
        aws.fail(MODIFY, kind="hang", region=region, first=3)
    with Worker(aws, {"Records": records}) as worker:
        until(lambda: aws.calls(MODIFY, error="") == 4)
        worker.kill()
    left = until(fleet.lagging, lambda left: len(left) == 2)  # once EC2 has applied the changes that it accepted
    fleet.clear_faults()
    assert Enforcer(aws).batch(records).remediated == left
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_the_next_sweep_finalizes_changes_that_a_killed_process_had_not_sent(aws: LocalAws) -> None:
    """For each instance the ledger has one entry without a change, and a later one with it."""
    fleet = Fleet(aws)
    aws.fail(MODIFY, kind="hang", region=HOME)
    with Worker(aws, SCHEDULE) as worker:
        until(lambda: len(_open(aws)) == 3)
        worker.kill()
    fleet.clear_faults()
    assert Enforcer(aws, clock=WrongClock(A_SCHEDULE)).sweep().remediated >= {*fleet.healthy[HOME]}
    for instance_id in fleet.healthy[HOME]:
        first, second = _ledger_table(aws).entries.of(instance_id)
        assert (first.outcome, first.result) == (Outcome.DEFERRED, None)
        assert "the instance does not have the changed options" in first.reason
        assert (second.outcome, second.before, second.result) == (Outcome.REMEDIATED, first.before, second.wanted)
    assert _open(aws) == []
    assert fleet.violated() == []


def test_the_next_sweep_finalizes_changes_that_a_killed_process_had_sent(aws: LocalAws) -> None:
    """The sweep finds them applied, and the ledger has each once, as made."""
    fleet = Fleet(aws)
    aws.fail(DESCRIBE, kind="hang", first=2, region=HOME)
    with Worker(aws, SCHEDULE) as worker:
        until(lambda: aws.calls(MODIFY) == len(fleet.ids))
        worker.kill()
    fleet.clear_faults()
    until(lambda: not fleet.lagging())  # once EC2 has applied the changes that it accepted
    assert Enforcer(aws).sweep().answer["regions"][HOME] == {"status": "DONE", "outcomes": {"EXEMPT": 1, "SKIPPED": 1}}
    assert {entry.instance_id for entry in _open(aws)} >= {*fleet.healthy[HOME]}, "it might still be at work"
    assert Enforcer(aws, clock=WrongClock(A_SCHEDULE)).sweep().remediated == set()
    for instance_id in fleet.healthy[HOME]:
        (entry,) = _ledger_table(aws).entries.of(instance_id)
        assert (entry.outcome, entry.result and entry.result.http_tokens) == (Outcome.REMEDIATED, HttpTokens.REQUIRED)
        assert "the instance has the changed options" in entry.reason
    assert _open(aws) == []
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_killed_sweep_blocks_other_sweeps_until_its_deadline(aws: LocalAws) -> None:
    """It blocks those under the same policy; until then an inventory changes nothing, and a batch goes on."""
    fleet = Fleet(aws)
    aws.fail(MODIFY, kind="hang")
    with Worker(aws, SCHEDULE) as worker:
        until(lambda: len(_ledger_table(aws).entries.open_intents()) == len(fleet.ids))
        worker.kill()
    fleet.clear_faults()
    next_one = Enforcer(aws, run_id="run-2")
    assert next_one.sweep().answer == {"run_id": "run-2", "trigger": "schedule", "already_running": "run-1"}
    assert next_one.sweep(INVENTORY).answer["stopped"] == "the run run-1 is sweeping, so this one changes nothing"
    assert fleet.lagging() == fleet.ids
    assert next_one.batch(fleet.records(*fleet.events())).remediated == fleet.ids
    run = Enforcer(aws, run_id="run-3", clock=WrongClock(A_SCHEDULE)).sweep()
    assert run.metrics["SweepCompleted"] == 1
    assert fleet.violated() == []


def _ledger_table(aws: LocalAws) -> LedgerTable:
    clock = SystemClock()
    return LedgerTable(Table(lambda: aws.client("dynamodb"), TABLE, clock), clock)


def _open(aws: LocalAws) -> list[Entry]:
    """The open intents of any process for this region."""
    return [entry for entry in _ledger_table(aws).entries.open_intents() if entry.region == HOME]


def test_of_two_sweeps_at_once_one_makes_the_changes(aws: LocalAws) -> None:
    """Each instance is changed once; the other sweep ends at once and does not block the next one."""
    fleet = Fleet(aws)
    aws.knobs(apply_seconds=3)
    with Worker(aws, SCHEDULE) as first, Worker(aws, SCHEDULE, "run-2") as second:
        until(lambda: aws.calls(MODIFY) == len(fleet.ids))
        during = Enforcer(aws, run_id="run-3").sweep()
        assert during.answer["already_running"] in ("run-1", "run-2")
        logs = first.wait(), second.wait()
    assert all('"message":"run finished"' in log or '"message":"already running"' in log for log in logs)
    assert aws.calls(MODIFY) == len(fleet.ids)
    assert fleet.lagging() == set()
    after = Enforcer(aws, run_id="run-4").sweep()
    assert (after.remediated, after.metrics["SweepCompleted"]) == (set(), 1)
    assert fleet.violated() == []


def test_two_processes_with_the_same_batch_do_no_harm(aws: LocalAws) -> None:
    """The queue may deliver a message to two processes at the same time."""
    fleet = Fleet(aws)
    event = {"Records": fleet.records(*fleet.events())}
    aws.knobs(latency_seconds=0.1)
    with Worker(aws, event) as one, Worker(aws, event) as other:
        logs = one.wait(), other.wait()
    assert [log.count('"message":"run finished"') for log in logs] == [1, 1]
    assert [log.count('"outcome":"FAILED"') for log in logs] == [0, 0]
    assert fleet.lagging() == set()
    assert fleet.violated() == []
