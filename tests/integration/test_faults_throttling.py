from infra.local.client import LocalAws
from tests.integration.enforcer_process import Enforcer
from tests.integration.guarded_fleet import AWAY, DESCRIBE, MODIFY, Fleet

THROTTLED = "RequestLimitExceeded"


def test_a_run_outlasts_a_burst_of_throttling(aws: LocalAws) -> None:
    """EC2 refuses the first requests for all changes."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    records = fleet.records(*fleet.events())
    aws.fail(MODIFY, THROTTLED, status=503, calls=6)
    run = enforcer.batch(records)
    assert aws.calls(MODIFY, error=THROTTLED) == 6
    assert run.remediated == fleet.ids
    assert run.coming_back(records) == []
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_run_adapts_to_a_bucket_that_others_use_too(aws: LocalAws) -> None:
    """Of the requests that the enforcer assumes, EC2 has only a fraction left."""
    fleet = Fleet(aws, healthy=6)
    aws.knobs(request_buckets={MODIFY: [3, 5], DESCRIBE: [100, 20]})
    run = Enforcer(aws).sweep()
    assert aws.calls(MODIFY, error=THROTTLED) > 0
    assert run.remediated == fleet.ids
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_changes_that_cannot_be_read_back_are_pending_with_the_code_of_the_read(aws: LocalAws) -> None:
    """EC2 has made them; the next run has nothing left to do."""
    fleet, enforcer = Fleet(aws), Enforcer(aws, verify_timeout_seconds=0.5)
    aws.fail(DESCRIBE, THROTTLED, status=503, region=AWAY, first=2)
    run = enforcer.sweep()
    assert {run.outcomes[i] for i in fleet.healthy[AWAY]} == {"PENDING"}
    assert run.codes == dict.fromkeys(fleet.healthy[AWAY], THROTTLED)
    fleet.clear_faults()
    assert enforcer.sweep().outcomes == {}
    assert fleet.lagging() == set()
    assert fleet.violated() == []
