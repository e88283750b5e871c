"""The demands of strict accounts on a stack: boundaries, paths and tags, which reach the resources."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.client import LocalAws
from tests.integration.local_resources import assumed

STACK = "strict"
QUICK = {"Delay": 1, "MaxAttempts": 30}
TAGS = [{"Key": "team", "Value": "x"}]


def allowed(*actions: str) -> dict[str, Any]:
    """A policy that allows these actions."""
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": [*actions], "Resource": "*"}]}


def trust(aws: LocalAws) -> dict[str, Any]:
    """A trust policy: the account's own principals."""
    principal = {"AWS": f"arn:aws:iam::{aws.account}:root"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def deploy(aws: LocalAws, operation: str, resources: dict[str, Any], **more: object) -> None:
    """Create the stack, or update it."""
    cloudformation = aws.client("cloudformation")
    call = cloudformation.create_stack if operation == "create" else cloudformation.update_stack
    body = json.dumps({"Resources": resources})
    call(StackName=STACK, TemplateBody=body, Capabilities=["CAPABILITY_NAMED_IAM"], **more)
    cloudformation.get_waiter(f"stack_{operation}_complete").wait(StackName=STACK, WaiterConfig=QUICK)


def test_a_roles_boundary_applies_until_it_is_removed(aws: LocalAws) -> None:
    """IAM User Guide, 'Permissions boundaries': only actions that the boundary allows too are allowed."""
    iam = aws.client("iam")
    boundary = iam.create_policy(PolicyName="b", PolicyDocument=json.dumps(allowed("ec2:DescribeRegions")))["Policy"]
    properties = {
        "RoleName": "bound",
        "Path": "/one/two/",
        "AssumeRolePolicyDocument": trust(aws),
        "Policies": [{"PolicyName": "p", "PolicyDocument": allowed("ec2:DescribeRegions", "ec2:DescribeInstances")}],
        "PermissionsBoundary": boundary["Arn"],
        "Tags": TAGS,
    }
    deploy(aws, "create", {"Role": {"Type": "AWS::IAM::Role", "Properties": properties}})
    role = iam.get_role(RoleName="bound")["Role"]
    assert role["Arn"] == f"arn:aws:iam::{aws.account}:role/one/two/bound"
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary["Arn"]
    assert TAGS[0] in role["Tags"]
    ec2 = aws.client("ec2", keys=assumed(aws, role["Arn"]))
    aws.enforce_iam()
    ec2.describe_regions()
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        ec2.describe_instances()

    aws.enforce_iam(enforced=False)
    del properties["PermissionsBoundary"]
    deploy(aws, "update", {"Role": {"Type": "AWS::IAM::Role", "Properties": properties}})
    assert "PermissionsBoundary" not in iam.get_role(RoleName="bound")["Role"]
    aws.enforce_iam()
    ec2.describe_instances()


def test_a_session_of_a_role_with_a_path_has_it_in_its_issuer_alone(aws: LocalAws) -> None:
    """IAM User Guide, 'IAM identifiers': the ARN of an assumed role has no path, that of the role has it."""
    arn = aws.client("iam").create_role(
        RoleName="deep", Path="/one/two/", AssumeRolePolicyDocument=json.dumps(trust(aws))
    )["Role"]["Arn"]
    assert arn == f"arn:aws:iam::{aws.account}:role/one/two/deep"
    caller = aws.client("sts", keys=assumed(aws, arn)).get_caller_identity()["Arn"]
    assert caller.startswith(f"arn:aws:sts::{aws.account}:assumed-role/deep/")


def test_tags_of_the_stack_reach_every_resource_that_can_have_tags(aws: LocalAws) -> None:
    """User Guide, 'Tags of a stack': CloudFormation adds them to its resources."""
    pattern = {"source": ["x"]}
    deploy(
        aws,
        "create",
        {
            "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "q"}},
            "Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": allowed("kms:*")}},
            "Rule": {"Type": "AWS::Events::Rule", "Properties": {"Name": "r", "EventPattern": pattern, "Tags": TAGS}},
        },
        Tags=TAGS,
    )
    sqs, kms = aws.client("sqs"), aws.client("kms")
    assert sqs.list_queue_tags(QueueUrl=sqs.get_queue_url(QueueName="q")["QueueUrl"])["Tags"]["team"] == "x"
    (key,) = kms.list_keys()["Keys"]
    assert {"TagKey": "team", "TagValue": "x"} in kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]
    rule = f"arn:aws:events:{aws.region}:{aws.account}:rule/r"
    assert aws.client("events").list_tags_for_resource(ResourceARN=rule)["Tags"] == TAGS


def test_tags_beyond_the_limits_are_refused(aws: LocalAws) -> None:
    """API reference, Tag: reserved prefixes, and at most 50."""
    for tags in ([{"Key": "aws:x", "Value": "y"}], [{"Key": str(n), "Value": "y"} for n in range(51)]):
        with pytest.raises(ClientError, match="ValidationError"):
            deploy(aws, "create", {"Queue": {"Type": "AWS::SQS::Queue"}}, Tags=tags)


def test_a_stack_shows_the_role_that_it_was_last_given(aws: LocalAws) -> None:
    """API reference, CreateStack and CreateChangeSet: CloudFormation keeps using it in later operations."""
    cloudformation = aws.client("cloudformation")
    first, second = (f"arn:aws:iam::{aws.account}:role/{name}" for name in ("first", "second"))
    queue = {"Queue": {"Type": "AWS::SQS::Queue"}}
    deploy(aws, "create", queue, RoleARN=first)
    assert role_of(aws) == first
    deploy(aws, "update", queue, Tags=TAGS)
    assert role_of(aws) == first
    body = json.dumps({"Resources": {**queue, "Topic": {"Type": "AWS::SNS::Topic"}}})
    change = {"StackName": STACK, "ChangeSetName": "c"}
    cloudformation.create_change_set(**change, TemplateBody=body, RoleARN=second)
    assert role_of(aws) == first
    cloudformation.execute_change_set(**change)
    cloudformation.get_waiter("stack_update_complete").wait(StackName=STACK, WaiterConfig=QUICK)
    assert role_of(aws) == second


def role_of(aws: LocalAws) -> str:
    """The role of the stack."""
    return str(aws.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["RoleARN"])
