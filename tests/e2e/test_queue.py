"""The queue: a message that fails comes back alone; dead letters are tested in test_permissions."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.stage import HOME, MODIFY, Stage
from tests.fakes import example_events
from tests.integration.local_resources import role

UNKNOWN = "i-0123456789abcdef0"


def _arrived(stage: Stage, *, age: float = 0) -> dict[str, Any]:
    """The fields of an event of this account and region that is this many seconds old."""
    moment = datetime.now(UTC) - timedelta(seconds=age)
    return {"account": stage.aws.account, "region": HOME, "time": moment.isoformat(timespec="milliseconds")}


def _launched_unseen(stage: Stage, count: int) -> list[str]:
    with stage.unseen():
        return stage.aws.launch(HOME, count, HttpTokens="optional")


def test_an_unknown_id_delays_no_other_id_and_is_gone_in_the_end(stage: Stage) -> None:
    """The event is not quite ten minutes old when it first arrives, and older when it comes back."""
    ids = _launched_unseen(stage, 4)
    stage.warm_up()
    stage.send(example_events.launch(*ids[:2], UNKNOWN, *ids[2:], **_arrived(stage, age=595)))
    deferred = stage.wait_for_outcome(UNKNOWN, "DEFERRED")
    for instance in ids:
        assert stage.wait_for_outcome(instance, "REMEDIATED")["run_id"] == deferred["run_id"]
    gone = stage.wait_for_outcome(UNKNOWN, "GONE")
    assert re.fullmatch(r"EC2 still does not know the instance 6\d\d s after its event", gone["reason"])
    stage.drain()
    assert stage.log_lines(level="ERROR") == []
    assert stage.dead_letters(0) == []


def test_events_of_other_accounts_are_left_to_those_accounts(stage: Stage) -> None:
    """A rule of the other account sends its events to this account's bus; one is put on the queue directly."""
    other = stage.aws.in_account("444455556666")
    bus = f"arn:aws:events:{HOME}:{stage.aws.account}:event-bus/default"
    rules = other.client("events")
    rules.put_rule(Name="share", EventPattern='{"source": ["aws.ec2"]}')
    rules.put_targets(Rule="share", Targets=[{"Id": "bus", "Arn": bus, "RoleArn": role(other, "sharer")}])
    counted = stage.metric("ForeignEvents")
    [theirs], [ours] = other.launch(HOME, HttpTokens="optional"), stage.aws.launch(HOME, HttpTokens="optional")
    stage.wait_for([ours], HttpTokens="required")
    stage.send(example_events.running(theirs, **_arrived(stage) | {"account": other.account}))
    [line] = stage.wait_for_lines(message="events of other accounts were ignored")
    assert line["foreign_accounts"] == {other.account: 1}
    stage.drain()
    assert stage.metric("ForeignEvents") == counted + 1
    assert (stage.outcomes(theirs), stage.dead_letters(0)) == ([], [])
    assert other.metadata_options(theirs)["HttpTokens"] == "optional"


@pytest.mark.however_deployed
def test_a_change_that_meets_a_fault_of_ec2_is_made_when_its_message_comes_back(stage: Stage) -> None:
    """The other instances of the event are done at once."""
    unlucky, *others = ids = _launched_unseen(stage, 4)
    stage.aws.fail(MODIFY, "InternalError", status=500, instance_id=unlucky)
    stage.send(example_events.launch(*ids, **_arrived(stage)))
    run = stage.wait_for_outcome(unlucky, "DEFERRED")["run_id"]
    assert {stage.wait_for_outcome(instance, "REMEDIATED")["run_id"] for instance in others} == {run}
    stage.aws.clear_faults()
    assert stage.wait_for_outcome(unlucky, "REMEDIATED")["run_id"] != run
    stage.drain()
    assert stage.dead_letters(0) == []


def test_without_parameter_store_nothing_is_written_until_the_batch_comes_back(stage: Stage) -> None:
    """Without a policy nothing changes; the events wait in the queue."""
    stage.restart()  # so that no worker remembers the policy
    stage.aws.fail("ssm:GetParameters", "InternalServerError", caller=stage.caller, calls=3)
    stage.aws.knobs(state_change_events=False)
    [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    [line] = stage.wait_for_lines(code="InternalServerError")
    assert line["message"] == "Parameter Store is out of reach: nothing was changed; the batch comes back"
    assert stage.writes() == 0
    stage.aws.clear_faults()
    stage.wait_for([instance], HttpTokens="required")
    stage.drain()
    assert stage.outcomes(instance) == [("launch", "REMEDIATED")]
