import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.client import LocalAws
from tests.integration.local_resources import CHANGES, LAUNCHES, assumed, listen, outcome, role

STATES = {"detail-type": ["EC2 Instance State-change Notification"]}
NOT_BY_ENFORCER = {
    "$or": [
        {"userIdentity": {"sessionContext": {"sessionIssuer": {"userName": [{"anything-but": "enforcer"}]}}}},
        {"userIdentity": {"sessionContext": {"sessionIssuer": {"userName": [{"exists": False}]}}}},
    ]
}


def _launched(event: Any) -> list[str]:
    """The ids of a RunInstances event."""
    return [item["instanceId"] for item in event["detail"]["responseElements"]["instancesSet"]["items"]]


def test_the_trail_records_a_launch(aws: LocalAws) -> None:
    """With the request, the answer and the caller."""
    queue = listen(aws, LAUNCHES)
    ids = aws.launch(count=2, tags={"Owner": "web"}, HttpTokens="optional")
    [event] = queue.wait_for(1)
    assert (event["source"], event["account"], event["region"]) == ("aws.ec2", aws.account, aws.region)
    detail = event["detail"]
    items = detail["responseElements"]["instancesSet"]["items"]
    assert [item["instanceId"] for item in items] == ids
    assert items[0]["metadataOptions"]["httpTokens"] == "optional"
    assert items[0]["tagSet"]["items"] == [{"key": "Owner", "value": "web"}]
    assert items[0]["operator"] == {"managed": False}
    assert detail["requestParameters"]["instancesSet"]["items"][0]["maxCount"] == 2
    assert detail["userIdentity"]["type"] == "Root"
    assert "errorCode" not in detail


def test_large_response_elements_are_omitted(aws: LocalAws) -> None:
    """CloudTrail cuts them off at 100 KB."""
    queue = listen(aws, LAUNCHES)
    aws.launch(count=100)
    [event] = queue.wait_for(1)
    elements = event["detail"]["responseElements"]
    assert elements["omitted"] == "true"
    assert elements["originalSize"] > 100 * 1024


def test_a_failed_call_has_an_error_and_no_response(aws: LocalAws) -> None:
    """Rules can filter it out by its errorCode."""
    queue = listen(aws, CHANGES)
    with pytest.raises(ClientError):
        aws.client("ec2").modify_instance_metadata_options(InstanceId="i-0123456789abcdef0", HttpTokens="required")
    [event] = queue.wait_for(1)
    assert event["detail"]["errorCode"] == "Client.InvalidInstanceID.NotFound"
    assert event["detail"]["responseElements"] is None


def test_the_record_of_a_refused_launch_has_caller_request_and_reason(aws: LocalAws) -> None:
    """The code with its prefix, EC2's text (EC2 User Guide, "Troubleshoot instance launch issues"), and no answer."""
    ec2 = aws.client("ec2")
    ec2.modify_instance_metadata_defaults(HttpTokens="required", HttpTokensEnforced="enabled")
    queue = listen(aws, LAUNCHES)
    template = ec2.create_launch_template(
        LaunchTemplateName="refused", LaunchTemplateData={"MetadataOptions": {"HttpTokens": "optional"}}
    )["LaunchTemplate"]["LaunchTemplateId"]
    wanted = {
        "LaunchTemplate": {"LaunchTemplateId": template, "Version": "1"},
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": "aws:autoscaling:groupName", "Value": "web"}]}
        ],
    }
    with pytest.raises(ClientError) as refused:
        ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, **wanted)
    assert outcome(ec2.run_instances, ImageId="ami-1", MinCount=1, MaxCount=1, DryRun=True) == "DryRunOperation"
    records = [event["detail"] for event in queue.wait_for(2)]
    launch, dry_run = sorted(records, key=lambda each: "dryRun" in each["requestParameters"])
    assert (launch["errorCode"], launch["responseElements"]) == ("Client.UnsupportedOperation", None)
    assert launch["errorMessage"] == refused.value.response["Error"]["Message"]
    assert "httpTokensEnforced is enabled for this account" in launch["errorMessage"]
    assert launch["eventID"] != dry_run["eventID"]
    assert launch["userIdentity"]["type"] == "Root"
    request = launch["requestParameters"]
    assert request["launchTemplate"] == {"launchTemplateId": template, "version": "1"}
    assert request["tagSpecificationSet"]["items"] == [
        {"resourceType": "instance", "tags": [{"key": "aws:autoscaling:groupName", "value": "web"}]}
    ]
    assert (dry_run["errorCode"], dry_run["requestParameters"]["dryRun"]) == ("Client.DryRunOperation", "true")


