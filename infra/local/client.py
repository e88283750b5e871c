"""The local AWS from outside: start it, use it, set its knobs, stop it.

with LocalAws() as aws:
    ids = aws.launch("eu-west-1", 3, HttpTokens="optional")
    aws.client("ec2", "eu-west-1").describe_instances(InstanceIds=ids)
"""

import contextlib
import copy
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import boto3
from botocore.config import Config

from infra.local.process import PYTHON, ServerProcess

# Carries `managed_by` to the server, where infra.local.server.gateway reads it.
OPERATOR_HEADER = "x-local-operator"
HOME_REGION = "eu-west-1"
SECRET = "test"  # noqa: S105  # the secret of every account's root here


class LocalAws:
    """A local AWS, used as one account's root. A `with` block gives it a process of its own.

    Args:
        region: the home region, and the default of every method.
        python: the interpreter that has ministack.
    """

    account = "000000000000"

    def __init__(self, region: str = HOME_REGION, *, python: Path = PYTHON) -> None:
        self.region = region
        self._python = python
        self._process: ServerProcess | None = None
        # Loading EC2's service model takes half a second: one session and its clients serve all accounts.
        self._session = boto3.Session()
        self._clients: dict[tuple[object, ...], Any] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start the process and wait until it answers."""
        self._process = ServerProcess(self._python)
        self._process.wait_until_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the process."""
        self._running.stop()

    def in_account(self, account: str) -> Self:
        """The same local AWS, used as another account's root: it has none of this account's resources."""
        other = copy.copy(self)
        other.account = account
        return other

    @property
    def endpoint_url(self) -> str:
        """The URL of every service."""
        return f"http://127.0.0.1:{self._running.port}"

    def log(self) -> str:
        """What the process has written so far."""
        return self._running.log()

    def session(self, region: str = "") -> boto3.Session:
        """A boto3 session of this account; its clients still need `endpoint_url`."""
        return boto3.Session(self.account, SECRET, region_name=region or self.region)

    def client(
        self, service: str, region: str = "", *, attempts: int = 1, keys: Mapping[str, str] | None = None
    ) -> Any:
        """A boto3 client; the same arguments return the same one.

        Args:
            service: `ec2` and so on.
            region: the home region if empty.
            attempts: how often a call is tried.
            keys: `aws_access_key_id` and the rest, of a caller other than the account's root.
        """
        keys = keys or {"aws_access_key_id": self.account, "aws_secret_access_key": SECRET}
        known = (service, region or self.region, attempts, *sorted(keys.items()))
        with self._lock:
            if known not in self._clients:
                config = Config(retries={"mode": "standard", "total_max_attempts": attempts})
                # boto3's stubs want the service's name as a literal.
                self._clients[known] = cast("Any", self._session).client(
                    service,
                    region_name=region or self.region,
                    endpoint_url=self.endpoint_url,
                    config=config,
                    **keys,
                )
            return self._clients[known]

    def environment(self, region: str = "") -> dict[str, str]:
        """Environment variables that point the AWS CLI, the SDKs and the CDK here, and nowhere else."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.account,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": region or self.region,
            "AWS_DEFAULT_REGION": region or self.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def knobs(self, **values: object) -> dict[str, Any]:
        """Set some knobs (see `server.knobs.Knobs`); returns all of them."""
        return dict(self._running.control("POST", "knobs", values))

    def enforce_iam(self, *, enforced: bool = True) -> None:
        """Hold every caller but root to its IAM policies, or stop doing so."""
        self.knobs(enforce_iam=enforced)

    def fail(self, action: str, code: str = "InternalError", **fault: object) -> None:
        """Make calls to an action fail, as `server.faults.Fault` describes."""
        self._running.control("POST", "faults", {"action": action, "code": code, **fault})

    def deny(self, action: str, *, region: str = "", caller: str = "") -> None:
        """Make a service control policy deny an EC2 action, in one region or all, to one caller or all.

        EC2's message names the kind of policy (IAM User Guide, "Troubleshoot access denied error messages").
        """
        message = (
            f"You are not authorized to perform this operation. User: arn:aws:iam::{self.account}:{caller or 'root'} "
            f"is not authorized to perform: {action} with an explicit deny in a service control policy"
        )
        self.fail(action, "UnauthorizedOperation", status=403, message=message, region=region, caller=caller)

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._running.control("DELETE", "faults")

    def calls(self, action: str = "", *, region: str = "", caller: str = "", error: str | None = None) -> int:
        """How many calls this account has made since the last `reset_calls`.

        Args:
            action: for example `ec2:DescribeInstances`; all if empty.
            region: only calls to this region.
            caller: only calls by `root`, `user/NAME` or `role/NAME`.
            error: only calls that ended with this code; "" for those that succeeded.
        """
        return sum(
            row["count"]
            for row in self.call_rows()
            if action in ("", row["action"])
            and region in ("", row["region"])
            and caller in ("", row["caller"])
            and error in (None, row["error"])
        )

    def call_rows(self) -> list[dict[str, Any]]:
        """This account's calls counted by action, region, caller and error."""
        return [row for row in self._running.control("GET", "calls") if row["account"] == self.account]

    def reset_calls(self) -> None:
        """Count calls from zero again."""
        self._running.control("DELETE", "calls")

    def reset(self) -> None:
        """Reset knobs, faults, buckets and counts to the start; resources stay."""
        self._running.control("POST", "reset")

    def fire_schedule(self, name: str, region: str = "") -> None:
        """Make an EventBridge schedule due now."""
        wish = {"account": self.account, "region": region or self.region, "name": name}
        self._running.control("POST", "schedules", wish)

    def launch(  # each is a thing an instance can have
        self,
        region: str = "",
        count: int = 1,
        *,
        tags: Mapping[str, str] | None = None,
        auto_scaling_group: str = "",
        managed_by: str = "",
        image_id: str = "ami-0abcdef1234567890",
        **options: object,
    ) -> list[str]:
        """Launch instances and return their ids.

        Args:
            region: where; the home region if empty.
            count: how many, in one call.
            tags: their tags.
            auto_scaling_group: the group that their tags name.
            managed_by: the service that manages them, for example `eks.amazonaws.com`.
            image_id: their AMI.
            options: their metadata options, `HttpTokens="optional"` and so on.
        """
        group = {"aws:autoscaling:groupName": auto_scaling_group} if auto_scaling_group else {}
        pairs = [{"Key": key, "Value": value} for key, value in {**(tags or {}), **group}.items()]
        ec2 = self.client("ec2", region)
        with _managed(ec2, managed_by):
            answer = ec2.run_instances(
                ImageId=image_id,
                InstanceType="t3.micro",  # on Nitro: types on Xen cannot have all metadata options
                MinCount=count,
                MaxCount=count,
                **({"MetadataOptions": options} if options else {}),
                **({"TagSpecifications": [{"ResourceType": "instance", "Tags": pairs}]} if pairs else {}),
            )
        return [instance["InstanceId"] for instance in answer["Instances"]]

    def metadata_options(self, instance_id: str, region: str = "") -> dict[str, Any]:
        """The current metadata options of an instance."""
        answer = self.client("ec2", region).describe_instances(InstanceIds=[instance_id])
        return dict(answer["Reservations"][0]["Instances"][0]["MetadataOptions"])

    def stack_outputs(self, stack: str, region: str = "") -> dict[str, str]:
        """The outputs of a stack that was deployed here."""
        answer = self.client("cloudformation", region).describe_stacks(StackName=stack)
        return {each["OutputKey"]: each["OutputValue"] for each in answer["Stacks"][0].get("Outputs", [])}

    @property
    def _running(self) -> ServerProcess:
        if self._process is None:
            raise RuntimeError("the local AWS has not been started: use it in a `with` block")
        return self._process


@contextlib.contextmanager
def _managed(ec2: Any, service: str) -> Iterator[None]:
    """Make launches through this client a service's own; not thread-safe."""

    def add_header(request: Any, **_: object) -> None:
        request.headers[OPERATOR_HEADER] = json.dumps({"managed": True, "principal": service})

    if service:
        ec2.meta.events.register("before-sign.ec2.RunInstances", add_header)
    try:
        yield
    finally:
        if service:
            ec2.meta.events.unregister("before-sign.ec2.RunInstances", add_header)
