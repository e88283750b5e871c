"""Queues, roles and functions that a test builds on the local AWS."""

import io
import itertools
import json
import textwrap
import zipfile
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from infra.local.client import LocalAws
from infra.local.waiting import until

UNKNOWN = "i-0123456789abcdef0"
LAUNCHES = {"detail-type": ["AWS API Call via CloudTrail"], "detail": {"eventName": ["RunInstances"]}}
CHANGES = {
    "detail-type": ["AWS API Call via CloudTrail"],
    "detail": {"eventName": ["ModifyInstanceMetadataOptions"]},
}

_numbers = itertools.count(1)


def outcome(call: Callable[..., Any], **arguments: Any) -> str:
    """The code with which a call is refused; empty if it succeeds."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def refused(call: Callable[..., Any], **arguments: Any) -> str:
    """The code with which a call is refused."""
    code = outcome(call, **arguments)
    assert code, "the call succeeded"
    return code


class Queue:
    """An SQS queue whose messages a test reads."""

    def __init__(self, aws: LocalAws, name: str, region: str = "", **attributes: str) -> None:
        self.sqs = aws.client("sqs", region)
        self.url: str = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        got = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        self.arn: str = got["Attributes"]["QueueArn"]
        self.bodies: list[Any] = []

    def send(self, *bodies: str) -> None:
        """Put messages on the queue."""
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def received(self) -> list[Any]:
        """Every body received so far, parsed as JSON."""
        answer = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, VisibilityTimeout=600)
        self.bodies += [json.loads(message["Body"]) for message in answer.get("Messages", [])]
        return self.bodies

    def wait_for(self, count: int) -> list[Any]:
        """The bodies, once there are this many."""
        return until(self.received, lambda bodies: len(bodies) >= count)

    def wait_for_event(self, accept: Callable[[Any], bool]) -> Any:
        """The first event that `accept` returns True for."""
        return next(filter(accept, until(self.received, lambda bodies: any(map(accept, bodies)))))


def listen(aws: LocalAws, pattern: dict[str, Any], region: str = "", bus: str = "default") -> Queue:
    """A queue that receives the events matching a pattern."""
    name = f"listener-{next(_numbers)}"
    queue = Queue(aws, name, region)
    events = aws.client("events", region)
    events.put_rule(Name=name, EventPattern=json.dumps(pattern), EventBusName=bus)
    events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": queue.arn}])
    return queue


def role(aws: LocalAws, name: str, *statements: dict[str, Any], path: str = "/") -> str:
    """A role with these statements; returns its ARN."""
    iam = aws.client("iam")
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}
    made = iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(trust))
    arn: str = made["Role"]["Arn"]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **each} for each in statements]}
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=json.dumps(policy))
    return arn


def function(aws: LocalAws, name: str, source: str, *, role_arn: str = "", region: str = "") -> str:
    """A Lambda function from the source of a module with a `handler`; returns its ARN."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("index.py", textwrap.dedent(source))
    answer = aws.client("lambda", region).create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="index.handler",
        Role=role_arn or role(aws, f"{name}-role"),
        Timeout=30,
        Code={"ZipFile": package.getvalue()},
    )
    return str(answer["FunctionArn"])


def assumed(aws: LocalAws, role_arn: str) -> dict[str, str]:
    """The keys of a session of a role."""
    keys = aws.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="session")["Credentials"]
    return {
        "aws_access_key_id": keys["AccessKeyId"],
        "aws_secret_access_key": keys["SecretAccessKey"],
        "aws_session_token": keys["SessionToken"],
    }
