"""Which mails are sent, and the metrics of the daily inventory."""

from tests.e2e.stage import FORWARDED, HOME, MODIFY, Stage

CHANGED = "imds-enforcer: The policy was changed"
INVALID = "imds-enforcer: The policy was changed and is invalid"
DIGEST = "imds-enforcer: Instances that need attention"
EXPIRED = {"match": {"tag": {"key": "old"}}, "reason": "was to move", "owner": "web team", "expires": "2020-01-31"}


def test_a_change_of_policy_or_toggle_is_mailed_with_version_and_value(stage: Stage) -> None:
    """One mail for each change."""
    policy = stage.set_policy({"mode": "audit", "http_put_response_hop_limit": 2})
    text = stage.mailbox.wait_for(CHANGED, f"Policy (version {policy}):\nmode: audit\n")
    assert "http_put_response_hop_limit: 2\n" in text
    tokens = stage.set_http_tokens("optional")
    stage.mailbox.wait_for(CHANGED, f"HttpTokens: optional (version {tokens})")
    stage.settle(http_tokens=tokens)
    assert [subject for subject, _ in stage.mailbox.mails()].count(CHANGED) == 2


def test_an_invalid_policy_is_mailed_with_what_is_wrong_and_raises_its_alarm(stage: Stage) -> None:
    """CloudWatch, too, may use the key and publish: the alarm's change of state is a mail of its own."""
    cloudwatch = stage.aws.client("cloudwatch")
    alarms = cloudwatch.describe_alarms()["MetricAlarms"]
    [alarm] = [each["AlarmName"] for each in alarms if "PolicyInvalid" in each["AlarmName"]]
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="the alarm may already be raised")
    stage.set_policy({"mode": "off"})
    assert 'mode is "off"; allowed: enforce, audit' in stage.mailbox.wait_for(INVALID)
    stage.mailbox.wait_for(f'ALARM: "{alarm}"')


def test_the_inventory_mails_one_digest_and_counts_the_fleet(stage: Stage) -> None:
    """Of four instances, one cannot be changed, and one counts as compliant because its metadata service is off."""
    with stage.unseen():
        forbidden, _ = stage.aws.launch(HOME, 2, HttpTokens="optional")
        stage.aws.launch(FORWARDED, HttpTokens="required")
        stage.aws.launch(FORWARDED, HttpTokens="optional", HttpEndpoint="disabled")
    stage.aws.fail(MODIFY, "UnauthorizedOperation", status=403, instance_id=forbidden)
    counts = {
        ("Instances", ""): 4,
        ("CompliantInstances", ""): 3,
        ("Instances", HOME): 2,
        ("CompliantInstances", HOME): 1,
        ("Instances", FORWARDED): 2,
        ("CompliantInstances", FORWARDED): 2,
    }
    before = {metric: stage.metric(*metric) for metric in counts}
    report = stage.invoke({"inventory": True})
    assert report["outcomes"] == {"REMEDIATED": 1, "COMPLIANT": 1, "SKIPPED": 1, "FAILED": 1}
    assert {metric: stage.metric(*metric) - before[metric] for metric in counts} == counts
    assert f"{forbidden} in {HOME} failed: UnauthorizedOperation" in stage.mailbox.wait_for(DIGEST)
    assert stage.calls()["sns:Publish"] == 1
