"""`imds-enforcer status`: the enforcer's health."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import typer

from imds_enforcer.aws.boto import aws_errors
from imds_enforcer.model import Outcome
from imds_enforcer.model.wording import count
from imds_enforcer.reporting.report import KEPT_BACK
from imds_enforcer_cli.account import connection, function_log, parameters
from imds_enforcer_cli.account.connection import STACK, Connection
from imds_enforcer_cli.commands.sweep import outcomes
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.output import Cell, write_csv, write_json, write_table

_OF_A_SWEEP = ("run_id", "trigger", "seconds", "instances", "outcomes")


def _columns(sweep: str) -> list[str]:
    plain = ("at", *(name for name in _OF_A_SWEEP if name != "outcomes"))
    return [f"{sweep}.{name}" for name in (*plain, *(f"outcomes.{outcome}" for outcome in Outcome))]


STATUS_COLUMNS = (
    *("well", "region", "stack.status", "stack.changed", "stack.version"),
    *("policy.valid", "policy.problem", "policy.http_tokens", "policy.mode"),
    *("policy.versions.http_tokens", "policy.versions.policy"),
    *_columns("last_sweep"),
    *_columns("last_effective_sweep"),
    *("queue.waiting", "queue.in_flight", "queue.delayed", "dead_letters", "lost_invocations", "holds", "alarms"),
    "refused_launchers",
)
NAMESPACE = "ImdsEnforcer"
"""The namespace of the enforcer's metrics, repeated here: its own module imports Powertools."""

_LOOKBACK = timedelta(days=3)
_EVENTS = "events"  # the trigger of runs that are not sweeps
_MINUTE = 60
_ONE_MINUTE = timedelta(seconds=_MINUTE)
_EFFECTS = KEPT_BACK | {Outcome.REMEDIATED, Outcome.PENDING, Outcome.DEFERRED, Outcome.FAILED}
"""Outcomes of instances that a sweep changed, tried to change, or kept back."""

MINUTES = 5
"""How many minutes of the log to search, at most, for the last sweep with an effect."""

_DEPTH = "ApproximateNumberOfMessages"
_LOST = "LostInvocationsQueueUrl"


def status(
    *,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = Format.TABLE,
) -> None:
    """Show the enforcer's health: stack, policy, last sweep, queues, alarms, holds and refused launches.

    The command shows two sweeps of the last three days: the last sweep, and the last sweep that changed an instance or
    kept one back. All is well if the stack is not in a failed state, the policy is valid, the dead-letter queues are
    empty, and no alarm is raised.
    """
    reached = connection.connect_running(profile, region)
    document = _document(reached)
    if output is Format.JSON:
        write_json(document)
    elif output is Format.CSV:
        launchers = [each["line"] for each in document["refused_launchers"]]
        alarms = [each["meaning"] for each in document["alarms"]]
        write_csv(STATUS_COLUMNS, [document | {"alarms": alarms, "refused_launchers": launchers}])
    else:
        write_table(("WHAT", "STATE"), _rows(document, reached.outputs.get(_LOST)))
    if not document["well"]:
        raise typer.Exit(1)


def _document(reached: Connection) -> dict[str, Any]:
    stack, policy, alarms = _stack(reached), _policy(reached), _alarms(reached)
    last, effective = _sweeps(reached)
    dead_letters = sum(_depth(reached, "DeadLetterQueueUrl").values())
    # A stack of an earlier version does not have this output.
    lost = sum(_depth(reached, _LOST).values()) if _LOST in reached.outputs else None
    return {
        "well": not (alarms or dead_letters or lost or policy["problem"] or stack["status"].endswith("FAILED")),
        "region": reached.clients.home_region,
        "stack": stack,
        "policy": policy,
        "last_sweep": last,
        "last_effective_sweep": effective,
        "queue": _depth(reached, "EventQueueUrl"),
        "dead_letters": dead_letters,
        "lost_invocations": lost,
        "holds": len(reached.clients.ledger_table.holds.standing().holds),
        "alarms": alarms,
        "refused_launchers": [each.as_json() for each in reached.clients.ledger_table.notes.refused_launchers()],
    }


def _stack(reached: Connection) -> dict[str, Any]:
    with aws_errors():
        stack = reached.client("cloudformation", None).describe_stacks(StackName=STACK)["Stacks"][0]
    changed: datetime = stack.get("LastUpdatedTime") or stack["CreationTime"]
    return {
        "status": stack["StackStatus"],
        "changed": changed.isoformat(timespec="seconds"),
        "version": reached.outputs.get("Version"),
    }


def _policy(reached: Connection) -> dict[str, Any]:
    found = parameters.stored(reached)
    policy, problem = found.policy_or_problem()
    return {
        "valid": policy is not None,
        "problem": problem,
        "http_tokens": found.http_tokens,
        "mode": policy and policy.mode.value,
        "versions": found.versions.as_log(),
    }


