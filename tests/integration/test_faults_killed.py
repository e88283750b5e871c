from typing import Any

import pytest

from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.integration.enforcer_process import SCHEDULE, Enforcer
from tests.integration.enforcer_worker import Worker
from tests.integration.guarded_fleet import DESCRIBE, HOME, MODIFY, REGIONS, Fleet


@pytest.mark.parametrize("kind", ["sweep", "batch"])
def test_a_process_killed_in_the_middle_of_its_changes_loses_nothing(aws: LocalAws, kind: str) -> None:
    """Some instances are changed and some are not; the next process does the rest, given the same batch or none."""
    fleet = Fleet(aws)
    records = fleet.records(*fleet.events()) if kind == "batch" else []
    for region in REGIONS:
        aws.fail(MODIFY, kind="hang", region=region, first=3)
    event: dict[str, Any] = {"Records": records} if records else SCHEDULE
    with Worker(aws, event) as worker:
        until(lambda: aws.calls(MODIFY, error="") == 4)
        worker.kill()
    left = until(fleet.lagging, lambda left: len(left) == 2)  # once EC2 has applied what it took
    fleet.mend()
    second = Enforcer(aws).batch(records) if records else Enforcer(aws).sweep()
    assert second.remediated == left
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_process_killed_before_it_read_back_loses_nothing(aws: LocalAws) -> None:
    """Changes that were accepted are found applied."""
    fleet = Fleet(aws)
    aws.fail(DESCRIBE, kind="hang", region=HOME, first=2)
    with Worker(aws, SCHEDULE) as worker:
        until(lambda: aws.calls(MODIFY, region=HOME) == 3)
        worker.kill()
    fleet.mend()
    assert Enforcer(aws).sweep().answer["regions"][HOME] == {"status": "DONE", "outcomes": {"EXEMPT": 1, "SKIPPED": 1}}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_two_processes_with_the_same_batch_do_no_harm(aws: LocalAws) -> None:
    """The queue may deliver a message twice, to two of them at the same moment."""
    fleet = Fleet(aws)
    event = {"Records": fleet.records(*fleet.events())}
    aws.knobs(latency_seconds=0.1)
    with Worker(aws, event) as one, Worker(aws, event) as other:
        logs = one.wait(), other.wait()
    assert [log.count('"message":"run finished"') for log in logs] == [1, 1]
    assert [log.count('"outcome":"FAILED"') for log in logs] == [0, 0]
    assert fleet.lagging() == set()
    assert fleet.violated() == []
