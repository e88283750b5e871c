"""Services other than EC2 that are down: Parameter Store stops all writes, the others stop none."""

from collections import Counter
from typing import Any

import pytest

from imds_enforcer.limits.pacing import Limit
from imds_enforcer.model import AwsError
from infra.local.client import LocalAws
from tests.integration.enforcer_process import INVENTORY, POLICY_CHANGE, Enforcer, LocalSession
from tests.integration.guarded_fleet import AWAY, HOME, MODIFY, Fleet

READ_POLICY = "ssm:GetParameters"
BATCH_COMES_BACK = "Parameter Store is out of reach: nothing was changed, the batch comes back"
NO_MAIL = "a notification could not be sent"
FAULTS: dict[str, dict[str, Any]] = {
    "InternalServerError": {"code": "InternalServerError"},
    "InvalidSignatureException": {"code": "InvalidSignatureException", "status": 400},  # the clock is wrong
    "IncompleteAnswer": {"kind": "truncate"},
}


@pytest.mark.parametrize("code", FAULTS)
def test_without_parameter_store_a_batch_comes_back_whole(aws: LocalAws, code: str) -> None:
    """Nothing is written under a policy that cannot be read."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    records = fleet.records(*fleet.events())
    aws.fail(READ_POLICY, **FAULTS[code])
    run = enforcer.batch(records)
    assert run.errors() == [(BATCH_COMES_BACK, code)]
    assert aws.calls(MODIFY) == 0
    again = run.coming_back(records)
    assert len(again) == len(records)
    fleet.mend()
    assert enforcer.batch(again).remediated == fleet.ids
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_without_parameter_store_a_sweep_fails_as_a_whole(aws: LocalAws) -> None:
    """Lambda's own error carries the code, and its retry or the next schedule does the work."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    for refused, code in ((["ssm"], "EndpointConnectionError"), ([], "InternalServerError")):
        aws.fail(READ_POLICY, "InternalServerError")
        with pytest.raises(AwsError, match=code):
            Enforcer(aws, session=LocalSession(aws, refused)).sweep()
    assert aws.calls(MODIFY) == 0
    fleet.mend()
    assert enforcer.sweep().remediated == fleet.ids
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_parameter_store_that_fails_in_the_middle_of_a_sweep_ends_its_writes(aws: LocalAws) -> None:
    """What is left is in the log with the reason, and the next sweep continues."""
    fleet = Fleet(aws)
    aws.fail(READ_POLICY, "InternalServerError", first=2)
    run = Enforcer(aws, change_limit=Limit(capacity=2, refill=0.3)).sweep()
    assert run.answer["stopped"].startswith("Parameter Store is out of reach (InternalServerError")
    deferred = {instance for instance, outcome in run.outcomes.items() if outcome == "DEFERRED"}
    assert run.remediated
    assert deferred == fleet.ids - run.remediated == fleet.lagging()
    fleet.mend()
    assert Enforcer(aws).sweep().remediated == deferred
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_without_a_list_of_regions_nothing_of_the_others_is_lost(aws: LocalAws) -> None:
    """Events of a region that may not be enabled come back, each with a line, and a sweep fails as a whole."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    records = fleet.records(*fleet.events())
    aws.fail("ec2:DescribeRegions", "UnauthorizedOperation", status=403)
    run = enforcer.batch(records)
    assert run.remediated == {*fleet.healthy[HOME]}
    unchecked = [line["error"] for line in run.lines if line["message"] == "a message could not be checked"]
    assert [error.partition(":")[0] for error in unchecked] == ["UnauthorizedOperation"] * 6
    again = run.coming_back(records)
    assert len(again) == 6
    with pytest.raises(AwsError, match="UnauthorizedOperation"):
        enforcer.sweep()
    fleet.mend()
    assert enforcer.batch(again).remediated == {*fleet.healthy[AWAY]}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


@pytest.mark.parametrize("refused", [[], ["sns"]])
def test_without_sns_a_change_of_the_policy_is_enforced_and_reported(aws: LocalAws, refused: list[str]) -> None:
    """That no mail could be sent is in the log with the code."""
    fleet = Fleet(aws)
    aws.fail("sns:Publish", "InternalFailure")
    run = Enforcer(aws, session=LocalSession(aws, refused)).sweep(POLICY_CHANGE)
    assert run.errors() == [(NO_MAIL, "EndpointConnectionError" if refused else "InternalFailure")]
    assert run.remediated == fleet.ids
    assert run.answer["outcomes"]["REMEDIATED"] == 6
    assert run.metrics["REMEDIATED"] == 6
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_without_sns_a_failure_is_still_in_the_report(aws: LocalAws) -> None:
    """And in the metrics, which need no service."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    unlucky = fleet.healthy[HOME][1]
    aws.fail("sns:Publish", "InternalFailure")
    aws.fail(MODIFY, "UnsupportedOperation", status=400, instance_id=unlucky)
    run = enforcer.sweep(INVENTORY)
    assert run.errors() == [(NO_MAIL, "InternalFailure")]
    assert run.codes == {unlucky: "UnsupportedOperation"}
    assert [failure["code"] for failure in run.answer["failures"]] == ["UnsupportedOperation"]
    assert (run.metrics["FAILED"], run.metrics["Instances"]) == (1, 12)
    fleet.mend()
    assert enforcer.sweep(INVENTORY).remediated == {unlucky}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_without_cloudwatch_nothing_changes(aws: LocalAws) -> None:
    """It cannot be felt: metrics are lines of the standard output, and neither CloudWatch nor its logs are called."""
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


def test_without_sqs_what_must_come_back_comes_back_later(aws: LocalAws) -> None:
    """The delay alone is lost: the answer to Lambda names the same messages."""
    fleet = Fleet(aws)
    unlucky = fleet.healthy[HOME][1]
    records = fleet.records(*fleet.events())
    aws.fail("sqs:ChangeMessageVisibility", "InternalError")
    aws.fail(MODIFY, "IncorrectInstanceState", status=400, instance_id=unlucky)
    run = Enforcer(aws).batch(records)
    assert run.errors() == [("messages come back only after the queue's visibility time-out", "InternalError")]
    assert run.remediated == fleet.ids - {unlucky}
    again = run.coming_back(records)
    assert len(again) == 1
    fleet.mend()
    assert Enforcer(aws).batch(again).remediated == {unlucky}
    assert fleet.lagging() == set()
    assert fleet.violated() == []
