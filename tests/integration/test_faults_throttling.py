import pytest

from infra.local.client import LocalAws
from tests.integration.enforcer_process import Enforcer, OwnPauses
from tests.integration.guarded_fleet import AWAY, DESCRIBE, HOME, MODIFY, Fleet

THROTTLED = "RequestLimitExceeded"


@pytest.mark.parametrize("kind", ["sweep", "batch"])
def test_a_burst_of_throttling_is_outlasted_in_the_same_run(aws: LocalAws, kind: str) -> None:
    """The first requests for changes are all refused."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    records = fleet.records(*fleet.events()) if kind == "batch" else []
    aws.fail(MODIFY, THROTTLED, status=503, calls=6)
    run = enforcer.batch(records) if records else enforcer.sweep()
    assert aws.calls(MODIFY, error=THROTTLED) == 6
    assert run.remediated == fleet.ids
    assert records == [] or run.coming_back(records) == []
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_bucket_that_others_emptied_lets_everything_through_at_its_own_pace(aws: LocalAws) -> None:
    """EC2 has a tenth of the requests left that the enforcer counts on."""
    fleet = Fleet(aws, healthy=6)
    aws.knobs(request_buckets={MODIFY: [3, 5], DESCRIBE: [100, 20]})
    run = Enforcer(aws).sweep()
    assert aws.calls(MODIFY, error=THROTTLED) > 0
    assert run.remediated == fleet.ids
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_sweep_through_minutes_of_throttling_leaves_the_rest_to_the_next(aws: LocalAws) -> None:
    """It ends at its deadline; each instance left is in the log with EC2's code, and the other region is done."""
    fleet, enforcer = Fleet(aws), Enforcer(aws, clock=OwnPauses(), sweep_deadline_seconds=2)
    aws.fail(MODIFY, THROTTLED, status=503, region=AWAY)
    run = enforcer.sweep()
    assert run.codes == dict.fromkeys(fleet.healthy[AWAY], THROTTLED)
    assert {run.outcomes[i] for i in fleet.healthy[AWAY]} == {"DEFERRED"}
    assert run.metrics["DEFERRED"] == 3
    assert run.answer["stopped"] == "out of time"
    assert fleet.lagging() == {*fleet.healthy[AWAY]}
    fleet.mend()
    assert Enforcer(aws).sweep().remediated == {*fleet.healthy[AWAY]}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_batch_through_minutes_of_throttling_brings_the_rest_back(aws: LocalAws) -> None:
    """Only the messages of the instances that are left, and the process that was throttled works them off."""
    fleet, enforcer = Fleet(aws), Enforcer(aws, clock=OwnPauses(), batch_deadline_seconds=4, verify_timeout_seconds=2)
    records = fleet.records(*fleet.events())
    aws.fail(MODIFY, THROTTLED, status=503, region=HOME)
    run = enforcer.batch(records)
    assert run.codes == dict.fromkeys(fleet.healthy[HOME], THROTTLED)
    assert fleet.lagging() == {*fleet.healthy[HOME]}
    again = run.coming_back(records)
    assert len(again) == 3
    fleet.mend()
    second = enforcer.batch(again)
    assert second.remediated == {*fleet.healthy[HOME]}
    assert second.coming_back(again) == []
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_region_that_throttles_every_read_is_named_and_read_by_the_next_run(aws: LocalAws) -> None:
    """Nothing is assumed of instances that were not seen."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    aws.fail(DESCRIBE, THROTTLED, status=503, region=AWAY)
    run = enforcer.sweep()
    assert run.region_errors == {AWAY: THROTTLED}
    assert run.metrics["RegionFailed"] == 1
    assert aws.calls(MODIFY, region=AWAY) == 0
    fleet.mend()
    assert enforcer.sweep().region_errors == {}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_changes_that_cannot_be_read_back_are_pending_with_the_code_of_the_read(aws: LocalAws) -> None:
    """EC2 took them; the next run finds nothing left to do."""
    fleet, enforcer = Fleet(aws), Enforcer(aws, verify_timeout_seconds=0.5)
    aws.fail(DESCRIBE, THROTTLED, status=503, region=AWAY, first=2)
    run = enforcer.sweep()
    assert {run.outcomes[i] for i in fleet.healthy[AWAY]} == {"PENDING"}
    assert run.codes == dict.fromkeys(fleet.healthy[AWAY], THROTTLED)
    fleet.mend()
    assert enforcer.sweep().outcomes == {}
    assert fleet.lagging() == set()
    assert fleet.violated() == []
