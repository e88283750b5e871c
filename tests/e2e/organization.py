"""The organization above the account: its SCP, attached to roles as a policy whose denials have the same effect."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from infra.local import operator
from infra.local.client import LocalAws
from tests.e2e.stage import Stage

SCP = "scp"
"""The policy of a role that stands for the SCP."""

OPERATORS = "operators"
"""The role of the people who run the command."""


def scp(stage: Stage, *arguments: str) -> str:
    """The SCP as the command prints it."""
    arn = stage.aws.client("iam").get_role(RoleName=function_role(stage))["Role"]["Arn"]
    roles = ("--operator-role", f"arn:aws:iam::{stage.aws.account}:role/{OPERATORS}", "--enforcer-role", arn)
    done = operator.run(stage.aws, "guardrails", "scp", *roles, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def operator_arn(stage: Stage) -> str:
    """An operator, as the ledger and CloudTrail name the session."""
    return f"arn:aws:sts::{stage.aws.account}:assumed-role/{OPERATORS}/session"


def function_role(stage: Stage) -> str:
    """The name of the role that the function runs as."""
    return stage.caller.removeprefix("role/")


def attach(aws: LocalAws, document: str, *roles: str) -> None:
    """Apply the SCP to these roles."""
    for role in roles:
        aws.client("iam").put_role_policy(RoleName=role, PolicyName=SCP, PolicyDocument=document)


@contextmanager
def attached(stage: Stage, document: str, *others: str) -> Iterator[None]:
    """Meanwhile apply another SCP to the roles that always have one, and to others."""
    iam, always = stage.aws.client("iam"), (function_role(stage), OPERATORS)
    before = json.dumps(iam.get_role_policy(RoleName=OPERATORS, PolicyName=SCP)["PolicyDocument"])
    attach(stage.aws, document, *always, *others)
    try:
        yield
    finally:
        attach(stage.aws, before, *always)
