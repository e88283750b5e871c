"""What `make deploy`, `make destroy` and `make destroy-state` check before they change anything."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra import state, state_stack
from infra.account import Account, DeniedError, denials, described
from infra.arguments import ALLOW_SECOND_HOME, FIRST_VALUES, ROOT, Arguments, DeployError

HOME = "ImdsEnforcer"
SCHEMA = ROOT / "lambda_src" / "imds_enforcer" / "policy" / "schema.json"
"""What the policy may be; `make dist` publishes it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The two parameters by name; `unreadable` says why they could not be read."""

    values: Mapping[str, str]
    unreadable: str = ""

    @property
    def policy(self) -> Any:
        """The policy's document; None if it is not stored.

        Raises:
            ValueError: if it is not JSON.
            RecursionError: likewise.
        """
        text = self.values.get(state.POLICY)
        return None if text is None else json.loads(text)

    def in_use(self, key: str) -> str | None:
        """The stored value for one of the context's first values; None if it is unknown."""
        if key == "http_tokens":
            return self.values.get(state.HTTP_TOKENS)
        try:
            policy = self.policy
        except (ValueError, RecursionError):
            return None
        return str(policy.get("mode", "enforce")) if isinstance(policy, dict) else None


def stored(account: Account) -> Stored:
    """Read both parameters, if they exist."""
    try:
        with denials():
            found = account.client("ssm").get_parameters(Names=[state.HTTP_TOKENS, state.POLICY])["Parameters"]
    except DeniedError as error:
        return Stored({}, str(error))
    return Stored({each["Name"]: each["Value"] for each in found})


def compare_first_values(account: Account, found: Stored, wanted: Arguments) -> None:
    """Print the stored values, and refuse a first value in this call that differs: it would have no effect."""
    for key, name in (("http_tokens", state.HTTP_TOKENS), ("mode", state.POLICY)):
        if name in found.values:
            standing = (
                f" (cdk.json, for the first deployment: {key} {wanted.standing[key]})" if key in wanted.standing else ""
            )
            sys.stdout.write(f"{name} in {account.region} is {found.values[name]}{standing}\n")
    if not (found.values or (found.unreadable and state_stack.find(account))):
        return
    for key in FIRST_VALUES:
        if key in wanted.given and wanted.given[key] != found.in_use(key):
            raise DeployError(_other_first_value(account, found, key, wanted.given[key]))


def _other_first_value(account: Account, found: Stored, key: str, value: str) -> str:
    if found.unreadable:
        return f"nothing was deployed: -c {key}={value} cannot be compared with the stored value: {found.unreadable}"
    if key == "http_tokens":
        command = f"imds-enforcer toggle {value} --region {account.region}"
    else:
        command = f"imds-enforcer policy set - --region {account.region}"
        try:
            policy = found.policy
        except (ValueError, RecursionError):
            policy = None
        document = json.dumps({**(policy if isinstance(policy, dict) else {}), "mode": value})
        command = f"echo {shlex.quote(document)} | {command}"
    return (
        f"nothing was deployed: -c {key}={value} applies to the first deployment only, and the stored value is "
        f"{found.in_use(key)}. To change it: {command}"
    )


def refuse_second_home(account: Account, *, allowed: bool) -> None:
    """Refuse if another region has the enforcer or its state: two enforcers would undo each other's changes."""
    found = ask(account, other_regions(account), _home_in, about="another home")
    homes = [f"{stack} in {region}" for region, stack in found.items()]
    if homes and not allowed:
        raise DeployError(
            f"nothing was deployed: the account already has {', '.join(homes)}. One deployment covers every region: "
            "set AWS_REGION to that region, or remove the stack there (make destroy, make destroy-state); "
            f"-c {ALLOW_SECOND_HOME}=true deploys here as well"
        )


def removable(account: Account, stack: str) -> dict[str, Any] | None:
    """A stack to remove, as CloudFormation describes it; None if it does not exist.

    Raises:
        DeployError: while another operation on it is in progress: CloudFormation would refuse, or delete half a stack.
    """
    found = described(account.cloudformation(), stack)
    status = found["StackStatus"] if found else ""
    if status.endswith("_IN_PROGRESS") and status not in ("DELETE_IN_PROGRESS", "REVIEW_IN_PROGRESS"):
        raise DeployError(
            f"nothing was removed: the stack {stack} in {account.region} is {status}; wait until that operation ends"
        )
    return found


def refuse_removed_fields(account: Account, found: Stored) -> None:
    """Refuse to deploy while the stored policy has a removed field: the new function would reject the whole policy."""
    why = found.unreadable
    try:
        document = found.policy
    except (ValueError, RecursionError) as error:
        document, why = None, f"it is not JSON: {error}"
    if why:
        sys.stderr.write(
            f"{state.POLICY} was not checked for removed fields, which make the function reject it: {why}\n"
        )
    removed = [*_removed_fields(document, json.loads(SCHEMA.read_text("utf-8")), "policy")]
    if removed:
        region = account.region
        get = f"aws ssm get-parameter --region {region} --name {state.POLICY} --query Parameter.Value --output text"
        raise DeployError(
            "\n  ".join(
                [
                    f"nothing was deployed: the new function would reject the policy stored in {region}",
                    *removed,
                    "Get the policy, remove these fields, and store it:",
                    f"{get} > policy.json",
                    f"imds-enforcer policy set policy.json --region {region}",
                ]
            )
        )


def _removed_fields(document: Any, schema: Mapping[str, Any], name: str) -> Iterator[str]:
    """The function's error for each field of the document that a later version removed."""
    if not isinstance(document, dict):
        return
    for field, why in schema.get("removed", {}).items():
        if field in document:
            yield f"{name} has the removed field {field}: {why}; remove it"
    for field, definition in schema.get("properties", {}).items():
        yield from _removed_fields(document.get(field), definition, field)


def other_regions(account: Account) -> list[str]:
    """The enabled regions except home; if listing them is denied, all other regions of the partition."""
    try:
        with denials():
            names = [each["RegionName"] for each in account.client("ec2").describe_regions()["Regions"]]
    except DeniedError:
        names = account.session.get_available_regions("cloudformation", partition_name=account.partition)
    return sorted({*names} - {account.region})


def ask(
    account: Account, regions: Sequence[str], question: Callable[[Any], str | None], *, about: str
) -> dict[str, str]:
    """The answers by region, without those that are None; one line names all regions that cannot be asked."""
    # Several threads must not create clients from one session.
    clients = [account.cloudformation(region) for region in regions]

    def answered(client: Any) -> str | Exception | None:
        try:
            return question(client)
        except (BotoCoreError, ClientError) as error:
            return error

    with ThreadPoolExecutor(16) as pool:
        answers = dict(zip(regions, pool.map(answered, clients), strict=True))
    silent = {region: str(answer) for region, answer in answers.items() if isinstance(answer, Exception)}
    if silent:
        sys.stderr.write(f"Not checked for {about}: {', '.join(silent)} ({next(iter(silent.values()))})\n")
    return {region: answer for region, answer in answers.items() if isinstance(answer, str)}


def _home_in(cloudformation: Any) -> str | None:
    """The stack of a home in this region, if there is one."""
    return next((stack for stack in (HOME, state.STACK) if described(cloudformation, stack)), None)
