"""The role of the deployed function."""

import re

from imds_enforcer.aws.boto import aws_errors
from imds_enforcer_cli.account.connection import STACK, Connection
from imds_enforcer_cli.console.errors import CommandError

_OTHERWISE = "name the role with --enforcer-role"
GENERATED_NAME = re.compile(rf"{STACK}-[A-Za-z0-9]+-[A-Za-z0-9]{{12,}}")
"""A name that CloudFormation generates: stack, logical id, random characters (CloudFormation User Guide, "Name type").
"""


def role_in_every_account(reached: Connection) -> str:
    """The ARN of the function's role, with `*` for the account.

    Raises:
        CommandError: if there is no function, or if its role's name differs in every account.
        AwsError: if the call to Lambda failed.
    """
    name = reached.outputs.get("FunctionName")
    if name is None:
        raise CommandError(f"there is no stack {STACK} in {reached.clients.home_region}; deploy it, or {_OTHERWISE}")
    with aws_errors():
        arn: str = reached.client("lambda", None).get_function_configuration(FunctionName=name)["Role"]
    role = arn.rpartition("/")[2]
    if GENERATED_NAME.fullmatch(role):
        raise CommandError(
            f"the function's role is {role}, a name that CloudFormation generates and that differs in every account; "
            f"deploy with -c role_name=NAME first, or {_OTHERWISE}"
        )
    return in_every_account(arn)


def in_every_account(arn: str) -> str:
    """The ARN of a role, with `*` for the account."""
    *before, _, role = arn.split(":", 5)
    return ":".join((*before, "*", role))
