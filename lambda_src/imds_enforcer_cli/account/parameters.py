"""The policy's two parameters in Parameter Store: read together, and changed only if no one else changed them since."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import typer

from imds_enforcer.aws.boto import aws_errors
from imds_enforcer.policy import Policy, PolicyVersions
from imds_enforcer.policy.parser import PolicyInvalidError, parse_policy
from imds_enforcer_cli.account.connection import HTTP_TOKENS_PARAMETER, POLICY_PARAMETER, Connection
from imds_enforcer_cli.console import output
from imds_enforcer_cli.console.output import say

TOKENS_PATTERN = "^(required|optional)$"
"""The values that the toggle may have. Each write sends this pattern: AWS does not document that it stays otherwise."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Both parameters at one moment. One that does not exist is None. `changed` is when each was last written."""

    http_tokens: str | None
    document: str | None
    versions: PolicyVersions
    changed: tuple[datetime | None, datetime | None]

    def policy(self) -> Policy:
        """The policy that they contain.

        Raises:
            PolicyInvalidError: if they contain no valid policy.
        """
        return parse_policy(self.http_tokens, self.document, self.versions)

    def policy_or_problem(self) -> tuple[Policy | None, str | None]:
        """The policy that they contain, or what is wrong with it."""
        try:
            return self.policy(), None
        except PolicyInvalidError as error:
            return None, str(error)


def stored(reached: Connection) -> Stored:
    """Read both parameters in one request.

    Raises:
        AwsError: if Parameter Store could not be read.
    """
    client = reached.client("ssm", None)
    with aws_errors():
        answer = client.get_parameters(Names=[HTTP_TOKENS_PARAMETER, POLICY_PARAMETER])
    found: dict[str, dict[str, Any]] = {each["Name"]: each for each in answer["Parameters"]}
    tokens, document = found.get(HTTP_TOKENS_PARAMETER, {}), found.get(POLICY_PARAMETER, {})
    return Stored(
        tokens.get("Value"),
        document.get("Value"),
        PolicyVersions(tokens.get("Version", 0), document.get("Version", 0)),
        (tokens.get("LastModifiedDate"), document.get("LastModifiedDate")),
    )


def agree(reasons: Sequence[str], question: str, *, sure: bool, against: Sequence[str] = ()) -> None:
    """Ask the user to confirm a change that weakens the policy (`reasons`) or makes it contradict itself (`against`).

    If both are empty, the user is not asked.

    Raises:
        CommandError: if there is no terminal to ask at.
        Exit: with 1, if the user answers no.
    """
    for reason in reasons:
        say(f"This weakens the policy: {reason}.")
    for each in against:
        say(f"The policy contradicts itself, so the enforcer leaves account defaults alone: {each}.")
    if sure or not (reasons or against):
        return
    output.require_terminal()
    output.require_yes(question)


def replace_http_tokens(reached: Connection, value: str, before: Stored) -> int:
    """Write the toggle if both parameters are unchanged; returns its new version. Raises as `replace_document` does."""
    _unchanged(reached, before)
    return _put(
        reached,
        before.versions.http_tokens,
        Name=HTTP_TOKENS_PARAMETER,
        Value=value,
        AllowedPattern=TOKENS_PATTERN,
    )


def replace_document(reached: Connection, text: str, before: Stored) -> int:
    """Write the policy document if both parameters are unchanged; returns its new version.

    Raises:
        Exit: with 1, if someone else has changed one of them since.
        AwsError: if Parameter Store could not be read or written.
    """
    _unchanged(reached, before)
    return _put(reached, before.versions.policy, Name=POLICY_PARAMETER, Value=text, Tier="Intelligent-Tiering")


def _unchanged(reached: Connection, before: Stored) -> None:
    now = stored(reached).versions
    if now != before.versions:
        say(f"Someone else has changed the policy meanwhile, from {before.versions} to {now}; nothing was written.")
        raise typer.Exit(1)


def _put(reached: Connection, version: int, **request: str) -> int:
    client = reached.client("ssm", None)
    with aws_errors():
        written: int = client.put_parameter(Type="String", Overwrite=True, **request)["Version"]
    if version and written != version + 1:
        # Parameter Store has no conditional write: the version is the only sign of a write at the same moment.
        name, lost = request["Name"], written - 1
        say(f"Someone else wrote {name} at the same moment: this change replaced version {lost}; check what it had.")
    return written