def test_the_record_of_a_change_names_the_instance_and_the_session(aws: LocalAws) -> None:
    """The issuer of a session is its role."""
    queue = listen(aws, CHANGES)
    [instance] = aws.launch(HttpTokens="optional")
    arn = role(aws, "operator")
    aws.client("ec2", keys=assumed(aws, arn)).modify_instance_metadata_options(
        InstanceId=instance, HttpTokens="required"
    )
    [event] = queue.wait_for(1)
    request = event["detail"]["requestParameters"]["ModifyInstanceMetadataOptionsRequest"]
    assert request == {"InstanceId": instance, "HttpTokens": "required"}
    identity = event["detail"]["userIdentity"]
    assert identity["type"] == "AssumedRole"
    assert identity["arn"] == f"arn:aws:sts::{aws.account}:assumed-role/operator/session"
    assert identity["sessionContext"]["sessionIssuer"]["arn"] == arn


def test_state_changes_arrive_in_order(aws: LocalAws) -> None:
    """From the launch to the termination."""
    queue = listen(aws, STATES)
    [instance] = aws.launch()
    ec2 = aws.client("ec2")
    ec2.stop_instances(InstanceIds=[instance])
    ec2.start_instances(InstanceIds=[instance])
    ec2.terminate_instances(InstanceIds=[instance])
    states = [event["detail"]["state"] for event in queue.wait_for(8)]
    expected = "pending running stopping stopped pending running shutting-down terminated"
    assert states == expected.split()
    assert queue.bodies[0]["detail"]["instance-id"] == instance
    assert queue.bodies[0]["resources"] == [f"arn:aws:ec2:{aws.region}:{aws.account}:instance/{instance}"]


def test_a_hidden_instance_sends_no_state_changes(aws: LocalAws) -> None:
    """The trail has its launch, with its manager. It sends state changes if the account shows managed resources.

    EC2 User Guide, "Managed resource visibility".
    """
    launches, states = listen(aws, LAUNCHES), listen(aws, STATES)
    [hidden] = aws.launch(managed_by="eks.amazonaws.com")
    [launch] = launches.wait_for(1)
    [item] = launch["detail"]["responseElements"]["instancesSet"]["items"]
    assert item["instanceId"] == hidden
    assert item["operator"] == {"managed": True, "principal": "eks.amazonaws.com"}
    ec2 = aws.client("ec2")
    ec2.stop_instances(InstanceIds=[hidden])
    ec2.start_instances(InstanceIds=[hidden])
    ec2.terminate_instances(InstanceIds=[hidden])
    aws.knobs(managed_visible=True)
    [shown] = aws.launch(managed_by="eks.amazonaws.com")
    assert [event["detail"]["instance-id"] for event in states.wait_for(2)] == [shown, shown]


def test_each_kind_of_event_can_be_off(aws: LocalAws) -> None:
    """An account without a trail has only state changes."""
    everything = listen(aws, {"source": ["aws.ec2"]})
    aws.knobs(cloudtrail_events=False)
    aws.launch()
    assert {event["detail-type"] for event in everything.wait_for(2)} == {"EC2 Instance State-change Notification"}
    aws.knobs(cloudtrail_events=True, state_change_events=False)
    aws.launch()
    everything.wait_for(3)
    assert everything.bodies[2]["detail-type"] == "AWS API Call via CloudTrail"


def test_a_knob_delays_events(aws: LocalAws) -> None:
    """A trail sometimes delivers minutes later."""
    queue = listen(aws, {"source": ["aws.ec2"]})
    aws.knobs(cloudtrail_seconds=0.5)
    aws.launch()
    kinds = [event["detail-type"] for event in queue.wait_for(3)]
    assert kinds[-1] == "AWS API Call via CloudTrail"


