"""`imds-enforcer status`: the enforcer's health."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import typer

from imds_enforcer.aws.boto import aws_errors
from imds_enforcer.model import Outcome
from imds_enforcer.model.wording import count
from imds_enforcer_cli.account import connection, function_log, parameters
from imds_enforcer_cli.account.connection import STACK, Connection
from imds_enforcer_cli.commands.sweep import outcomes
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.output import Cell, write_csv, write_json, write_table

STATUS_COLUMNS = (
    *("well", "region", "stack.status", "stack.changed", "stack.version"),
    *("policy.valid", "policy.problem", "policy.http_tokens", "policy.mode"),
    *("policy.versions.http_tokens", "policy.versions.policy"),
    *("last_sweep.at", "last_sweep.run_id", "last_sweep.trigger", "last_sweep.seconds", "last_sweep.instances"),
    *(f"last_sweep.outcomes.{outcome}" for outcome in Outcome),
    *("queue.waiting", "queue.in_flight", "queue.delayed", "dead_letters", "holds", "alarms"),
)
NAMESPACE = "ImdsEnforcer"
"""That of the enforcer's metrics; the module that has it brings Powertools along."""

_LOOKBACK = timedelta(days=3)
_EVENTS = "events"  # the runs that are no sweeps
_MINUTE = 60
_DEPTH = "ApproximateNumberOfMessages"


def status(
    *,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = Format.TABLE,
) -> None:
    """Show the enforcer's health: stack, policy, last sweep, queues, alarms and holds.

    The last sweep is looked for in the last three days. All is well if the stack is whole, the policy is valid, no
    event was given up and no alarm is raised.
    """
    reached = connection.connect(profile, region)
    document = _document(reached)
    if output is Format.JSON:
        write_json(document)
    elif output is Format.CSV:
        write_csv(STATUS_COLUMNS, [document | {"alarms": [each["meaning"] for each in document["alarms"]]}])
    else:
        write_table(("WHAT", "STATE"), _rows(document))
    if not document["well"]:
        raise typer.Exit(1)


def _document(reached: Connection) -> dict[str, Any]:
    stack, policy, alarms = _stack(reached), _policy(reached), _alarms(reached)
    dead_letters = sum(_depth(reached, "DeadLetterQueueUrl").values())
    return {
        "well": not (alarms or dead_letters or policy["problem"] or stack["status"].endswith("FAILED")),
        "region": reached.clients.home_region,
        "stack": stack,
        "policy": policy,
        "last_sweep": _last_sweep(reached),
        "queue": _depth(reached, "EventQueueUrl"),
        "dead_letters": dead_letters,
        "holds": len(reached.clients.ledger_table.holds.standing().holds),
        "alarms": alarms,
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


def _last_sweep(reached: Connection) -> dict[str, Any] | None:
    """When a sweep was completed last, by its metric, and its report, by the log of that minute."""
    now = reached.clock.now()
    metric = {"Namespace": NAMESPACE, "MetricName": "SweepCompleted"}
    query = {"Id": "sweeps", "MetricStat": {"Metric": metric, "Period": _MINUTE, "Stat": "Sum"}}
    with aws_errors():
        pages = (
            reached.client("cloudwatch", None)
            .get_paginator("get_metric_data")
            .paginate(MetricDataQueries=[query], StartTime=now - _LOOKBACK, EndTime=now + timedelta(seconds=_MINUTE))
        )
        moments = [moment for page in pages for result in page["MetricDataResults"] for moment in result["Timestamps"]]
    if not moments:
        return None
    minute: datetime = max(moments)
    # The report is written just before the metric: perhaps in the minute before.
    found = function_log.reports(reached, minute - timedelta(minutes=1), minute + timedelta(minutes=1))
    sweeps = [report for report in found if report["trigger"] != _EVENTS]
    report = sweeps[-1] if sweeps else {}
    names = ("run_id", "trigger", "seconds", "instances", "outcomes")
    return {"at": minute.isoformat(timespec="minutes")} | {name: report.get(name) for name in names}


def _depth(reached: Connection, output: str) -> dict[str, int]:
    names = {"waiting": "", "in_flight": "NotVisible", "delayed": "Delayed"}
    with aws_errors():
        attributes = reached.client("sqs", None).get_queue_attributes(
            QueueUrl=reached.outputs[output], AttributeNames=[f"{_DEPTH}{state}" for state in names.values()]
        )["Attributes"]
    return {name: int(attributes[f"{_DEPTH}{state}"]) for name, state in names.items()}


def _alarms(reached: Connection) -> list[dict[str, str]]:
    """The alarms of the stack that are raised now."""
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


def _rows(document: Mapping[str, Any]) -> list[Sequence[Cell]]:
    stack, policy, queue, last = (document[name] for name in ("stack", "policy", "queue", "last_sweep"))
    in_force = f"HttpTokens {policy['http_tokens']}, mode {policy['mode']}"
    versions = f"versions {policy['versions']['http_tokens']} (HttpTokens) and {policy['versions']['policy']} (policy)"
    swept: Cell = ["none within three days"]
    if last:
        swept = [last["at"], *(_swept(last) if last["run_id"] else ())]
    waiting = ", ".join(f"{number} {state.replace('_', ' ')}" for state, number in queue.items())
    alarms = [f"{each['meaning']} (since {each['since']}): {each['reason']}" for each in document["alarms"]]
    return [
        (("stack",), (stack["status"], f"version {stack['version'] or 'unknown'}, since {stack['changed']}")),
        (("policy",), ("INVALID", policy["problem"], versions) if policy["problem"] else (in_force, versions)),
        (("last sweep",), swept),
        (("event queue",), (waiting,)),
        (("dead-letter queue",), (count(document["dead_letters"], "message"),)),
        (("holds",), (str(document["holds"]),)),
        (("alarms",), alarms or ("none",)),
    ]


def _swept(last: Mapping[str, Any]) -> Cell:
    counts = ", ".join(outcomes(last["outcomes"]))
    return (f"{last['trigger']}, {last['seconds']:g} s: {counts}", f"run {last['run_id']}")
