"""Writes an audit in the Static Analysis Results Interchange Format 2.1.0, for dashboards that collect it.

It includes what GitHub requires beyond the standard (GitHub Docs, "SARIF support for code scanning"): relative
URIs, a region, the help of each rule, and the fingerprint `primaryLocationLineHash`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from imds_enforcer_cli.audit.judge import Status
from imds_enforcer_cli.formats.asff import TITLE, instance_arn

_RULES = {
    Status.DRIFT: ("error", "The instance differs from the policy."),
    Status.HELD: (
        "warning",
        "The instance differs from the policy and is held: the enforcer does not change it for now.",
    ),
    Status.EXEMPT: ("warning", "The instance differs from the policy, which exempts it."),
    Status.MANAGED: (
        "note",
        "The instance differs from the policy, and only the service that manages it can change it.",
    ),
    Status.UNREADABLE: ("warning", "EC2 shows unrecognized metadata options for the instance."),
}
MAX_RESULTS = 25_000
"""The most results of a run: GitHub refuses a file with more (GitHub Docs, "SARIF support for code scanning")."""

_HELP = "`imds-enforcer audit` shows the instance, `imds-enforcer enforce` brings it in line with the policy."
_REGION = {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1}
"""GitHub requires a region, but an instance has no lines."""
_ACCEPTED = {Status.HELD, Status.EXEMPT}
"""The policy or an operator accepts the difference: the result is suppressed."""


def sarif(document: Mapping[str, Any], partition: str) -> dict[str, Any]:
    """One result for each instance that differs from the policy; one notification for each unread region."""
    results = [
        _result(each, instance_arn(each, partition, document["account"]))
        for each in document["instances"]
        if Status(each["status"]) in _RULES
    ]
    failed = [f"{region['region']}: {region['error']}" for region in document["regions"] if region["error"]]
    return log(document["at"], failed, [_rule(status) for status in _RULES], results)


def log(at: str, failed: Sequence[str], rules: Sequence[object], results: Sequence[object]) -> dict[str, Any]:
    """A whole SARIF log; `failed` says what could not be read."""
    invocation = {
        "executionSuccessful": not failed,
        "endTimeUtc": datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "toolExecutionNotifications": [{"level": "error", "message": {"text": text}} for text in failed],
    }
    driver = {"name": "imds-enforcer", "rules": rules}
    run = {"tool": {"driver": driver}, "invocations": [invocation], "results": results}
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def location(resource: str, path: str) -> dict[str, Any]:
    """The location of a resource: its full name, and a relative path."""
    return {
        "physicalLocation": {"artifactLocation": {"uri": path}, "region": _REGION},
        "logicalLocations": [{"fullyQualifiedName": resource, "kind": "resource"}],
    }


def path_of(arn: str) -> str:
    """The ARN as a path: `arn:` would make it an absolute URI, for which GitHub refuses the whole upload."""
    return arn.removeprefix("arn:").replace(":", "/")


def _rule_id(status: Status) -> str:
    return f"imds-{status.lower()}"


def _rule(status: Status) -> dict[str, Any]:
    level, says = _RULES[status]
    return {
        "id": _rule_id(status),
        "shortDescription": {"text": says},
        "fullDescription": {"text": f"{TITLE}. {says}"},
        "help": {"text": _HELP},
        "defaultConfiguration": {"level": level},
    }


def _result(instance: Mapping[str, Any], arn: str) -> dict[str, Any]:
    status = Status(instance["status"])
    level, _ = _RULES[status]
    named = f"{instance['instance_id']} ({instance['name']})" if instance["name"] else instance["instance_id"]
    result: dict[str, Any] = {
        "ruleId": _rule_id(status),
        "ruleIndex": list(_RULES).index(status),
        "level": level,
        "message": {"text": f"{named} in {instance['region']}: {instance['reason']}"},
        "locations": [location(arn, path_of(arn))],
        "partialFingerprints": {"instance/v1": arn, "primaryLocationLineHash": arn},
    }
    if status in _ACCEPTED:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": instance["reason"]}]
    return result
