"""An audit as rows, for a terminal and a spreadsheet."""

from collections.abc import Mapping, Sequence
from typing import Any

from imds_enforcer.model import LaunchTemplate
from imds_enforcer.model.wording import count, each_count
from imds_enforcer_cli.audit.judge import Status
from imds_enforcer_cli.console.output import Cell

INSTANCE_HEADINGS = ("INSTANCE", "STATUS", "REASON", "OPTIONS", "FROM", "AGE", "IMDSv1 CALLS")
INSTANCE_COLUMNS = (
    "instance_id",
    "region",
    "name",
    "state",
    "status",
    "reason",
    "until",
    "by",
    "expired",
    "http_tokens",
    "http_endpoint",
    "hop_limit",
    "options_state",
    "launch_template.id",
    "launch_template.version",
    "auto_scaling_group",
    "image_id",
    "launched_at",
    "age_days",
    "imdsv1_calls.total",
    "imdsv1_calls.last",
)
SOURCE_HEADINGS = ("SOURCE", "INSTANCES", "DRIFT", "LAUNCHES IMDSv1", "WHY")
SOURCE_COLUMNS = (
    "region",
    "auto_scaling_group",
    "launch_template.id",
    "launch_template.version",
    "image_id",
    "instances",
    "findings",
    "launches_imdsv1",
    "why",
    "instance_ids",
)
REGION_HEADINGS = ("REGION", "INSTANCES", "COMPLIANT", *(str(status) for status in Status if not status.compliant))

_YES_OR_NO = {True: "yes", False: "no", None: "not known"}


def instance_row(instance: Mapping[str, Any]) -> Sequence[Cell]:
    """The row of an instance."""
    calls, days = instance["imdsv1_calls"], instance["age_days"]
    return (
        (instance["instance_id"], instance["region"], instance["name"]),
        (
            instance["status"],
            f"{_until(instance)} {instance['until']}" if instance["until"] else "",
            f"by {instance['by']}" if instance["by"] else "",
        ),
        (instance["reason"],),
        _options(instance),
        _origin(instance),
        (count(days, "day") if days is not None else "",),
        _calls(calls) if calls else (),
    )


def _until(instance: Mapping[str, Any]) -> str:
    """The word before the end: whether it lies ahead, or an exemption has expired."""
    return "was exempt until" if instance["expired"] and instance["status"] != Status.HELD else "until"


def source_row(source: Mapping[str, Any]) -> Sequence[Cell]:
    """The row of a source."""
    return (
        (*_origin(source), source["region"]),
        (str(source["instances"]),),
        (str(source["findings"]),),
        (_YES_OR_NO[source["launches_imdsv1"]],),
        (source["why"],),
    )


def region_row(region: Mapping[str, Any]) -> Sequence[Cell]:
    """The row of a region's counts."""
    wrong = [str(region["statuses"][status]) for status in Status if not status.compliant]
    unread = region["error"] and not region["instances"]
    share = "not read" if unread else f"{region['compliant']} ({region['compliant_percent']} %)"
    return ((region["region"],), (str(region["instances"]),), (share,), *((number,) for number in wrong))


def summary_line(document: Mapping[str, Any]) -> str:
    """The whole fleet in one line, with the regions that were not read in full."""
    summary = document["summary"]
    statuses = each_count(summary["statuses"])
    fleet = f"{count(summary['instances'], 'instance')} in {count(len(document['regions']), 'region')}"
    unread = [region["region"] for region in document["regions"] if region["error"]]
    but = f" Not read in full: {', '.join(unread)}." if unread else ""
    if unread and not statuses:
        return f"{fleet}.{but}"
    share = f"{summary['compliant_percent']} % compliant with HttpTokens {document['policy']['http_tokens']}"
    return f"{fleet}, {share}{': ' if statuses else ''}{', '.join(statuses)}.{but}"


def _options(instance: Mapping[str, Any]) -> Cell:
    if instance["http_tokens"] is None:
        return ()
    return (
        f"tokens {instance['http_tokens']}" if instance["http_endpoint"] == "enabled" else "IMDS off",
        f"hop limit {instance['hop_limit']}",
        "" if instance["options_state"] == "applied" else instance["options_state"],
    )


def _origin(where: Mapping[str, Any]) -> Cell:
    template = where["launch_template"]
    return (
        where["auto_scaling_group"] or "",
        str(LaunchTemplate(**template)) if template else "",
        where["image_id"],
    )


def _calls(calls: Mapping[str, Any]) -> Cell:
    if calls["total"] is None:
        return ("no data",)
    return str(calls["total"]), f"last on {calls['last']}" if calls["last"] else ""
