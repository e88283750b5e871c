"""Services that are down: without the policy all writes stop, without any other service none does."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from imds_enforcer.limits.pacing import Limit
from imds_enforcer.model import AwsError
from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.fakes import example_events
from tests.integration.enforcer_process import INVENTORY, Enforcer
from tests.integration.guarded_fleet import AWAY, HOME, MODIFY, Fleet

READ_POLICY = "ssm:GetParameters"


def test_parameter_store_that_fails_in_the_middle_of_a_sweep_ends_its_writes(aws: LocalAws) -> None:
    """The log has the reason for the instances left, and the next sweep changes them."""
    fleet = Fleet(aws)
    with ThreadPoolExecutor(1) as pool:
        sweep = pool.submit(Enforcer(aws, change_limit=Limit(capacity=2, refill=0.2)).sweep)
        # Not earlier, since on a slow machine the sweep may read the policy again before the first change.
        until(lambda: aws.calls(MODIFY))
        aws.fail(READ_POLICY, "InternalServerError")
        run = sweep.result()
    assert run.answer["stopped"].startswith("Parameter Store is out of reach (InternalServerError")
    deferred = {instance for instance, outcome in run.outcomes.items() if outcome == "DEFERRED"}
    assert run.remediated
    assert deferred == fleet.ids - run.remediated == fleet.lagging()
    fleet.clear_faults()
    assert Enforcer(aws).sweep().remediated == deferred
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_without_a_list_of_regions_no_event_of_another_region_is_lost(aws: LocalAws) -> None:
    """Events of a region that is perhaps not enabled come back, each with a log line; a sweep fails as a whole."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    records = fleet.records(*fleet.events())
    aws.fail("ec2:DescribeRegions", "AuthFailure", status=401)
    run = enforcer.batch(records)
    assert run.remediated == {*fleet.healthy[HOME]}
    unchecked = [line["error"] for line in run.lines if line["message"] == "a message could not be checked"]
    assert [error.partition(":")[0] for error in unchecked] == ["AuthFailure"] * 6
    again = run.coming_back(records)
    assert len(again) == 6
    with pytest.raises(AwsError, match="AuthFailure"):
        enforcer.sweep()
    fleet.clear_faults()
    assert enforcer.batch(again).remediated == {*fleet.healthy[AWAY]}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


@pytest.mark.parametrize(
    ("code", "answered"), [("ExpiredToken", "ExpiredToken"), ("ExpiredTokenException", "RequestExpired")]
)
def test_refused_credentials_end_a_sweep_at_once(aws: LocalAws, code: str, answered: str) -> None:
    """In every region: changes that were sent are reported, all others are deferred to the next sweep."""
    fleet = Fleet(aws, healthy=20)
    aws.fail(MODIFY, code, first=3)
    run = Enforcer(aws, change_limit=Limit(capacity=4, refill=0.3)).sweep()
    assert aws.calls(MODIFY) <= 2 * 4, "changes were sent after the refusal"
    assert run.answer["stopped"].startswith(f"AWS does not accept the credentials ({answered}: ")
    counted = run.answer["outcomes"]
    assert counted["FAILED"] == aws.calls(MODIFY, error=answered)
    assert counted["DEFERRED"] == 40 - aws.calls(MODIFY)
    assert [line["message"] for line in run.lines if line["level"] == "ERROR" and "instance_id" not in line] == [
        "AWS does not accept the credentials: the run has ended"
    ]
    fleet.clear_faults()
    Enforcer(aws).sweep()
    assert fleet.lagging() == set()
    assert fleet.violated() == []


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException"])
def test_a_batch_comes_back_if_every_call_refuses_the_credentials(aws: LocalAws, code: str) -> None:
    """It makes one request to the first service, and none to the queue."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    records = fleet.records(*fleet.events())
    aws.reset_calls()
    aws.fail("*:*", code)
    run = enforcer.batch(records)
    assert len(run.coming_back(records)) == len(records)
    assert Counter(row["action"] for row in aws.call_rows() for _ in range(row["count"])) == {READ_POLICY: 1}
    with pytest.raises(AwsError, match=code):
        enforcer.sweep()
    fleet.clear_faults()
    assert enforcer.batch(run.coming_back(records)).remediated == fleet.ids
    assert fleet.violated() == []


def test_a_region_that_does_not_accept_the_credentials_ends_alone(aws: LocalAws) -> None:
    """It ends with the first answers; the other region goes on."""
    fleet = Fleet(aws, healthy=20)
    aws.fail(MODIFY, "AuthFailure", region=AWAY)
    run = Enforcer(aws, change_limit=Limit(capacity=4, refill=20)).sweep()
    assert run.remediated == {*fleet.healthy[HOME]}
    away = run.answer["regions"][AWAY]
    assert away["stopped"].startswith("EC2 does not accept the credentials in this region (AuthFailure: ")
    assert aws.calls(MODIFY, region=AWAY) == away["outcomes"]["FAILED"] <= 4
    assert away["outcomes"]["DEFERRED"] == 20 - away["outcomes"]["FAILED"]
    fleet.clear_faults()
    assert Enforcer(aws).sweep().remediated == {*fleet.healthy[AWAY]}
    assert fleet.violated() == []


def test_if_the_list_of_regions_is_denied_the_policys_regions_are_covered(aws: LocalAws) -> None:
    """By batches, in which no message comes back, and by the sweep; a region that is denied too stops no other."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    records = fleet.records(*fleet.events(), fleet.event(example_events.running, region="eu-north-1"))
    aws.deny("ec2:DescribeRegions")
    run = enforcer.batch(records)
    assert run.remediated == fleet.ids
    assert run.answer == {"batchItemFailures": []}
    [left] = [line for line in run.lines if line["message"].startswith("events of regions that EC2 does not list")]
    assert left["regions"] == {"eu-north-1": 1}
    aws.deny("ec2:DescribeInstances", region=AWAY)
    aws.reset_calls()
    answer = enforcer.sweep().answer
    assert [*answer["regions"]] == [HOME]
    assert aws.calls("ec2:DescribeInstances", region=AWAY) == 1
    [warning] = answer["warnings"]
    assert warning.endswith(f"This covers only {HOME}, {AWAY}; name others in the policy's regions.include.")
    assert enforcer.sweep(INVENTORY).answer["regions"][AWAY]["status"] == "REGION_DENIED"
    fleet.clear_faults()
    assert fleet.violated() == []


def test_without_cloudwatch_everything_works(aws: LocalAws) -> None:
    """Metrics are lines on standard output; the enforcer calls neither CloudWatch nor its Logs."""
    fleet = Fleet(aws)
    for action in ("cloudwatch:PutMetricData", "logs:PutLogEvents", "logs:CreateLogStream"):
        aws.fail(action, "InternalFailure")
    aws.reset_calls()
    run = Enforcer(aws).sweep(INVENTORY)
    services = Counter(row["action"].partition(":")[0] for row in aws.call_rows())
    assert services.keys() == {"ssm", "ec2", "dynamodb"}
    assert run.metrics["REMEDIATED"] == 6
    assert fleet.lagging() == set()
    assert fleet.violated() == []
