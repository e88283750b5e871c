"""The way to the deployed enforcer: the operator's own credentials, and the names in the stack's outputs."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError

from imds_enforcer.aws.boto import CLIENT_CONFIG, aws_errors
from imds_enforcer.aws.services import Clients
from imds_enforcer.aws.session import fleet_session
from imds_enforcer.model import AwsError, Clock, SystemClock
from imds_enforcer.policy import Policy, PolicyVersions
from imds_enforcer.policy.parser import PolicyInvalidError
from imds_enforcer.settings import Settings
from imds_enforcer_cli.account.credentials import find_credentials
from imds_enforcer_cli.console.errors import CommandError

ACCESS_ERRORS = (AwsError, BotoCoreError)
"""What ends a command that cannot reach AWS: a refused call, or a configuration that cannot be used."""

STACK = "ImdsEnforcer"
STATE_STACK = "ImdsEnforcerState"
"""Outlives the other: toggle, policy, ledger and holds are in it, by names that are always the same."""
LEDGER_TABLE = "imds-enforcer-ledger"
HTTP_TOKENS_PARAMETER = "/imds-enforcer/http-tokens"
POLICY_PARAMETER = "/imds-enforcer/policy"


@dataclass(frozen=True, slots=True)
class Connection:
    """The enforcer's own adapters with the operator's credentials; `caller` asks AWS for the operator's ARN.

    `outputs` are those of the stack; where only what outlives it is there, its table; else none. `client` makes a
    client of boto3's for a service, in a region, or in the home region if that is None. Calls raise `AwsError`; those
    of boto3's clients have to be wrapped for it (`imds_enforcer.aws.boto.aws_errors`).
    """

    clients: Clients
    clock: Clock
    caller: Callable[[], str]
    outputs: Mapping[str, str] = field(default_factory=dict)
    client: Callable[[str, str | None], Any] = field(default=lambda *_: None, repr=False)

    @property
    def deployed(self) -> bool:
        """True if the stack is there, or what outlives it: without either there is neither ledger nor hold."""
        return bool(self.outputs)

    def policy(self) -> Policy | None:
        """The policy in force; None where neither of its parameters exists.

        Raises:
            PolicyInvalidError: if it is invalid, as where one of the two is missing.
            AwsError: if Parameter Store could not be read.
        """
        policies = self.clients.policies
        try:
            return policies.read()
        except PolicyInvalidError:
            if policies.versions == PolicyVersions():
                return None
            raise


class Session(boto3.Session):
    """A session whose user may have set an endpoint that is no URL, for all services or for one of them."""

    def client(self, *service: Any, **options: Any) -> Any:
        """The client of a service; see boto3.

        Raises:
            CommandError: naming the endpoint that is no URL.
        """
        try:
            return super().client(*service, **options)
        except ValueError as error:  # botocore's, for an AWS_ENDPOINT_URL… that is no URL
            raise CommandError(str(error)) from None


def connect(profile: str | None, region: str | None) -> Connection:
    """Find the deployed enforcer in its home region, or what outlived it there.

    Raises:
        CommandError: if there is no region, no stack in it, or an older one, or if the profile gives no credentials.
        AwsError: if CloudFormation could not be asked.
        BotoCoreError: if the AWS configuration cannot be used, as where the profile does not exist.
    """
    reached = reach(profile, region)
    if not reached.deployed:
        where = reached.clients.home_region
        raise CommandError(f"there is no stack {STACK} in {where}; name the home region with --region")
    return reached


def connect_running(profile: str | None, region: str | None) -> Connection:
    """Find the deployed enforcer, with its function and queues.

    Raises:
        CommandError: if there is no region, no stack in it, or an older one.
        AwsError: if CloudFormation could not be asked.
        BotoCoreError: if the AWS configuration cannot be used, as where the profile does not exist.
    """
    reached = connect(profile, region)
    if "FunctionName" not in reached.outputs:
        where = reached.clients.home_region
        raise CommandError(
            f"there is no stack {STACK} in {where}, only {STATE_STACK}, which outlives it; deploy it first"
        )
    return reached


def reach(
    profile: str | None, region: str | None, *, fallback: str | None = None, asks_for_stack: bool = True
) -> Connection:
    """The account, with the enforcer or without: where it is not deployed, nothing is held and nothing written down.

    `fallback` is the home region where neither the argument nor the environment or profile names one. Without
    `asks_for_stack` the account is taken as one without it.

    Raises:
        CommandError: if there is no region, or an older stack in it, or if the profile gives no credentials.
        AwsError: if CloudFormation could not be asked.
        BotoCoreError: if the AWS configuration cannot be used, as where the profile does not exist.
    """
    # boto3 itself knows AWS_DEFAULT_REGION only; the other tools of AWS know both.
    named = region or os.environ.get("AWS_REGION")
    core = fleet_session(profile)
    session = Session(profile_name=profile, region_name=named, botocore_session=core)
    if not session.region_name and fallback:
        core = fleet_session(profile)
        session = Session(profile_name=profile, region_name=fallback, botocore_session=core)
    if not session.region_name:
        raise CommandError("no region; name the home region with --region, or set AWS_REGION")
    find_credentials(core)
    clock = SystemClock()
    outputs = _outputs(session) if asks_for_stack else {}
    clients = Clients(_settings(session, outputs), clock, session)

    def client(service: str, where: str | None) -> Any:
        return session.client(service, region_name=where, config=CLIENT_CONFIG)

    return Connection(clients, clock, lambda: _caller(session), outputs, client)


def _settings(session: boto3.Session, outputs: Mapping[str, str]) -> Settings:
    parts = ("EventQueueUrl", "NotificationTopicArn", "LedgerTableName")
    names = outputs if "FunctionName" in outputs else {**dict.fromkeys(parts, ""), **outputs}
    try:
        return Settings(
            http_tokens_parameter=HTTP_TOKENS_PARAMETER,
            policy_parameter=POLICY_PARAMETER,
            event_queue_url=names["EventQueueUrl"],
            notification_topic_arn=names["NotificationTopicArn"],
            ledger_table=names["LedgerTableName"],
        )
    except KeyError as error:
        raise CommandError(
            f"the stack {STACK} in {session.region_name} has no output {error}; deploy it in this version first"
        ) from None


def _outputs(session: boto3.Session) -> dict[str, str]:
    """The outputs of the stack; without it, the table that outlives it; none if neither is there."""
    client = session.client("cloudformation", config=CLIENT_CONFIG)
    if stack := _described(client, STACK):
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}
    return {"LedgerTableName": LEDGER_TABLE} if _described(client, STATE_STACK) else {}


def _described(client: Any, stack: str) -> Mapping[str, Any] | None:
    try:
        with aws_errors():
            found: Mapping[str, Any] = client.describe_stacks(StackName=stack)["Stacks"][0]
    except AwsError as error:
        if error.failure.code == "ValidationError" and "does not exist" in error.failure.message:
            return None
        raise
    return found


def _caller(session: boto3.Session) -> str:
    client = session.client("sts", config=CLIENT_CONFIG)
    with aws_errors():
        return client.get_caller_identity()["Arn"]
