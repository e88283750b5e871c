"""The organization above the account: its SCP, as denials among the policies of roles. An SCP denies just so."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from infra.local import operator
from infra.local.client import LocalAws
from tests.e2e.stage import Stage

SCP = "scp"
"""The policy of a role that stands for the SCP."""

OPERATORS = "operators"


def scp(stage: Stage, *arguments: str, operators: str = OPERATORS) -> str:
    """The SCP as the command prints it, for operators in this role."""
    arn = stage.aws.client("iam").get_role(RoleName=function_role(stage))["Role"]["Arn"]
    roles = ("--operator-role", f"arn:aws:iam::{stage.aws.account}:role/{operators}", "--enforcer-role", arn)
    done = operator.run(stage.aws, "guardrails", "scp", *roles, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def function_role(stage: Stage) -> str:
    """The name of the role that the function runs as."""
    return stage.caller.removeprefix("role/")


def attach(aws: LocalAws, document: str, *roles: str) -> None:
    """Bind these roles by the SCP."""
    for role in roles:
        aws.client("iam").put_role_policy(RoleName=role, PolicyName=SCP, PolicyDocument=document)


@contextmanager
def attached(stage: Stage, document: str, *roles: str) -> Iterator[None]:
    """Bind the function's role and these roles by another SCP meanwhile."""
    iam, own = stage.aws.client("iam"), function_role(stage)
    before = json.dumps(iam.get_role_policy(RoleName=own, PolicyName=SCP)["PolicyDocument"])
    attach(stage.aws, document, own, *roles)
    try:
        yield
    finally:
        attach(stage.aws, before, own)
