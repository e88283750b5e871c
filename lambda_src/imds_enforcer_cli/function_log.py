"""What the deployed function has written to its log about its runs."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from imds_enforcer.aws import aws_errors
from imds_enforcer_cli.connection import Connection

_FINISHED = "run finished"
_ERROR = "ERROR"


def reports(
    reached: Connection, since: datetime, until: datetime | None = None, run_id: str = ""
) -> list[dict[str, Any]]:
    """The reports of the runs that finished within that time, of all of them or of one, oldest first.

    Raises:
        AwsError: if the log could not be read.
    """
    lines = _lines(reached, since, until, _FINISHED, *([run_id] if run_id else []))
    found = [line["report"] for line in _documents(lines) if line.get("message") == _FINISHED]
    return [report for report in found if run_id in ("", report["run_id"])]


def ended(reached: Connection, since: datetime, run_id: str) -> bool:
    """True once Lambda has written that the invocation is over, however it ended.

    Raises:
        AwsError: if the log could not be read.
    """
    mark = f"END RequestId: {run_id}"
    return any(line.startswith(mark) for line in _lines(reached, since, None, mark))


def errors(reached: Connection, since: datetime, run_id: str) -> list[str]:
    """What an invocation logged as errors, each in a line: the enforcer's own, and the one that ended it.

    Raises:
        AwsError: if the log could not be read.
    """
    lines = [*_lines(reached, since, None, run_id, _ERROR)]
    own = [f"{each['message']}: {each.get('error', '')}" for each in _documents(lines) if each.get("level") == _ERROR]
    return own + [line.strip().splitlines()[0] for line in lines if line.startswith(f"[{_ERROR}]")]


def _lines(reached: Connection, since: datetime, until: datetime | None, *phrases: str) -> Iterator[str]:
    """The lines with all of these phrases, oldest first."""
    pages = reached.client("logs", None).get_paginator("filter_log_events")
    times = {"startTime": _milliseconds(since)} | ({"endTime": _milliseconds(until)} if until else {})
    pattern = " ".join(f'"{phrase}"' for phrase in phrases)
    with aws_errors():
        for page in pages.paginate(logGroupName=reached.outputs["LogGroupName"], filterPattern=pattern, **times):
            yield from (str(event["message"]) for event in page["events"])


def _documents(lines: Any) -> Iterator[dict[str, Any]]:
    """Those of the lines that are JSON objects."""
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
