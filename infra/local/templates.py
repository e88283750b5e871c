"""Deploys the files of `make template` to a local AWS, through CloudFormation's API alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, WaiterError

from infra.local.deployment import STACK, STATE, Deployment
from infra.local.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from infra.local.client import LocalAws

BUCKET = "imds-enforcer-code"
FORWARDER = "ImdsEnforcerForwarder"
_WAIT = {"Delay": 1, "MaxAttempts": 600}


def deploy_templates(aws: LocalAws, *cdk_args: str, regions: Iterable[str] = ()) -> Deployment:
    """Write the templates, and create or update every stack from them.

    Args:
        aws: a running local AWS; its region becomes the home region.
        cdk_args: for `make template`, for example `-c floor=required`.
        regions: those that get a forwarder.

    Raises:
        RuntimeError: with what CloudFormation says, if a stack failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        templates = Templates(aws, Path(folder))
        templates.write(*cdk_args)
        templates.deploy_state()
        templates.deploy_home()
        for region in regions:
            templates.deploy_forwarder(region)
    return Deployment(aws)


class Templates:
    """The files of `make template`, and one account's stacks from them.

    Args:
        aws: the account, on a running local AWS.
        folder: where the files are.
    """

    def __init__(self, aws: LocalAws, folder: Path) -> None:
        self._aws = aws
        self._folder = folder

    def write(self, *cdk_args: str) -> None:
        """Do what `make template` does, without any AWS settings.

        Raises:
            RuntimeError: with what the script wrote, if it failed.
        """
        done = subprocess.run(  # noqa: S603  # our own module
            [sys.executable, "-m", "infra.deploy", "template", f"--output={self._folder}", *cdk_args],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(done.args)} failed:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}")

    def deploy_state(self, *, tags: Mapping[str, str] | None = None) -> None:
        """Create the state stack, protected; or update it with previous values and without tags."""
        first_values = json.loads(self._text(f"{STATE}.first-values.json"))
        previous = [{"ParameterKey": each["ParameterKey"], "UsePreviousValue": True} for each in first_values]
        self._deploy(
            STATE,
            created={
                "Parameters": first_values,
                "StackPolicyBody": self._text(f"{STATE}.stack-policy.json"),
                "EnableTerminationProtection": True,
                **_tags(tags),
            },
            updated={"Parameters": previous},
        )

    def deploy_home(self, *, tags: Mapping[str, str] | None = None) -> Deployment:
        """Upload the zip, and create or update the enforcer."""
        [code] = self._folder.glob("*.zip")
        s3 = self._aws.client("s3")
        if BUCKET not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": self._aws.region})
        s3.put_object(Bucket=BUCKET, Key=code.name, Body=code.read_bytes())
        wanted = {**_parameters(CodeBucket=BUCKET, CodeKey=code.name), **_tags(tags)}
        self._deploy(STACK, created=wanted, updated=wanted)
        return Deployment(self._aws)

    def deploy_forwarder(self, region: str) -> None:
        """Create or update the forwarder of a region."""
        wanted = _parameters(HomeRegion=self._aws.region)
        self._deploy(f"{FORWARDER}-{region}", template=FORWARDER, region=region, created=wanted, updated=wanted)

    def delete(self, stack: str, region: str = "") -> None:
        """Delete a stack, and wait until it is gone."""
        self._aws.client("cloudformation", region).delete_stack(StackName=stack)
        self._wait("delete", stack, region)

    def _deploy(
        self,
        stack: str,
        *,
        created: Mapping[str, Any],
        updated: Mapping[str, Any],
        template: str = "",
        region: str = "",
    ) -> None:
        cloudformation = self._aws.client("cloudformation", region)
        named = {
            "StackName": stack,
            "TemplateBody": self._text(f"{template or stack}.template.json"),
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
        }
        if stack not in {each["StackName"] for each in cloudformation.describe_stacks()["Stacks"]}:
            cloudformation.create_stack(**named, **created)
            self._wait("create", stack, region)
            return
        try:
            cloudformation.update_stack(**named, **updated)
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
        else:
            self._wait("update", stack, region)

    def _wait(self, operation: str, stack: str, region: str) -> None:
        cloudformation = self._aws.client("cloudformation", region)
        try:
            cloudformation.get_waiter(f"stack_{operation}_complete").wait(StackName=stack, WaiterConfig=_WAIT)
        except WaiterError as error:
            events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
            reasons = [event["ResourceStatusReason"] for event in events if event.get("ResourceStatusReason")]
            raise RuntimeError(f"CloudFormation could not {operation} {stack}: {reasons}") from error

    def _text(self, file: str) -> str:
        return (self._folder / file).read_text("utf-8")


def _parameters(**values: str) -> dict[str, Any]:
    return {"Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]}


def _tags(tags: Mapping[str, str] | None) -> dict[str, Any]:
    """The tags as an argument; None leaves the stack's tags as they are."""
    return {} if tags is None else {"Tags": [{"Key": name, "Value": value} for name, value in tags.items()]}
