import json

import pytest

from imds_enforcer.runs.events import SweepRequest, parse_invocation
from tests.infra.synthesized import Stack, Synthesize

UNDELIVERED = "${LostInvocationsDeadLetters.Arn}"


def test_a_change_of_either_parameter_invokes_the_function(home: Stack) -> None:
    """Its creation, update or deletion; a label changes no value."""
    assert home.properties("TriggersParameterChanged") == {
        "Name": "imds-enforcer-parameter-changed",
        "EventPattern": {
            "account": ["${AWS::AccountId}"],
            "source": ["aws.ssm"],
            "detail-type": ["Parameter Store Change"],
            "detail": {
                "name": ["/imds-enforcer/http-tokens", "/imds-enforcer/policy"],
                "operation": ["Create", "Update", "Delete"],
            },
        },
        "Targets": [{"Id": "Function", "Arn": "${EnforcerFunction.Arn}", "DeadLetterConfig": {"Arn": UNDELIVERED}}],
    }


@pytest.mark.parametrize(
    ("name", "expression", "payload"),
    [
        ("TriggersSweep", "rate(15 minutes)", {"trigger": "schedule"}),
        ("TriggersInventory", "cron(0 6 * * ? *)", {"inventory": True}),
    ],
)
def test_the_schedules(home: Stack, name: str, expression: str, payload: dict[str, object]) -> None:
    """Neither retries, and the code takes both inputs for sweeps."""
    properties = home.properties(name)
    received = json.loads(properties["Target"].pop("Input"))
    assert received == payload
    assert isinstance(parse_invocation(received, "111122223333"), SweepRequest)
    assert properties == {
        "Name": f"imds-enforcer-{name.removeprefix('Triggers').lower()}",
        "ScheduleExpression": expression,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": "${EnforcerFunction.Arn}",
            "RoleArn": "${TriggersSchedulerRole.Arn}",
            "RetryPolicy": {"MaximumRetryAttempts": 0},
            "DeadLetterConfig": {"Arn": UNDELIVERED},
        },
    }


def test_the_schedule_in_the_context_is_used(synthesize: Synthesize) -> None:
    """Converted to minutes."""
    stack = Stack(synthesize(schedule="rate(2 hours)").get_stack_by_name("ImdsEnforcer").template)
    assert stack.properties("TriggersSweep")["ScheduleExpression"] == "rate(120 minutes)"


def test_the_schedulers_role(home: Stack) -> None:
    """It invokes the function, and keeps undelivered invocations."""

    def allow(sid: str, action: str | list[str], resource: str) -> dict[str, object]:
        return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}

    assert home.properties("TriggersSchedulerRole") == {
        "AssumeRolePolicyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "scheduler.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                    "Condition": {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}},
                }
            ],
        },
        "Policies": [
            {
                "PolicyName": "schedule",
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        allow("Invoke", "lambda:InvokeFunction", "${EnforcerFunction.Arn}"),
                        allow("KeepUndelivered", "sqs:SendMessage", UNDELIVERED),
                        allow("UseMessageKey", ["kms:Decrypt", "kms:GenerateDataKey"], "${Key.Arn}"),
                    ],
                },
            }
        ],
    }
