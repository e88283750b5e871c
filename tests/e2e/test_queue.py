"""The queue: what fails goes back alone, what can never work ends in the dead-letter queue, the rest goes on."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.local.waiting import until
from tests.e2e.stage import HOME, MODIFY, PATIENCE_SECONDS, Stage
from tests.fakes import example_events

UNKNOWN = "i-0123456789abcdef0"
REFUSED = "a message cannot be handled"


def _arrived(stage: Stage, *, age: float = 0) -> dict[str, Any]:
    """The fields of an event of this account and region that happened so many seconds ago."""
    moment = datetime.now(UTC) - timedelta(seconds=age)
    return {"account": stage.aws.account, "region": HOME, "time": moment.isoformat(timespec="milliseconds")}


def _launched_unseen(stage: Stage, count: int) -> list[str]:
    with stage.unseen():
        return stage.aws.launch(HOME, count, HttpTokens="optional")


def test_of_five_ids_one_unknown_four_are_enforced_at_once_and_one_is_gone_later(stage: Stage) -> None:
    """The event is short of ten minutes old when it arrives, and past that when it has come back."""
    ids = _launched_unseen(stage, 4)
    stage.warm_up()
    stage.send(example_events.launch(*ids[:2], UNKNOWN, *ids[2:], **_arrived(stage, age=595)))
    deferred = stage.wait_for_outcome(UNKNOWN, "DEFERRED")
    for instance in ids:
        assert stage.wait_for_outcome(instance, "REMEDIATED")["run_id"] == deferred["run_id"]
    gone = stage.wait_for_outcome(UNKNOWN, "GONE")
    assert re.fullmatch(r"still unknown 6\d\d s after its event", gone["reason"])
    stage.drain()
    assert stage.log_lines(level="ERROR") == []
    assert stage.dead_letters(0) == []


def test_of_ten_messages_with_one_poison_nine_are_done_and_one_is_a_dead_letter(stage: Stage) -> None:
    """It is refused at every receive, goes back at once, and takes no other message with it."""
    ids = _launched_unseen(stage, 9)
    events = [example_events.running(instance, **_arrived(stage)) for instance in ids]
    stage.send(*events[:4], "poison", *events[4:])
    stage.wait_for(ids, HttpTokens="required")
    stage.drain()
    assert stage.dead_letters(1) == ["poison"]
    [(_, reason)] = {(line["message_id"], line["error"]) for line in stage.log_lines(message=REFUSED)}
    assert reason.startswith("the body is not JSON")
    assert '"poison"' in reason
    assert [stage.outcomes(instance) for instance in ids] == [[("running", "REMEDIATED")]] * 9


def test_every_kind_of_poison_ends_as_a_dead_letter_with_its_reason_logged(stage: Stage) -> None:
    """Nothing is written for any of them."""
    here = _arrived(stage)
    elsewhere, nowhere = here | {"account": "999999999999"}, here | {"region": "us-moon-1"}
    reasons = {
        "account is 999999999999; allowed: 000000000000": example_events.running(UNKNOWN, **elsewhere),
        "region is us-moon-1; allowed: the regions enabled in the account": example_events.running(UNKNOWN, **nowhere),
        'instance id is "i-xyz"; allowed: i- and 8 or 17 hexadecimal digits': example_events.drift("i-xyz", **here),
        "detail-type is null; allowed: EC2 Instance State-change Notification, AWS API Call via CloudTrail": {
            "detail": {}
        },
    }
    stage.send(*reasons.values())
    stage.drain()
    assert len(stage.dead_letters(len(reasons))) == len(reasons)
    assert {line["error"] for line in stage.log_lines(message=REFUSED)} == set(reasons)
    assert stage.writes() == 0


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


def test_a_throttled_change_is_made_as_soon_as_ec2_takes_it(stage: Stage) -> None:
    """In the same run, while that has time."""
    throttled, *others = ids = _launched_unseen(stage, 4)
    stage.aws.fail(MODIFY, "RequestLimitExceeded", status=503, instance_id=throttled)
    stage.send(example_events.launch(*ids, **_arrived(stage)))
    until(lambda: stage.aws.calls(MODIFY, error="RequestLimitExceeded") >= 2, seconds=PATIENCE_SECONDS)
    stage.wait_for(others, HttpTokens="required")
    stage.aws.clear_faults()
    stage.wait_for([throttled], HttpTokens="required")
    stage.drain()
    assert [stage.outcomes(instance) for instance in ids] == [[("launch", "REMEDIATED")]] * 4


def test_a_change_that_is_forbidden_fails_alone_and_does_not_come_back(stage: Stage) -> None:
    """With EC2's own code, in the log and in the metrics."""
    forbidden, *others = ids = _launched_unseen(stage, 3)
    before = stage.metric("FAILED"), stage.metric("FAILED", HOME)
    stage.aws.fail(MODIFY, "UnauthorizedOperation", status=403, instance_id=forbidden)
    stage.send(example_events.launch(*ids, **_arrived(stage)))
    stage.wait_for(others, HttpTokens="required")
    assert stage.wait_for_outcome(forbidden, "FAILED")["code"] == "UnauthorizedOperation"
    stage.drain()
    assert stage.outcomes(forbidden) == [("launch", "FAILED")]
    assert (stage.metric("FAILED"), stage.metric("FAILED", HOME)) == (before[0] + 1, before[1] + 1)


def test_without_parameter_store_nothing_is_written_until_the_batch_comes_back(stage: Stage) -> None:
    """No policy, no change; the events wait in the queue."""
    stage.restart()  # no worker remembers the policy
    stage.aws.fail("ssm:GetParameters", "InternalServerError", caller=stage.caller, calls=3)
    stage.aws.knobs(state_change_events=False)
    [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    [line] = stage.wait_for_lines(code="InternalServerError")
    assert line["message"] == "Parameter Store is out of reach: nothing was changed, the batch comes back"
    assert stage.writes() == 0
    stage.aws.clear_faults()
    stage.wait_for([instance], HttpTokens="required")
    stage.drain()
    assert stage.outcomes(instance) == [("launch", "REMEDIATED")]
