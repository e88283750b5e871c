"""The output of `imds-enforcer set`: EC2's answers, and the outcome for each instance."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from imds_enforcer.model import Instance, MetadataOptions, Outcome, Result
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.output import say, write_documents, write_text
from imds_enforcer_cli.console.phrases import arrows, changes, options_columns

_HEADINGS = ("INSTANCE", "OUTCOME", "CHANGE", "REASON")
_COLUMNS = (
    "instance_id",
    "region",
    "outcome",
    "reason",
    *options_columns("before"),
    *options_columns("after"),
)


def write(results: Sequence[Result], output_format: Format) -> None:
    """Write EC2's answers to standard output and the outcomes to standard error; or a table, or CSV."""
    if output_format is not Format.JSON:
        rows = [_row(result) for result in results]
        write_documents(output_format, [_document(result) for result in results], _COLUMNS, _HEADINGS, rows)
        return
    for result in results:
        if document := _answer(result):
            write_text(json.dumps(document))
        say(_said(result))


def _answer(result: Result) -> Mapping[str, Any] | None:
    """EC2's answer to the change; None if no change was requested."""
    if result.answer:
        return result.answer
    match result.outcome:
        case Outcome.WOULD_REMEDIATE:
            differing = {name: {"now": now, "then": then} for name, (now, then) in _changes(result).items()}
            return {"InstanceId": result.instance_id, "DryRun": True, "WouldChange": differing}
        case Outcome.REMEDIATED | Outcome.PENDING:
            # The answer was lost; these are the options that EC2 has shown since.
            shown = result.after.as_log() if result.after else None
            return {"InstanceId": result.instance_id, "InstanceMetadataOptions": shown}
        case _:
            return None


def where(seen: Instance | Result) -> str:
    """The instance and its region."""
    return f"{seen.instance_id} in {seen.region}"


def _said(result: Result) -> str:
    at = where(result)
    match result.outcome:
        case Outcome.REMEDIATED:
            return f"{at} after: {shown(result.after)}"
        case Outcome.PENDING:
            return f"{at} after: {shown(result.after)}: {result.reason}"
        case Outcome.WOULD_REMEDIATE:
            return f"{at} would change, and EC2 would allow it: {', '.join(arrows(_changes(result)))}"
        case Outcome.COMPLIANT:
            return f"{at}: {result.reason}"
        case Outcome.FAILED:
            return f"{at} failed: {result.reason}"
        case _:
            return f"{at} was not changed ({result.outcome}): {result.reason}"


def shown(options: MetadataOptions | None) -> str:
    """The options on one line."""
    if options is None:
        return "unrecognized metadata options"
    return ", ".join(f"{name} {value}" for name, value in options.as_log().items())


def _changes(result: Result) -> dict[str, tuple[str | int, str | int]]:
    return changes(result.before, result.after) if result.before and result.after else {}


def _row(result: Result) -> tuple[tuple[str, ...], ...]:
    change = tuple(arrows(_changes(result))) or ("none",)
    return (result.instance_id, result.region), (str(result.outcome),), change, (result.reason,)


def _document(result: Result) -> dict[str, Any]:
    return {
        "instance_id": result.instance_id,
        "region": result.region,
        "outcome": str(result.outcome),
        "reason": result.reason,
        "before": result.before.as_log() if result.before else {},
        "after": result.after.as_log() if result.after else {},
    }
