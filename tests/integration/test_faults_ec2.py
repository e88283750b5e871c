from infra.local.client import LocalAws
from tests.integration.enforcer_process import Enforcer
from tests.integration.guarded_fleet import DESCRIBE, HOME, MODIFY, REGIONS, Fleet

REFUSED = {
    "InvalidInstanceID.NotFound": "DEFERRED",
    "IncorrectInstanceState": "DEFERRED",
    "UnauthorizedOperation": "FAILED",
    "UnsupportedOperation": "FAILED",
}


def test_an_endpoint_without_the_parameter_for_managed_instances_hides_no_other_instance(aws: LocalAws) -> None:
    """The enforcer repeats the first read without the parameter, and drops it from all later ones."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    aws.fail(DESCRIBE, "UnknownParameter", status=400, parameters={"IncludeManagedResources": "true"})
    records = fleet.records(*fleet.events())
    run = enforcer.batch(records)
    assert run.remediated == fleet.ids
    assert run.coming_back(records) == []
    assert aws.calls(DESCRIBE, error="UnknownParameter") == len(REGIONS)
    assert fleet.violated() == []


def test_a_refusal_for_one_instance_stops_no_other(aws: LocalAws) -> None:
    """Messages come back for refusals that may pass; the sweep handles the others."""
    fleet, enforcer = Fleet(aws, healthy=6), Enforcer(aws)
    unlucky = dict(zip(fleet.healthy[HOME], REFUSED, strict=False))
    for instance, code in unlucky.items():
        aws.fail(MODIFY, code, status=400, instance_id=instance)
    records = fleet.records(*fleet.events())
    run = enforcer.batch(records)
    assert run.remediated == fleet.ids - unlucky.keys()
    assert run.codes == unlucky
    assert {code: run.outcomes[instance] for instance, code in unlucky.items()} == REFUSED
    assert fleet.lagging() == unlucky.keys()
    fleet.clear_faults()
    second = enforcer.batch(run.coming_back(records))
    assert second.remediated == {i for i in unlucky if run.outcomes[i] == "DEFERRED"}
    assert enforcer.sweep().remediated == {i for i in unlucky if run.outcomes[i] == "FAILED"}
    assert fleet.lagging() == set()
    assert fleet.violated() == []