def _sweeps(reached: Connection) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The last completed sweep, and the last sweep with an effect, which may be an earlier one.

    The metrics tell in which minutes sweeps completed, and in which minutes runs had an effect. The log has the reports
    of these minutes. An effect may be that of an event and not of the sweep, so the log of up to `MINUTES` minutes is
    searched.
    """
    completed, effects = _minutes(reached)
    if not completed:
        return None, None
    last = max(completed)
    reports = _reports(reached, last)
    latest = _shown(last, reports[-1] if reports else {})
    # A run that logs just before a minute ends may count in the next minute.
    possible = [each for each in completed if not effects.isdisjoint({each, each - _ONE_MINUTE})]
    for minute in sorted(possible, reverse=True)[:MINUTES]:
        found = reports if minute == last else _reports(reached, minute)
        for report in reversed(found):
            if not _EFFECTS.isdisjoint(report["outcomes"]):
                return latest, _shown(minute, report)
    return latest, None


def _minutes(reached: Connection) -> tuple[set[datetime], set[datetime]]:
    """The minutes in which a sweep completed, and the minutes in which runs changed or kept back instances."""
    now = reached.clock.now()
    names = ("SweepCompleted", *sorted(_EFFECTS))
    queries = [
        {
            "Id": f"m{number}",
            "MetricStat": {"Metric": {"Namespace": NAMESPACE, "MetricName": name}, "Period": _MINUTE, "Stat": "Sum"},
        }
        for number, name in enumerate(names)
    ]
    with aws_errors():
        pages = (
            reached.client("cloudwatch", None)
            .get_paginator("get_metric_data")
            .paginate(MetricDataQueries=queries, StartTime=now - _LOOKBACK, EndTime=now + _ONE_MINUTE)
        )
        results = [result for page in pages for result in page["MetricDataResults"]]
    completed = {moment for result in results if result["Id"] == "m0" for moment in result["Timestamps"]}
    return completed, {moment for result in results if result["Id"] != "m0" for moment in result["Timestamps"]}


def _reports(reached: Connection, minute: datetime) -> list[dict[str, Any]]:
    """The reports of the sweeps that completed in this minute; their log lines may be from the minute before."""
    found = function_log.reports(reached, minute - _ONE_MINUTE, minute + _ONE_MINUTE)
    return [report for report in found if report["trigger"] != _EVENTS]


def _shown(minute: datetime, report: Mapping[str, Any]) -> dict[str, Any]:
    return {"at": minute.isoformat(timespec="minutes")} | {name: report.get(name) for name in _OF_A_SWEEP}


def _depth(reached: Connection, output: str) -> dict[str, int]:
    names = {"waiting": "", "in_flight": "NotVisible", "delayed": "Delayed"}
    with aws_errors():
        attributes = reached.client("sqs", None).get_queue_attributes(
            QueueUrl=reached.outputs[output], AttributeNames=[f"{_DEPTH}{state}" for state in names.values()]
        )["Attributes"]
    return {name: int(attributes[f"{_DEPTH}{state}"]) for name, state in names.items()}


def _alarms(reached: Connection) -> list[dict[str, str]]:
    """The stack's alarms that are raised now."""
    with aws_errors():
        pages = (
            reached.client("cloudwatch", None)
            .get_paginator("describe_alarms")
            .paginate(AlarmNamePrefix=f"{STACK}-", StateValue="ALARM")
        )
        raised = [alarm for page in pages for alarm in page["MetricAlarms"]]
    return [
        {
            "name": alarm["AlarmName"],
            "meaning": alarm.get("AlarmDescription", ""),
            "reason": alarm["StateReason"],
            "since": alarm["StateUpdatedTimestamp"].isoformat(timespec="seconds"),
        }
        for alarm in raised
    ]


def _rows(document: Mapping[str, Any], lost_invocations_url: str | None) -> list[Sequence[Cell]]:
    stack, policy, queue, last = (document[name] for name in ("stack", "policy", "queue", "last_sweep"))
    in_force = f"HttpTokens {policy['http_tokens']}, mode {policy['mode']}"
    versions = f"versions {policy['versions']['http_tokens']} (HttpTokens) and {policy['versions']['policy']} (policy)"
    waiting = ", ".join(f"{number} {state.replace('_', ' ')}" for state, number in queue.items())
    alarms = [f"{each['meaning']} (since {each['since']}): {each['reason']}" for each in document["alarms"]]
    return [
        (("stack",), (stack["status"], f"version {stack['version'] or 'unknown'}, since {stack['changed']}")),
        (("policy",), ("INVALID", policy["problem"], versions) if policy["problem"] else (in_force, versions)),
        (("last sweep",), _swept(last) if last else ("none within three days",)),
        *_effective_row(last, document["last_effective_sweep"]),
        (("event queue",), (waiting,)),
        (("dead-letter queue",), (count(document["dead_letters"], "message"),)),
        *_lost_row(document["lost_invocations"], lost_invocations_url),
        (("holds",), (str(document["holds"]),)),
        *((("launches refused",), (each["line"],)) for each in document["refused_launchers"]),
        (("alarms",), alarms or ("none",)),
    ]


def _lost_row(lost: int | None, url: str | None) -> list[Sequence[Cell]]:
    """The row with the number of lost invocations and, if there are any, what to do."""
    if lost is None:
        return []
    what_to_do = f"run imds-enforcer sweep, then aws sqs purge-queue --queue-url {url}"
    return [(("lost invocations",), (count(lost, "message"), what_to_do) if lost else (count(lost, "message"),))]


def _effective_row(last: Mapping[str, Any] | None, effective: Mapping[str, Any] | None) -> list[Sequence[Cell]]:
    """The row of the last sweep with an effect, unless that is the last sweep itself."""
    if last is None or (effective and effective["run_id"] == last["run_id"]):
        return []
    return [(("last sweep with effect",), _swept(effective) if effective else ("none found within three days",))]


def _swept(sweep: Mapping[str, Any]) -> Cell:
    if not sweep["run_id"]:
        return [sweep["at"]]
    counts = ", ".join(outcomes(sweep["outcomes"]))
    return [sweep["at"], f"{sweep['trigger']}, {sweep['seconds']:g} s: {counts}", f"run {sweep['run_id']}"]
