"""What `make deploy` looks at before it changes anything."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra import state
from infra.account import Account, DeniedError, denials
from infra.arguments import ROOT, DeployError

HOME = "ImdsEnforcer"
_SCHEMA = ROOT / "lambda_src" / "imds_enforcer" / "policy" / "schema.json"


@dataclass(frozen=True, slots=True)
class Stored:
    """The two parameters by name; `unreadable` says why they could not be read."""

    values: Mapping[str, str]
    unreadable: str = ""

    @property
    def policy(self) -> Any:
        """The policy's document; None if there is none.

        Raises:
            ValueError: if it is not JSON.
            RecursionError: likewise.
        """
        text = self.values.get(state.POLICY)
        return None if text is None else json.loads(text)

    def in_use(self, key: str) -> str | None:
        """What is stored for one of the context's first values; None if that cannot be known."""
        if key == "http_tokens":
            return self.values.get(state.HTTP_TOKENS)
        try:
            policy = self.policy
        except (ValueError, RecursionError):
            return None
        return str(policy.get("mode", "enforce")) if isinstance(policy, dict) else None


def stored(account: Account) -> Stored:
    """Read both parameters, as far as they exist."""
    try:
        with denials():
            found = account.client("ssm").get_parameters(Names=[state.HTTP_TOKENS, state.POLICY])["Parameters"]
    except DeniedError as error:
        return Stored({}, str(error))
    return Stored({each["Name"]: each["Value"] for each in found})


def refuse_removed_fields(account: Account, found: Stored) -> None:
    """Refuse to deploy while the stored policy has a field for which the new function would refuse all of it."""
    why = found.unreadable
    try:
        document = found.policy
    except (ValueError, RecursionError) as error:
        document, why = None, f"it is not JSON: {error}"
    if why:
        sys.stderr.write(
            f"{state.POLICY} was not checked for removed fields, with which the function refuses it: {why}\n"
        )
    removed = [*_removed_fields(document, json.loads(_SCHEMA.read_text("utf-8")), "policy")]
    if removed:
        region = account.region
        get = f"aws ssm get-parameter --region {region} --name {state.POLICY} --query Parameter.Value --output text"
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


def _removed_fields(document: Any, schema: Mapping[str, Any], name: str) -> Iterator[str]:
    """What the function says of each field of the document that earlier versions had."""
    if not isinstance(document, dict):
        return
    for field, why in schema.get("removed", {}).items():
        if field in document:
            yield f"{name} has the removed field {field}: {why}; remove it"
    for field, definition in schema.get("properties", {}).items():
        yield from _removed_fields(document.get(field), definition, field)
