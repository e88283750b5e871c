"""Finds toggle, policy and ledger outside their stack, and prints the commands that move them into it.

`make deploy` then refuses to continue. It changes nothing in the account, and only writes files for the commands.
"""

import json
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from botocore.exceptions import ClientError

from infra import state, state_stack
from infra.account import Account, DeniedError, denials, described
from infra.arguments import ROOT, DeployError
from infra.checks import HOME, Stored

_LONGEST_TEMPLATE_PARAMETER = 4096


def refuse_layout_before(account: Account, found: Stored) -> None:
    """Refuse if the home stack contains the parameters, as in version 0.1.0: an update would delete them."""
    if not _has_parameters(account):
        return
    if not found.values:
        raise DeployError(f"the stack {HOME} contains both parameters, and they cannot be read: {found.unreadable}")
    puts = {
        "http-tokens.json": {"Name": state.HTTP_TOKENS, "AllowedPattern": "^(required|optional)$"},
        "policy.json": {"Name": state.POLICY, "Tier": "Intelligent-Tiering"},
    }
    stored = {
        file: {**put, "Type": "String", "Value": found.values[put["Name"]]}
        for file, put in puts.items()
        if put["Name"] in found.values
    }
    folder, at = _written("takeover", stored), f"--region {account.region}"
    new, old = f"--table-name {state.TABLE}", f"--table-name {_table_before(account)}"
    backup = f"aws dynamodb create-backup {at} {old} --backup-name {state.TABLE}"
    restore = f"aws dynamodb restore-table-from-backup {at} --target-table-name {state.TABLE}"
    expiry = "--time-to-live-specification Enabled=true,AttributeName=expires_at"
    recovery = "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
    steps = [
        "make destroy  # with the CDK_ARGS of the deployment: deletes both parameters, leaves the table",
        *(f"aws ssm put-parameter {at} --cli-input-json {_url(folder / file)}" for file in stored),
        f"backup=$({backup} --query BackupDetails.BackupArn --output text)",
        f'{restore} --backup-arn "$backup"  # again, while the backup is still being made',
        f"aws dynamodb wait table-exists {at} {new}",
        f"aws dynamodb update-time-to-live {at} {new} {expiry}",
        f"aws dynamodb update-continuous-backups {at} {new} {recovery}",
        f"aws dynamodb update-table {at} {new} --deletion-protection-enabled",
        "make deploy  # prints the commands with which the stack adopts them",
    ]
    why = (
        f"nothing was deployed: the stack {HOME} in {account.region} contains toggle, policy and ledger, and an update "
        f"would delete them. They belong in {state.STACK}, which outlives it. To move them, run these commands in "
        "order; meanwhile nothing is enforced, and instances stay as they are:"
    )
    raise DeployError("\n  ".join([why, *steps]))


def refuse_leftovers(account: Account, found: Stored) -> None:
    """Refuse if resources exist without their stack, and print the commands that adopt them as they are."""
    if state_stack.find(account):
        return
    kept = [each for each in state.RESOURCES if each.name in found.values or _exists(account, each)]
    if not kept:
        return
    template = state.template_of(each.logical_id for each in kept)
    folder = _written(
        "adopt",
        {
            "template.json": template,
            "resources.json": [_to_import(each) for each in kept],
            "parameters.json": _parameters(template, found),
        },
    )
    files = {
        "--template-body": "template.json",
        "--resources-to-import": "resources.json",
        **({"--parameters": "parameters.json"} if "Parameters" in template else {}),
    }
    inputs = " ".join(f"{option} {_url(folder / file)}" for option, file in files.items())
    stack = f"--region {account.region} --stack-name {state.STACK}"
    failed = [f"aws cloudformation delete-stack {stack}", f"aws cloudformation wait stack-delete-complete {stack}"]
    steps = [
        *(failed if described(account.cloudformation(), state.STACK) else []),
        f"aws cloudformation create-change-set {stack} --change-set-name adopt --change-set-type IMPORT {inputs}",
        f"aws cloudformation wait change-set-create-complete {stack} --change-set-name adopt",
        f"aws cloudformation execute-change-set {stack} --change-set-name adopt",
        f"aws cloudformation wait stack-import-complete {stack}",
        "make deploy",
    ]
    why = (
        f"nothing was deployed: the stack {state.STACK} does not exist in {account.region}, but these resources do: "
        f"{', '.join(each.name for each in kept)}. To create the stack with these resources as they are, run:"
    )
    raise DeployError("\n  ".join([why, *steps]))


def _has_parameters(account: Account) -> bool:
    """Whether the home stack contains one of the two parameters."""
    cloudformation = account.cloudformation()
    try:
        with denials():
            if described(cloudformation, HOME) is None:
                return False
            template = cloudformation.get_template(StackName=HOME, TemplateStage="Original")["TemplateBody"]
    except DeniedError as error:
        # If it has them, creating the state stack fails: the names are taken.
        sys.stderr.write(f"{HOME} was not checked for parameters of its own: {error}\n")
        return False
    if isinstance(template, str):
        return bool(re.search(r"AWS::SSM::Parameter[\"']?\s*$", template, re.MULTILINE))
    return any(resource["Type"] == "AWS::SSM::Parameter" for resource in template["Resources"].values())


def _table_before(account: Account) -> str:
    outputs = (described(account.cloudformation(), HOME) or {}).get("Outputs", ())
    names = [str(each["OutputValue"]) for each in outputs if each["OutputKey"] == "LedgerTableName"]
    return names[0] if names else "<its table>"


def _exists(account: Account, kept: state.Kept) -> bool:
    """Whether the table or the log group exists; if asking is denied, the stack's creation finds out."""
    try:
        with denials():
            if kept.name == state.TABLE:
                account.client("dynamodb").describe_table(TableName=state.TABLE)
                return True
            if kept.name == state.LOG_GROUP:
                groups = account.client("logs").describe_log_groups(logGroupNamePrefix=state.LOG_GROUP)["logGroups"]
                return any(group["logGroupName"] == state.LOG_GROUP for group in groups)
    except DeniedError as error:
        sys.stderr.write(f"Whether {kept.name} exists was not checked: {error}\n")
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
    return False


def _to_import(kept: state.Kept) -> dict[str, object]:
    return {
        "ResourceType": kept.kind,
        "LogicalResourceId": kept.logical_id,
        "ResourceIdentifier": {kept.identifier: kept.name},
    }


def _parameters(template: state.Template, found: Stored) -> list[dict[str, str]]:
    """The template's parameters: the stored values where they fit, in case the import writes them after all."""
    values = state.first_values(http_tokens="required", mode="enforce")
    for parameter, name in (("FirstHttpTokens", state.HTTP_TOKENS), ("FirstPolicy", state.POLICY)):
        value = found.values.get(name, "")
        if 0 < len(value.encode()) <= _LONGEST_TEMPLATE_PARAMETER:
            values[parameter] = value
    return [{"ParameterKey": name, "ParameterValue": values[name]} for name in template.get("Parameters", {})]


def _url(path: Path) -> str:
    return shlex.quote(f"file://{path}")


def _written(folder: str, documents: Mapping[str, object]) -> Path:
    """Write these files as JSON; returns their folder."""
    into = ROOT / ".build" / folder
    into.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (into / name).write_text(json.dumps(document, indent=1), "utf-8")
    return into