def test_a_rule_can_exclude_one_role(aws: LocalAws) -> None:
    """Users, root and other roles pass; a rule excludes the enforcer's own changes in this way."""
    queue = listen(aws, {"detail": {"eventName": ["ModifyInstanceMetadataOptions"], **NOT_BY_ENFORCER}})
    [instance] = aws.launch()
    iam = aws.client("iam")
    iam.create_user(UserName="ann")
    keys = iam.create_access_key(UserName="ann")["AccessKey"]
    callers = [
        assumed(aws, role(aws, "enforcer")),
        {"aws_access_key_id": keys["AccessKeyId"], "aws_secret_access_key": keys["SecretAccessKey"]},
        {},
        assumed(aws, role(aws, "operator")),
    ]
    for caller in callers:
        aws.client("ec2", keys=caller).modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
    kinds = [event["detail"]["userIdentity"]["type"] for event in queue.wait_for(3)]
    assert kinds == ["IAMUser", "Root", "AssumedRole"]
    assert queue.bodies[2]["detail"]["userIdentity"]["arn"].endswith("/operator/session")


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ({"a": {"b": [{"anything-but": ["x"]}]}}, False),  # the path is missing
        ({"a": {"b": [{"exists": False}]}}, True),
        ({"c": [{"prefix": "hel"}]}, True),
        ({"c": [{"suffix": "LO"}]}, False),
        ({"$or": [{"c": ["other"]}, {"n": [{"numeric": [">", 1]}]}]}, True),
        ({"$or": [{"c": ["other"]}, {"a": {"b": [{"exists": True}]}}]}, False),
    ],
)
def test_patterns_match_as_documented(aws: LocalAws, pattern: dict[str, Any], *, matches: bool) -> None:
    """An operator on a missing path matches nothing, except `exists: false`."""
    event = {
        "id": "1",
        "account": aws.account,
        "source": "own",
        "time": "2026-01-01T00:00:00Z",
        "region": aws.region,
        "resources": [],
        "detail-type": "kind",
        "detail": {"c": "hello", "n": 2},
    }
    answer = aws.client("events").test_event_pattern(
        EventPattern=json.dumps({"detail": pattern}), Event=json.dumps(event)
    )
    assert answer["Result"] is matches


def _forward(aws: LocalAws, bus: str, role_arn: str = "") -> None:
    """Make a rule in another region that sends launches to a bus at home."""
    events = aws.client("events", "us-east-1")
    events.put_rule(Name="forward", EventPattern=json.dumps(LAUNCHES))
    target = {"Id": "home", "Arn": f"arn:aws:events:{aws.region}:{aws.account}:event-bus/{bus}"}
    events.put_targets(Rule="forward", Targets=[target | ({"RoleArn": role_arn} if role_arn else {})])


@pytest.mark.parametrize("bus", ["default", "own"])
def test_a_forwarded_event_keeps_its_region(aws: LocalAws, bus: str) -> None:
    """On the default bus of another region, and on a custom one."""
    if bus == "own":
        aws.client("events").create_event_bus(Name="own")
    queue = listen(aws, LAUNCHES, bus=bus)
    _forward(aws, bus, role(aws, "forwarder"))
    [instance] = aws.launch("us-east-1")
    [event] = queue.wait_for(1)
    assert (event["region"], event["account"]) == ("us-east-1", aws.account)
    assert _launched(event) == [instance]


def test_an_event_of_another_account_keeps_its_account(aws: LocalAws) -> None:
    """Rules of other accounts may send to a bus; a pattern that names an account matches only its events.

    EventBridge User Guide, "Sending and receiving events between AWS accounts".
    """
    everyone, own = listen(aws, LAUNCHES), listen(aws, {**LAUNCHES, "account": [aws.account]})
    other = aws.in_account(f"9{aws.account[1:]}")
    events = other.client("events")
    events.put_rule(Name="share", EventPattern=json.dumps(LAUNCHES))
    bus = f"arn:aws:events:{aws.region}:{aws.account}:event-bus/default"
    events.put_targets(Rule="share", Targets=[{"Id": "bus", "Arn": bus, "RoleArn": role(other, "sharer")}])
    [theirs], [ours] = other.launch(), aws.launch()
    seen = {event["account"]: _launched(event) for event in everyone.wait_for(2)}
    assert seen == {other.account: [theirs], aws.account: [ours]}
    assert [_launched(event) for event in own.wait_for(1)] == [[ours]]


def test_another_region_needs_a_role_with_the_permission(aws: LocalAws) -> None:
    """Without it the event is lost."""
    home, away = listen(aws, LAUNCHES), listen(aws, LAUNCHES, "us-east-1")
    with pytest.raises(ClientError, match="RoleArn is required"):
        _forward(aws, "default")
    _forward(aws, "default", role(aws, "forwarder", {"Action": "events:PutEvents", "Resource": "*"}))
    aws.enforce_iam()
    [first] = aws.launch("us-east-1")
    home.wait_for(1)
    aws.client("iam").delete_role_policy(RoleName="forwarder", PolicyName="may")
    aws.launch("us-east-1")
    away.wait_for(2)
    assert [_launched(event) for event in home.received()] == [[first]]


def test_a_custom_bus_keeps_its_events_to_itself(aws: LocalAws) -> None:
    """The account's rules on the default bus do not match them."""
    aws.client("events").create_event_bus(Name="own")
    default, own = listen(aws, LAUNCHES), listen(aws, LAUNCHES, bus="own")
    _forward(aws, "own", role(aws, "forwarder"))
    aws.launch("us-east-1")
    own.wait_for(1)
    assert default.received() == []
