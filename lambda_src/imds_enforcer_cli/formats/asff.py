"""Writes an audit in the AWS Security Finding Format, for Security Hub's BatchImportFindings."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from imds_enforcer.model import LaunchTemplate
from imds_enforcer_cli.audit.judge import Status

TITLE = "EC2 instances should follow the account's policy for the instance metadata service (IMDS)"
_TYPE = "Software and Configuration Checks/AWS Security Best Practices"
_MAX_DESCRIPTION = 1024

_STATES = {
    Status.COMPLIANT: ("PASSED", "RESOLVED", "ARCHIVED"),
    Status.IMDS_OFF: ("PASSED", "RESOLVED", "ARCHIVED"),
    Status.DRIFT: ("FAILED", "NEW", "ACTIVE"),
    Status.HELD: ("WARNING", "NOTIFIED", "ACTIVE"),
    Status.EXEMPT: ("WARNING", "NOTIFIED", "ARCHIVED"),
    Status.MANAGED: ("WARNING", "NOTIFIED", "ACTIVE"),
    Status.UNREADABLE: ("NOT_AVAILABLE", "NEW", "ACTIVE"),
}
"""For each status: the compliance status, the workflow status of a new finding, and the record state.

An archived finding is closed, and becomes NEW once it is active again. A SUPPRESSED one would stay suppressed after
its exemption ends (Security Hub API Reference, "Workflow").
"""


def asff(document: Mapping[str, Any], partition: str, hub_region: str) -> list[dict[str, Any]]:
    """One finding for each instance, even if it passed or is exempt: that closes its earlier finding.

    A finding's id derives from its instance and never changes. Security Hub, in the region `hub_region`, accepts 100
    findings in a call and ignores those that are not newer than what it has, so timestamps have milliseconds.
    """
    product = f"arn:{partition}:securityhub:{hub_region}:{document['account']}:product/{document['account']}/default"
    at = _moment(document["at"])
    return [_finding(each, document["account"], partition, product, at) for each in document["instances"]]


def instance_arn(instance: Mapping[str, Any], partition: str, account: str) -> str:
    """The instance's ARN."""
    return f"arn:{partition}:ec2:{instance['region']}:{account}:instance/{instance['instance_id']}"


def _finding(instance: Mapping[str, Any], account: str, partition: str, product: str, at: str) -> dict[str, Any]:
    status = Status(instance["status"])
    compliance, workflow, record = _STATES[status]
    arn = instance_arn(instance, partition, account)
    finding = {
        "SchemaVersion": "2018-10-08",
        "Id": f"{arn}/imds-policy",
        "ProductArn": product,
        "GeneratorId": "imds-enforcer",
        "AwsAccountId": account,
        "Region": instance["region"],
        "CreatedAt": _moment(instance["launched_at"]) if instance["launched_at"] else at,
        "UpdatedAt": at,
        "Title": TITLE,
        "Description": f"{status}: {instance['reason']}"[:_MAX_DESCRIPTION],
        "ProductFields": _product_fields(instance),
        "Resources": [_resource(instance, arn, partition)],
        "Compliance": {"Status": compliance},
        "Workflow": {"Status": workflow},
        "RecordState": record,
        # Not at the top level: there they belong to the people who work on the finding
        # (Security Hub User Guide, "BatchImportFindings for finding providers").
        "FindingProviderFields": {"Severity": {"Label": _severity(status, instance)}, "Types": [_TYPE]},
    }
    if status is Status.DRIFT:
        text = "Bring it in line with `imds-enforcer enforce`, and fix what launched it."
        finding["Remediation"] = {"Recommendation": {"Text": text}}
    return finding


def _severity(status: Status, instance: Mapping[str, Any]) -> str:
    """High, like Security Hub's own control EC2.8, while the instance answers IMDSv1."""
    if status.compliant:
        return "INFORMATIONAL"
    answers = instance["http_tokens"] == "optional" and instance["http_endpoint"] == "enabled"
    return "HIGH" if answers else "MEDIUM"


def _product_fields(instance: Mapping[str, Any]) -> dict[str, str]:
    template, calls = instance["launch_template"], instance["imdsv1_calls"]
    fields = {
        "Status": instance["status"],
        "Until": instance["until"],
        "By": instance["by"],
        "LaunchTemplate": template and LaunchTemplate(**template),
        "AutoScalingGroup": instance["auto_scaling_group"],
        "ImdsV1Calls": calls and calls["total"],
    }
    return {f"imds-enforcer/{name}": str(value) for name, value in fields.items() if value is not None}


def _resource(instance: Mapping[str, Any], arn: str, partition: str) -> dict[str, Any]:
    options = {
        "HttpEndpoint": instance["http_endpoint"],
        "HttpPutResponseHopLimit": instance["hop_limit"],
        "HttpTokens": instance["http_tokens"],
    }
    details = {
        "ImageId": instance["image_id"] or None,
        "LaunchedAt": instance["launched_at"] and _moment(instance["launched_at"]),
        "MetadataOptions": options if instance["http_tokens"] else None,
    }
    return {
        "Type": "AwsEc2Instance",
        "Id": arn,
        "Partition": partition,
        "Region": instance["region"],
        "Details": {"AwsEc2Instance": {name: value for name, value in details.items() if value}},
    }


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
