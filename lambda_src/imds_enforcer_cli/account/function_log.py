"""What the deployed function's log says about its runs."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imds_enforcer.aws.boto import aws_errors
from imds_enforcer_cli.account.connection import Connection

_FINISHED = "run finished"
_ALREADY_RUNNING = "already running"


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `at` is in milliseconds since the epoch. The invocations in one stream follow one another."""

    text: str
    stream: str
    at: int


def reports(
    reached: Connection, since: datetime, until: datetime | None = None, run_id: str = ""
) -> list[dict[str, Any]]:
    """The reports of the runs that finished in this period, oldest first; with `run_id`, of that run only.

    Raises:
        AwsError: if the log could not be read.
    """
    lines = _lines(reached, since, *([run_id] if run_id else []), _FINISHED, endTime=until and _milliseconds(until))
    found = [line["report"] for line in _documents(lines) if line.get("message") == _FINISHED]
    return [report for report in found if run_id in ("", report["run_id"])]


def sweeping_run(reached: Connection, since: datetime, run_id: str) -> str | None:
    """The run whose sweep was under way and kept this run from sweeping; None if no other run did.

    Raises:
        AwsError: if the log could not be read.
    """
    lines = _documents(_lines(reached, since, run_id, _ALREADY_RUNNING))
    own = (line for line in lines if (line.get("message"), line.get("run_id")) == (_ALREADY_RUNNING, run_id))
    return next((line["sweeping_run"] for line in own), None)


def end_of(reached: Connection, since: datetime, run_id: str) -> Line | None:
    """The line in which Lambda says that the invocation is over, whether it succeeded or not; None until then.

    Raises:
        AwsError: if the log could not be read.
    """
    mark = f"END RequestId: {run_id}"
    return next((line for line in _lines(reached, since, mark) if line.text.startswith(mark)), None)


def errors(reached: Connection, since: datetime, run_id: str, end: Line) -> list[str]:
    """Why the invocation with this end has no report: errors by the enforcer, Python or Lambda, each on one line.

    Raises:
        AwsError: if the log could not be read.
    """
    # A Python traceback does not name the invocation: it stands between the invocation's first and last line.
    lines = [*_lines(reached, since, logStreamNames=[end.stream], endTime=end.at)]
    beginnings = [number for number, line in enumerate(lines) if line.text.startswith(f"START RequestId: {run_id}")]
    own = lines[beginnings[-1] :] if beginnings else lines
    logged = [each for each in _documents(own) if each.get("level") == "ERROR" and "instance_id" not in each]
    plain = [line.text for line in own if line.text.startswith("[ERROR]") or "Task timed out" in line.text]
    return [f"{each['message']}: {each.get('error', '')}" for each in logged] + [
        text.strip().splitlines()[0] for text in plain
    ]


def _lines(reached: Connection, since: datetime, *phrases: str, **narrower: Any) -> Iterator[Line]:
    """The lines that contain all of these phrases, oldest first."""
    pages = reached.client("logs", None).get_paginator("filter_log_events")
    request = {
        "logGroupName": reached.outputs["LogGroupName"],
        "startTime": _milliseconds(since),
        "filterPattern": " ".join(f'"{phrase}"' for phrase in phrases),
        **narrower,
    }
    with aws_errors():
        for page in pages.paginate(**{name: value for name, value in request.items() if value}):
            for event in page["events"]:
                yield Line(event["message"], event["logStreamName"], event["timestamp"])


def _documents(lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
    """The lines that are JSON objects, parsed."""
    for line in lines:
        try:
            document = json.loads(line.text)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
