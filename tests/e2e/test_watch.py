"""The watch names changed instances that still get calls without a token, once."""

import shlex
from datetime import UTC, datetime, timedelta

import pytest

from infra.demo.rollout_fleet import (
    EXEMPTION,
    GROUP,
    IMAGE,
    TEMPLATE,
    RolloutFleet,
    launch_rollout_fleet,
    put_calls,
)
from infra.local import operator
from infra.local.ledger_table import age_entries
from tests.e2e.stage import HOME, Stage

ASK = "cloudwatch:GetMetricData"
GATED = {"exemptions": [EXEMPTION], "legacy_calls": {}}
SUBJECT = "Instances still call IMDSv1"


def changed_a_while_ago(stage: Stage) -> tuple[RolloutFleet, list[str]]:
    """A rollout from an hour ago, and two of its 30 instances that have rejected calls since."""
    fleet = launch_rollout_fleet(stage.aws, HOME)
    assert stage.invoke({})["outcomes"]["REMEDIATED"] == 30
    age_entries(stage.aws, stage.outputs["LedgerTableName"], timedelta(hours=1))
    victims = [*fleet.plain[:2]]
    put_calls(stage.aws, HOME, "MetadataNoTokenRejected", dict.fromkeys(victims, 7), datetime.now(UTC))
    stage.aws.reset_calls()
    return fleet, victims


@pytest.mark.policy(GATED)
def test_rejected_calls_are_reported_once_with_the_launcher_of_the_instance(stage: Stage) -> None:
    """One mail covers both and one request all 30; the next sweep sends neither."""
    fleet, victims = changed_a_while_ago(stage)
    before = stage.metric("RejectedCalls")
    stage.invoke({})
    text = stage.mailbox.wait_for(SUBJECT)
    origin = f"(Auto Scaling group {GROUP}, launch template {TEMPLATE} version 7, image {IMAGE})"
    for victim in victims:
        [line] = [line for line in text.splitlines() if line.startswith(victim)]
        assert "7 calls without a token rejected" in line
        assert line.endswith(origin)
    assert not [each for each in fleet.changeable if each in text and each not in victims]
    assert stage.calls()[ASK] == 1
    assert stage.metric("RejectedCalls") - before == 2
    stage.invoke({})
    assert stage.calls()[ASK] == 1
    assert [subject for subject, _ in stage.mailbox.mails() if SUBJECT in subject] == [
        f"imds-enforcer: {SUBJECT} after it was switched off"
    ]
    assert {each["HttpTokens"] for each in stage.options(victims).values()} == {"required"}


@pytest.mark.policy(GATED)
def test_the_command_in_the_mail_reverts_and_holds_them(stage: Stage) -> None:
    """It affects only these two, and the next sweep leaves them alone."""
    fleet, victims = changed_a_while_ago(stage)
    stage.invoke({})
    name, *arguments = shlex.split(stage.mailbox.wait_for(SUBJECT).splitlines()[-1])
    assert name == "imds-enforcer"
    operator.answer(stage.aws, *arguments, "--yes", "--reason", "the shop is down")
    options = stage.options(fleet.changeable)
    assert {each for each, shown in options.items() if shown["HttpTokens"] == "optional"} == {*victims}
    report = stage.invoke({})
    assert report["outcomes"] == {"EXEMPT": 5, "HELD": 22}
    reasons = [each["reason"] for each in report["kept_back"] if each["instance_id"] in victims]
    assert all(reason.startswith("held until it is released") for reason in reasons)
    assert all("the shop is down" in reason for reason in reasons)
    assert {each["HttpTokens"] for each in stage.options(victims).values()} == {"optional"}
