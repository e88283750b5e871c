"""`imds-enforcer policy show`, `check` and `schema`: the policy in force, and which policies are valid."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from imds_enforcer.model import HttpTokens, SystemClock
from imds_enforcer.policy import Policy, PolicyVersions
from imds_enforcer.policy.account_defaults import consequences, contradictions
from imds_enforcer.policy.document import as_document, as_words, columns
from imds_enforcer.policy.parser import PolicyInvalidError, parse_policy, schema_text
from imds_enforcer_cli.account import connection, parameters
from imds_enforcer_cli.account.policy_file import policy_text
from imds_enforcer_cli.commands.pattern_warnings import pattern_warnings
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import Cell, say, write_csv, write_documents, write_json, write_table, write_text

_COLUMNS = (
    *("valid", "problem", "http_tokens", "versions.http_tokens", "versions.policy"),
    *("changed.http_tokens", "changed.policy"),
)

File = Annotated[str, typer.Argument(metavar="FILE", help="A policy document in JSON, or - for standard input.")]


def show(
    *,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = Format.TABLE,
) -> None:
    """Show the policy that the deployed enforcer follows: the toggle and every field, defaults included.

    Each exemption shows when it ends, or that it has expired. If the policy is invalid, the enforcer changes nothing.
    The command then shows the stored document and its problems.
    """
    reached = connection.connect(profile, region)
    found, now = parameters.stored(reached), reached.clock.now()
    policy, problem = found.policy_or_problem()
    if output is Format.TABLE:
        write_table(("FIELD", "VALUE", "FROM"), _rows(found, policy, now))
    else:
        tokens_at, policy_at = (moment and moment.isoformat() for moment in found.changed)
        document = {
            "valid": policy is not None,
            "problem": problem,
            "http_tokens": found.http_tokens,
            "versions": found.versions.as_log(),
            "changed": {"http_tokens": tokens_at, "policy": policy_at},
            "policy": policy and as_document(policy, now),
        }
        if output is Format.JSON:
            write_json(document)
        else:
            write_csv([*_COLUMNS, *(f"policy.{name}" for name in columns())], [document])
    if problem:
        say(f"The policy is invalid, so nothing is enforced: {problem}")
        raise typer.Exit(1)


def check(file: File, output: arguments.Output = Format.TABLE) -> None:
    """Check, without calling AWS, whether a document is a valid policy.

    The command uses the enforcer's own parser, and reports all findings: each names the field, its value and the
    values allowed. If there are no findings, it writes no data. On standard error, it writes warnings, which are not
    findings: patterns that probably do not match what you meant, and fields that contradict each other.
    """
    text = read_document(file)
    findings: list[dict[str, str]] = []
    try:
        policy = parse_policy(HttpTokens.REQUIRED, text, PolicyVersions())
    except PolicyInvalidError as error:
        findings = [{"file": file, "finding": problem} for problem in error.problems]
    else:
        against = contradictions(policy, SystemClock().now())
        for warning in (*pattern_warnings(policy), *against, *consequences(policy)):
            say(f"{file}: {warning}")
    rows = [((each["file"],), (each["finding"],)) for each in findings]
    write_documents(output, findings, ("file", "finding"), ("FILE", "FINDING"), rows)
    if findings:
        raise typer.Exit(1)


def schema() -> None:
    """Print the JSON Schema of the policy document, for editors and for people."""
    write_text(schema_text())


def read_document(file: str) -> str:
    """The text of a file; `-` is standard input.

    Raises:
        CommandError: if it cannot be read, or is not text.
    """
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandError(
            f"{file!r} cannot be read: {error.strerror}; allowed: a file, or - for standard input"
        ) from None
    return policy_text(content, repr(file))


def _rows(found: parameters.Stored, policy: Policy | None, now: datetime) -> list[Sequence[Cell]]:
    tokens_from, policy_from = (
        (f"version {version}", f"since {moment:%Y-%m-%d %H:%M} UTC") if version and moment else ("",)
        for version, moment in zip(found.versions.as_log().values(), found.changed, strict=True)
    )
    rows: list[Sequence[Cell]] = [(("http_tokens",), (found.http_tokens or "missing",), tokens_from)]
    if policy is None:
        return [*rows, (("policy",), (found.document or "missing",), policy_from)]
    given = json.loads(found.document or "{}")
    return rows + [
        ((name,), words, policy_from if name in given else ("default",))
        for name, words in as_words(policy, now).items()
    ]
