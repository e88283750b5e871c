"""The account and home region that the AWS environment selects, and the clients to query them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.arguments import Arguments, DeployError

_QUICK = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})
_REFUSED = ("AccessDenied", "Unauthorized")


class DeniedError(Exception):
    """The caller is not allowed to make this call."""


@contextmanager
def denials() -> Iterator[None]:
    """Raise `DeniedError` if AWS refuses a call for lack of permission."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"].startswith(_REFUSED):
            raise DeniedError(str(error)) from error
        raise


@dataclass(frozen=True)
class Account:
    """One account, seen from its home region."""

    session: boto3.Session
    region: str
    number: str
    partition: str
    role_arn: str
    """The role that CloudFormation assumes."""
    qualifier: str
    """The qualifier of the bootstrap whose roles deploy."""

    @classmethod
    def of(cls, arguments: Arguments) -> "Account":
        """The account of the AWS environment, or of the profile and region that the arguments name.

        Raises:
            DeployError: if there is no region.
        """
        named = arguments.region or os.environ.get("AWS_REGION")
        session = boto3.Session(profile_name=arguments.profile, region_name=named)
        region = session.region_name
        if not region:
            raise DeployError("no region: set AWS_REGION, or name a profile that has one in AWS_PROFILE")
        caller = session.client("sts", config=_QUICK).get_caller_identity()
        number, partition = caller["Account"], caller["Arn"].split(":")[1]
        qualifier = arguments.rules().qualifier
        role = f"arn:{partition}:iam::{number}:role/cdk-{qualifier}-cfn-exec-role-{number}-{region}"
        return cls(session, region, number, partition, arguments.role_arn or role, qualifier)

    def client(self, service: str, region: str = "") -> Any:
        """A client with the caller's own credentials."""
        return self._client(service, region, {})

    def cloudformation(self, region: str = "") -> Any:
        """A client for stacks, with the credentials that the CDK CLI uses."""
        return self.deployer("cloudformation", region)

    def deployer(self, service: str, region: str = "") -> Any:
        """A client in the bootstrap's deploy role, or with the caller's credentials if they cannot assume it."""
        return self._client(service, region, self._deployer)

    def _client(self, service: str, region: str, keys: Mapping[str, str]) -> Any:
        # boto3's stubs want the service's name as a literal.
        return cast("Any", self.session).client(service, region_name=region or self.region, config=_QUICK, **keys)

    @cached_property
    def _deployer(self) -> Mapping[str, str]:
        role = f"role/cdk-{self.qualifier}-deploy-role-{self.number}-{self.region}"
        try:
            answer = self.client("sts").assume_role(
                RoleArn=f"arn:{self.partition}:iam::{self.number}:{role}", RoleSessionName="imds-enforcer-deploy"
            )
        except (ClientError, BotoCoreError):
            return {}
        keys = answer["Credentials"]
        return {
            "aws_access_key_id": keys["AccessKeyId"],
            "aws_secret_access_key": keys["SecretAccessKey"],
            "aws_session_token": keys["SessionToken"],
        }


def described(cloudformation: Any, stack: str) -> dict[str, Any] | None:
    """A stack as CloudFormation describes it; None if it does not exist."""
    try:
        return dict(cloudformation.describe_stacks(StackName=stack)["Stacks"][0])
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError" and "does not exist" in str(error):
            return None
        raise
