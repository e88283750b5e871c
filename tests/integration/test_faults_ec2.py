from collections.abc import Iterable

import pytest

from infra.local.client import LocalAws
from tests.integration.enforcer_process import Enforcer
from tests.integration.guarded_fleet import AWAY, DESCRIBE, HOME, MODIFY, REGIONS, Fleet

OUTAGES = [("InternalError", 500), ("ServiceUnavailable", 503)]

IN_A_SWEEP = {
    "InvalidInstanceID.NotFound": "GONE",
    "IncorrectInstanceState": "DEFERRED",
    "UnauthorizedOperation": "FAILED",
    "UnsupportedOperation": "FAILED",
}
IN_A_BATCH = IN_A_SWEEP | {"InvalidInstanceID.NotFound": "DEFERRED"}


def test_a_passing_outage_is_outlasted_in_the_same_run(aws: LocalAws) -> None:
    """The first changes in each region are refused."""
    fleet = Fleet(aws)
    for region, (code, status) in zip(REGIONS, OUTAGES, strict=True):
        aws.fail(MODIFY, code, status=status, calls=3, region=region)
    run = Enforcer(aws).sweep()
    assert [aws.calls(MODIFY, error=code) for code, _ in OUTAGES] == [3, 3]
    assert run.remediated == fleet.ids
    assert run.codes == {}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_what_a_batch_is_refused_for_one_instance_stops_no_other(aws: LocalAws) -> None:
    """The messages come back of those for which that may help; the sweep has the others."""
    fleet, enforcer = Fleet(aws, healthy=6), Enforcer(aws)
    unlucky = _refused(fleet, IN_A_BATCH)
    records = fleet.records(*fleet.events())
    run = enforcer.batch(records)
    assert run.remediated == fleet.ids - unlucky.keys()
    assert run.codes == unlucky
    assert {code: run.outcomes[instance] for instance, code in unlucky.items()} == IN_A_BATCH
    assert fleet.lagging() == unlucky.keys()
    fleet.mend()
    second = enforcer.batch(run.coming_back(records))
    assert second.remediated == {i for i in unlucky if run.outcomes[i] == "DEFERRED"}
    assert enforcer.sweep().remediated == {i for i in unlucky if run.outcomes[i] == "FAILED"}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


@pytest.mark.parametrize(
    ("code", "status", "comes_back"), [("UnauthorizedOperation", 403, 0), ("InternalError", 500, 6)]
)
def test_events_of_a_region_that_refuses_everything(aws: LocalAws, code: str, status: int, comes_back: int) -> None:
    """Each instance named gets its line with the code; of nobody there is known whether it is protected."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    records = fleet.records(*fleet.events())
    for action in (DESCRIBE, MODIFY):
        aws.fail(action, code, status=status, region=AWAY)
    run = enforcer.batch(records)
    assert run.remediated == {*fleet.healthy[HOME]}
    assert run.codes == dict.fromkeys([*fleet.healthy[AWAY], *fleet.protected[AWAY]], code)
    again = run.coming_back(records)
    assert len(again) == comes_back
    fleet.mend()
    second = enforcer.batch(again) if again else enforcer.sweep()
    assert second.remediated == {*fleet.healthy[AWAY]}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def _refused(fleet: Fleet, codes: Iterable[str]) -> dict[str, str]:
    """One instance for each code, and its code."""
    unlucky = dict(zip(fleet.healthy[HOME], codes, strict=False))
    for instance, code in unlucky.items():
        fleet.aws.fail(MODIFY, code, status=400, instance_id=instance)
    return unlucky
