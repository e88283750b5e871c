"""A small audit, as `audit --output json` writes it: one of everything that a report distinguishes."""

from __future__ import annotations

from typing import Any

from imds_enforcer_cli.audit.document import summary_of
from imds_enforcer_cli.audit.judge import Status

AT = "2026-11-22T16:40:00+00:00"
TEMPLATE = {"id": "lt-0123456789abcdef0", "version": "3"}
REQUIRED: dict[str, Any] = {"http_tokens": "required"}


def instance(number: int, status: str, reason: str, **fields: Any) -> dict[str, Any]:
    """One instance of an audit."""
    return {
        "instance_id": f"i-{number:017x}",
        "region": "eu-west-1",
        "name": f"web-{number}",
        "state": "running",
        "status": status,
        "reason": reason,
        "until": None,
        "by": None,
        "expired": False,
        "http_tokens": "optional",
        "http_endpoint": "enabled",
        "hop_limit": 1,
        "options_state": "applied",
        "launch_template": None,
        "auto_scaling_group": None,
        "image_id": "ami-0123456789abcdef0",
        "launched_at": "2026-11-10T00:00:00+00:00",
        "age_days": 12,
        "imdsv1_calls": None,
        **fields,
    }


def source(instances: int, *findings: str, **fields: Any) -> dict[str, Any]:
    """One source of an audit."""
    return {
        "auto_scaling_group": None,
        "launch_template": None,
        "image_id": "ami-0123456789abcdef0",
        "region": "eu-west-1",
        "instances": instances,
        "findings": len(findings),
        "instance_ids": list(findings),
        "launches_imdsv1": None,
        "why": "nothing names HttpTokens",
        **fields,
    }


def launcher(**fields: Any) -> dict[str, Any]:
    """One launcher of an audit."""
    return {
        "launcher": "launch template web (lt-0123456789abcdef0) version 3",
        "kind": "launch_template",
        "region": "eu-west-1",
        "id": TEMPLATE["id"],
        "name": "web",
        "arn": None,
        "version": "3",
        "used_as": ["$Default", "$Latest"],
        "instances": 1,
        "launches_imdsv1": True,
        "why": "launch template version 3 sets HttpTokens optional",
        "exempt": None,
        "owner": {"kind": "cloudformation", "name": "web", "part": "Template", "text": "CloudFormation stack web"},
        "advice": "LaunchTemplateData.MetadataOptions.HttpTokens of Template in stack web: required",
        **fields,
    }


def counts(instances: list[dict[str, Any]]) -> dict[str, Any]:
    """The number of instances of each status."""
    return summary_of(Status(each["status"]) for each in instances)


def audit(instances: list[dict[str, Any]], *sources: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The document of an audit of these instances."""
    by_region = {
        region: [each for each in instances if each["region"] == region]
        for region in dict.fromkeys(each["region"] for each in instances)
    }
    return {
        "account": "111122223333",
        "at": AT,
        "policy": {
            "source": "Parameter Store",
            "http_tokens": "required",
            "versions": {"http_tokens": 3, "policy": 7},
        },
        "lookback_days": 14,
        "notes": [],
        "summary": counts(instances),
        "regions": [{"region": region, **counts(each), "error": None} for region, each in by_region.items()],
        "instances": instances,
        "sources": list(sources),
        "launchers": [],
        **fields,
    }


def everything() -> dict[str, Any]:
    """One instance of each status, in two regions."""
    drift = "HttpTokens is optional, not required"
    instances = [
        instance(1, "COMPLIANT", "as the policy names it", **REQUIRED, auto_scaling_group="web"),
        instance(2, "DRIFT", drift, launch_template=TEMPLATE, auto_scaling_group="web"),
        instance(3, "HELD", "migration", until="2026-11-27T18:00:00+00:00", by="ann", region="us-east-1"),
        instance(4, "EXEMPT", "tag imds=v1", until="2027-06-30", name="", region="us-east-1"),
        instance(5, "MANAGED", "eks.amazonaws.com manages it", **REQUIRED),
        instance(6, "IMDS_OFF", "the endpoint is disabled", http_endpoint="disabled", state="stopped"),
        instance(7, "UNREADABLE", "EC2 shows no options", http_tokens=None, http_endpoint=None, hop_limit=None),
        instance(8, "DRIFT", drift, until="2026-10-31", by="ben", expired=True, imdsv1_calls={"total": 17, "last": AT}),
    ]
    second, eighth = instances[1]["instance_id"], instances[7]["instance_id"]
    again = {"launches_imdsv1": True, "why": "launch template version 3 sets HttpTokens optional"}
    return audit(
        instances,
        source(1, second, auto_scaling_group="web", launch_template=TEMPLATE, **again),
        source(1, eighth),
        source(6, launches_imdsv1=False, why="the image names HttpTokens required"),
        launchers=[
            launcher(),
            launcher(
                launcher="launch configuration old", used_as=[], launches_imdsv1=None, owner=None, why="no default"
            ),
            launcher(launches_imdsv1=False, advice=None),
        ],
    )
