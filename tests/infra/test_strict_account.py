"""Deployed as a strict account requires: tags, boundary, a bootstrap of its own, role name, protected stacks."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from infra.account_rules import BOUNDARY, QUALIFIER
from infra.local.client import LocalAws
from infra.local.deployment import Deployment
from infra.local.waiting import until
from tests.infra import aws_commands
from tests.infra.synthesized import FORWARDED
from tests.infra.test_deploy import refusal, run, stacks
from tests.integration.local_resources import listen

TAGS = {"team": "platform", "cost-center": "42"}
FORWARDER = f"ImdsEnforcerForwarder-{FORWARDED}"
ROLE = "imds-enforcer"
CONTEXT = {
    "regions": FORWARDED,
    "tags": json.dumps(TAGS),
    "role_name": ROLE,
    "role_path": "/security/imds/",
    "termination_protection": "true",
    BOUNDARY: json.dumps({"name": "boundary"}),
    QUALIFIER: "strict",
}


def given(**changed: str) -> list[str]:
    """The context as arguments, with some values changed."""
    values = CONTEXT | changed
    return [word for key, value in values.items() for word in ("-c", f"{key}={value}")]


@pytest.fixture
def account(local_aws: LocalAws) -> LocalAws:
    """An account with the boundary's policy and the enforcer's first deployment."""
    aws = local_aws.in_account("312987654321")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    aws.client("iam").create_policy(PolicyName="boundary", PolicyDocument=json.dumps(everything))
    aws.reset_calls()
    run(*given(), environment=aws.environment())
    return aws


def test_the_life_of_a_deployment(account: LocalAws) -> None:
    """Deployed by the real CLI: what the account has then, that the enforcer works there, and its removal."""
    assert stacks(account) == {"CDKToolkit-strict", "ImdsEnforcer", "ImdsEnforcerState"}
    deployed_by_the_roles_of_the_bootstrap(account)
    tagged(account)
    bound(account)
    own_changes_do_not_come_back(account)
    removed_only_when_the_protection_is_lifted(account)


def deployed_by_the_roles_of_the_bootstrap(aws: LocalAws) -> None:
    """The stacks need no other bootstrap, and no bootstrap is replaced."""
    role = f"role/cdk-strict-deploy-role-{aws.account}-{aws.region}"
    assert aws.calls("cloudformation:CreateStack", caller=role, region=aws.region) == 1
    for region in (aws.region, FORWARDED):
        assert aws.calls("cloudformation:CreateChangeSet", caller=role, region=region) == 1
    execution = f"arn:aws:iam::{aws.account}:role/cdk-strict-cfn-exec-role-{aws.account}-{aws.region}"
    for stack, region in (("ImdsEnforcer", ""), ("ImdsEnforcerState", ""), (FORWARDER, FORWARDED)):
        described = aws.client("cloudformation", region).describe_stacks(StackName=stack)["Stacks"][0]
        assert described["RoleARN"] == execution
        assert described["EnableTerminationProtection"]
    assert [each["Name"] for each in aws.client("ssm").describe_parameters()["Parameters"]] == [
        "/cdk-bootstrap/strict/version",
        "/imds-enforcer/http-tokens",
        "/imds-enforcer/policy",
    ]


def tagged(aws: LocalAws) -> None:
    """Stacks and resources have the tags, in both regions."""
    for stack, region in (("ImdsEnforcer", ""), ("ImdsEnforcerState", ""), (FORWARDER, FORWARDED)):
        described = aws.client("cloudformation", region).describe_stacks(StackName=stack)["Stacks"][0]
        assert {each["Key"]: each["Value"] for each in described["Tags"]} == TAGS
    outputs = Deployment(aws).outputs
    sqs, kms, functions = aws.client("sqs"), aws.client("kms"), aws.client("lambda")
    queue = sqs.get_queue_attributes(QueueUrl=outputs["EventQueueUrl"], AttributeNames=["KmsMasterKeyId"])
    function = functions.get_function_configuration(FunctionName=outputs["FunctionName"])
    topic = aws.client("sns").list_tags_for_resource(ResourceArn=outputs["NotificationTopicArn"])["Tags"]
    has(sqs.list_queue_tags(QueueUrl=outputs["EventQueueUrl"])["Tags"])
    has({each["Key"]: each["Value"] for each in topic})
    has(functions.list_tags(Resource=function["FunctionArn"])["Tags"])
    key = kms.list_resource_tags(KeyId=queue["Attributes"]["KmsMasterKeyId"])["Tags"]
    has({each["TagKey"]: each["TagValue"] for each in key})
    for region in (aws.region, FORWARDED):
        rules = aws.client("events", region)
        for rule in rules.list_rules()["Rules"]:
            has({each["Key"]: each["Value"] for each in rules.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]})


def bound(aws: LocalAws) -> None:
    """All three roles have boundary and tags; the function's has its name and its path."""
    iam = aws.client("iam")
    roles = [
        iam.get_role(RoleName=each["PhysicalResourceId"])["Role"]
        for stack, region in (("ImdsEnforcer", ""), (FORWARDER, FORWARDED))
        for each in aws.client("cloudformation", region).describe_stack_resources(StackName=stack)["StackResources"]
        if each["ResourceType"] == "AWS::IAM::Role"
    ]
    assert len(roles) == 3
    boundary = f"arn:aws:iam::{aws.account}:policy/boundary"
    for role in roles:
        assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary
        has({each["Key"]: each["Value"] for each in role["Tags"]})
    assert sorted(role["Path"] for role in roles) == ["/", "/", "/security/imds/"]
    assert iam.get_role(RoleName=ROLE)["Role"]["Arn"] == f"arn:aws:iam::{aws.account}:role/security/imds/{ROLE}"


