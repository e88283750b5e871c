"""`imds-enforcer policy set` and `toggle`: replace the policy or the toggle."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from imds_enforcer.model import HttpTokens
from imds_enforcer.policy import Policy
from imds_enforcer.policy.account_defaults import consequences, contradictions
from imds_enforcer.policy.document import as_document, as_words, differences
from imds_enforcer.policy.parser import PolicyInvalidError
from imds_enforcer_cli.account import connection, parameters
from imds_enforcer_cli.commands.pattern_warnings import pattern_warnings
from imds_enforcer_cli.commands.policy import File, read_document
from imds_enforcer_cli.commands.weakening import TOKENS_OPTIONAL, weakened
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import Cell, say, working, write_csv, write_document, write_json, write_table
from imds_enforcer_cli.launches.required_defaults import Foreseen, foresee

_HEADINGS = ("FIELD", "NOW", "THEN")
_COLUMNS = ("field", "now", "then")
_OF_LAUNCHERS = frozenset({"account_defaults", "exemptions", "legacy_calls", "regions"})
"""The fields that decide which launchers would lose IMDSv1 if `required` became the default."""

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, even if the change weakens the policy.")]


def put(
    file: File,
    *,
    yes: Yes = False,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = Format.TABLE,
) -> None:
    """Replace the policy in force with a document, if the document is valid.

    The command first shows the differences, defaults included. It asks you to confirm if the new policy protects less,
    gives up a safeguard, or contradicts itself.

    If the new policy has `account_defaults`, the command also checks launchers. It does so when `account_defaults`, the
    exemptions, the gate or the regions change. It names each launcher that does not set HttpTokens but has instances
    that are exempt, are held or still call IMDSv1. If `required` becomes the region's default, the next instance of
    that launcher will not get IMDSv1. If the command cannot read something for this check, it names what it could not
    read, and stores the policy anyway.

    If someone else changes the policy meanwhile, the command writes nothing. Storing the policy starts a sweep of
    every region.
    """
    text = read_document(file)
    reached = connection.connect(profile, region)
    before = parameters.stored(reached)
    old, problem = before.policy_or_problem()
    try:
        # An invalid toggle must not keep the user from replacing an invalid document.
        new = replace(before, http_tokens=old.http_tokens if old else HttpTokens.REQUIRED, document=text).policy()
    except PolicyInvalidError as error:
        raise CommandError(f"{file!r} is not a valid policy: {'; also '.join(error.problems)}") from None
    for warning in (*pattern_warnings(new), *consequences(new)):
        say(f"{file}: {warning}")
    if problem:
        say(f"The policy in force is invalid, so nothing is enforced: {problem}")
    foreseen = _foreseen(reached, old, new)
    rows, reasons = (_rows(old, new), weakened(old, new)) if old else ([], [])
    against = contradictions(new, reached.clock.now())
    # The user must see the differences before answering; JSON and CSV have them too.
    write_table(_HEADINGS, rows, aside=output is not Format.TABLE)
    version = before.versions.policy
    if old and not rows:
        say(f"The policy is unchanged at version {version}; nothing was written.")
    else:
        parameters.agree(reasons, "Store it?", sure=yes, against=against)
        version = parameters.replace_document(reached, text, before)
        say(f"The policy is stored as version {version}; a sweep of every region follows.")
    if output is Format.JSON:
        write_json(
            {
                "version": version,
                "differences": _documents(old, new) if old else [],
                "weakens": reasons,
                "contradicts": against,
                "launchers": [each.as_json() for each in foreseen.launchers],
            }
        )
    elif output is Format.CSV:
        texts = [["; ".join(cell) for cell in row] for row in rows]
        write_csv(_COLUMNS, [dict(zip(_COLUMNS, row, strict=True)) for row in texts])


def toggle(
    http_tokens: Annotated[
        HttpTokens, typer.Argument(metavar="required|optional", help="The new value of HttpTokens.")
    ],
    *,
    yes: Yes = False,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = Format.TABLE,
) -> None:
    """Require tokens on every instance that the policy covers, or make them optional again.

    The command asks you to confirm before it makes tokens optional: the enforcer then sets every instance to optional,
    and each instance answers IMDSv1 calls. The command also asks you to confirm before it requires tokens, if the
    policy then contradicts itself. If someone else changes the policy meanwhile, the command writes nothing. A new
    value starts a sweep of every region.
    """
    reached = connection.connect(profile, region)
    before = parameters.stored(reached)
    changed = before.http_tokens != http_tokens
    version = before.versions.http_tokens
    new, problem = replace(before, http_tokens=http_tokens).policy_or_problem()
    if changed:
        loosens = http_tokens is HttpTokens.OPTIONAL
        against = contradictions(new, reached.clock.now()) if new and not loosens else []
        reasons = [TOKENS_OPTIONAL] if loosens else []
        question = "Make tokens optional?" if loosens else "Require tokens?"
        parameters.agree(reasons, question, sure=yes, against=against)
        version = parameters.replace_http_tokens(reached, http_tokens, before)
        say(f"HttpTokens is now {http_tokens}, version {version}; a sweep of every region follows.")
    else:
        say(f"HttpTokens is already {http_tokens}, version {version}; nothing was written.")
    if problem:
        say(f"But the policy is invalid, so nothing is enforced: {problem}")
    document = {"http_tokens": http_tokens, "before": before.http_tokens, "version": version, "changed": changed}
    row = ((http_tokens,), (before.http_tokens or "missing",), (str(version),))
    write_document(output, document, ("HTTP TOKENS", "BEFORE", "VERSION"), row)


def _foreseen(reached: connection.Connection, old: Policy | None, new: Policy) -> Foreseen:
    """If the new policy may change which launchers lose IMDSv1 by required defaults, name those that would."""
    if new.account_defaults is None or (old and _OF_LAUNCHERS.isdisjoint(differences(old, new))):
        return Foreseen()
    with working("Reading what launches instances"):
        found = foresee(reached, new)
    for line in (*found.unknown, *map(str, found.launchers)):
        say(line)
    return found


def _rows(old: Policy, new: Policy) -> list[Sequence[Cell]]:
    now, then = as_words(old), as_words(new)
    return [((field,), now[field], then[field]) for field in differences(old, new)]


def _documents(old: Policy, new: Policy) -> list[dict[str, Any]]:
    now, then = as_document(old), as_document(new)
    return [{"field": field, "now": now[field], "then": then[field]} for field in differences(old, new)]
