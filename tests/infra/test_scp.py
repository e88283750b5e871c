"""The SCP of `imds-enforcer guardrails scp`, evaluated by an independent simulator."""

import re
from typing import Any

import pytest

from imds_enforcer_cli.account.connection import STACK
from imds_enforcer_cli.account.function_role import GENERATED_NAME
from infra import state
from tests.fakes.command_tree import commands
from tests.fakes.examples import ACCOUNT, HOME
from tests.fakes.scp_cases import CASES, TAGGED
from tests.fakes.scp_requests import DEPLOYER, ENFORCER, INSTANCE, MODIFY, OPERATOR, PARAMETERS, TABLE, an_scp
from tests.infra.synthesized import Stack, readable
from tests.simulator.simulator import refusing

ACTION = re.compile(r"\b[a-z0-9]+:[A-Z][A-Za-z]+")
STRICTEST = an_scp(TAGGED, role_delivery=True)
"""The SCP with every possible statement."""

DEPLOYMENT = {
    "AWS::CloudWatch::Alarm": ("cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"),
    "AWS::CloudWatch::Dashboard": ("cloudwatch:PutDashboard", "cloudwatch:DeleteDashboards"),
    "AWS::DynamoDB::Table": (
        *("dynamodb:CreateTable", "dynamodb:UpdateTable", "dynamodb:DeleteTable", "dynamodb:DescribeTable"),
        *("dynamodb:UpdateTimeToLive", "dynamodb:UpdateContinuousBackups", "dynamodb:TagResource"),
    ),
    "AWS::Events::EventBus": ("events:CreateEventBus", "events:DeleteEventBus"),
    "AWS::Events::EventBusPolicy": ("events:PutPermission",),
    "AWS::Events::Rule": ("events:PutRule", "events:PutTargets", "events:DeleteRule"),
    "AWS::IAM::Role": ("iam:CreateRole", "iam:PutRolePolicy", "iam:PassRole", "iam:DeleteRole"),
    "AWS::KMS::Key": ("kms:CreateKey", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"),
    "AWS::Lambda::EventInvokeConfig": ("lambda:PutFunctionEventInvokeConfig",),
    "AWS::Lambda::EventSourceMapping": ("lambda:CreateEventSourceMapping",),
    "AWS::Lambda::Function": ("lambda:CreateFunction", "lambda:UpdateFunctionCode", "lambda:DeleteFunction"),
    "AWS::Lambda::Permission": ("lambda:AddPermission",),
    "AWS::Logs::LogGroup": ("logs:CreateLogGroup", "logs:PutRetentionPolicy", "logs:DeleteLogGroup"),
    "AWS::SNS::Subscription": ("sns:Subscribe",),
    "AWS::SNS::Topic": ("sns:CreateTopic", "sns:DeleteTopic"),
    "AWS::SNS::TopicPolicy": ("sns:SetTopicAttributes",),
    "AWS::SQS::Queue": ("sqs:CreateQueue", "sqs:SetQueueAttributes", "sqs:DeleteQueue"),
    "AWS::SQS::QueuePolicy": ("sqs:SetQueueAttributes",),
    "AWS::SSM::Parameter": (
        *("ssm:PutParameter", "ssm:DeleteParameter", "ssm:DeleteParameters", "ssm:GetParameters"),
        "ssm:AddTagsToResource",
    ),
    "AWS::Scheduler::Schedule": ("scheduler:CreateSchedule", "scheduler:DeleteSchedule"),
}
"""The calls that CloudFormation makes for the stacks' resources."""

NO_CALLS = {"AWS::CDK::Metadata", "AWS::CloudFormation::WaitConditionHandle"}


@pytest.fixture(scope="module")
def judged() -> list[list[str]]:
    """The statements that deny each request of the table."""
    return refusing([(case.scp, case.request) for case in CASES])


@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case) for case in CASES])
def test_a_request(judged: list[list[str]], number: int) -> None:
    """The expected statement denies the request, or none does: the unit tests use the same table."""
    assert judged[number] == [*CASES[number].refused]


def test_the_functions_calls_pass(home: Stack) -> None:
    """Each action of each statement of the function's role, with its resources."""
    calls = [
        (action, resource)
        for policy in home.properties("EnforcerRole")["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        for action in _many(statement["Action"])
        for resource in map(_resolved, _many(statement["Resource"]))
    ]
    assert (MODIFY, f"arn:aws:ec2:*:{ACCOUNT}:instance/*") in calls
    assert _refused(ENFORCER, calls) == []


def test_the_commands_calls_pass() -> None:
    """Each action that a command's help names, for an operator."""
    actions = {action for command in commands().values() for action in ACTION.findall(command.epilog or "")}
    assert {MODIFY, "ssm:PutParameter", "dynamodb:BatchWriteItem"} <= actions
    assert _refused(OPERATOR, [(action, _resource(action)) for action in sorted(actions)]) == []


def test_cloudformations_calls_pass(home: Stack) -> None:
    """For every resource of the stacks, with the deployer's role that the SCP names."""
    types = {each["Type"] for each in (*home.template["Resources"].values(), *state.template()["Resources"].values())}
    assert types <= DEPLOYMENT.keys() | NO_CALLS
    actions = {action for kind in types - NO_CALLS for action in DEPLOYMENT[kind]}
    assert _refused(DEPLOYER, [(action, _resource(action)) for action in sorted(actions)]) == []


def test_a_role_name_that_cloudformation_generates_is_recognized(home: Stack) -> None:
    """The name of the function's role, from its logical id in the template."""
    [logical_id] = [name for name in home.template["Resources"] if readable({"Ref": name}) == "${EnforcerRole}"]
    assert GENERATED_NAME.fullmatch(f"{STACK}-{logical_id}-1AB2CD3EF4GH")


def _refused(by: str, calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    requests: list[dict[str, Any]] = [
        {"action": action, "resource": resource, "context": {"aws:PrincipalArn": by, "aws:RequestedRegion": HOME}}
        for action, resource in calls
    ]
    found = refusing([(STRICTEST, request) for request in requests])
    return [call for call, sids in zip(calls, found, strict=True) if sids]


def _resource(action: str) -> str:
    """The resource that the SCP protects, for an action that it may concern."""
    if action == MODIFY:
        return INSTANCE
    return {"dynamodb": TABLE, "ssm": PARAMETERS[0]}.get(action.partition(":")[0], "*")


def _resolved(resource: str) -> str:
    """The resource of a statement in the template; `*` if its name is generated at deployment."""
    for name, value in (("Partition", "aws"), ("Region", HOME), ("AccountId", ACCOUNT)):
        resource = resource.replace(f"${{AWS::{name}}}", value)
    return "*" if "${" in resource else resource


def _many(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values