def has(found: Mapping[str, str]) -> None:
    """The tags are among those that a resource has."""
    assert found.items() >= TAGS.items()


def own_changes_do_not_come_back(aws: LocalAws) -> None:
    """A session's ARN has no path, but the ARN of its role has, and the rules match that one."""
    events = aws.client("events")
    changes = listen(aws, {"detail": {"eventName": ["ModifyInstanceMetadataOptions"]}})
    [instance] = aws.launch(HttpTokens="optional")
    until(lambda: aws.metadata_options(instance)["HttpTokens"], lambda tokens: tokens == "required", seconds=60)
    [event] = changes.wait_for(1)
    issuer = event["detail"]["userIdentity"]["sessionContext"]["sessionIssuer"]
    assert issuer["arn"] == f"arn:aws:iam::{aws.account}:role/security/imds/{ROLE}"
    assert event["detail"]["userIdentity"]["arn"].startswith(f"arn:aws:sts::{aws.account}:assumed-role/{ROLE}/")
    for bus in ("default", "imds-enforcer"):
        rule = events.describe_rule(Name="imds-enforcer-options-changed", EventBusName=bus)["EventPattern"]
        assert not matches(aws, rule, event)
        issuer["arn"] = f"arn:aws:iam::{aws.account}:role/{ROLE}"
        assert matches(aws, rule, event)
        issuer["arn"] = f"arn:aws:iam::{aws.account}:role/security/imds/{ROLE}"


def matches(aws: LocalAws, pattern: str, event: Mapping[str, Any]) -> bool:
    """Whether EventBridge would deliver the event."""
    answer = aws.client("events").test_event_pattern(EventPattern=pattern, Event=json.dumps(event))
    return bool(answer["Result"])


def removed_only_when_the_protection_is_lifted(aws: LocalAws) -> None:
    """All stacks or none: the loss of a forwarder alone would go unnoticed."""
    written = refusal("destroy", *given(), environment=aws.environment()).strip()
    first, *commands = written.splitlines()
    assert first.startswith(f"nothing was removed: termination protection is on for ImdsEnforcer, {FORWARDER}.")
    assert stacks(aws) == {"CDKToolkit-strict", "ImdsEnforcer", "ImdsEnforcerState"}
    assert stacks(aws, FORWARDED) == {FORWARDER}
    for command, region in zip(commands, (aws.region, FORWARDED), strict=True):
        aws_commands.run([command.strip()], aws, regions=[region])
    run("destroy", *given(), environment=aws.environment())
    assert stacks(aws) == {"CDKToolkit-strict", "ImdsEnforcerState"}
    assert stacks(aws, FORWARDED) == set()
