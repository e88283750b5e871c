"""The data from which `report/report.js` builds the report's table of all instances."""

from collections.abc import Iterable, Mapping
from typing import Any

from imds_enforcer_cli.formats.html_values import STATUSES, in_utc

_FIELDS = (
    "status",
    "name",
    "instance_id",
    "region",
    "state",
    "reason",
    "by",
    "expired",
    "http_tokens",
    "http_endpoint",
    "hop_limit",
    "options_state",
    "auto_scaling_group",
    "image_id",
    "age_days",
)
_MADE = ("until", "template", "template_version", "calls_asked", "calls", "calls_last", "finding_of")


def table_data(instances: Iterable[Mapping[str, Any]], launchers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The field names, once, and a row for each instance."""
    places = {each: launcher["place"] for launcher in launchers for each in launcher["instance_ids"]}
    return {
        "statuses": STATUSES,
        "fields": [*_FIELDS, *_MADE],
        "rows": [_row(each, places) for each in instances],
    }


def _row(instance: Mapping[str, Any], places: Mapping[str, int]) -> list[Any]:
    template, calls = instance["launch_template"] or {}, instance["imdsv1_calls"]
    asked = calls or {}
    return [
        *(instance[field] for field in _FIELDS),
        instance["until"] and in_utc(instance["until"]),
        template.get("id"),
        template.get("version"),
        calls is not None,
        asked.get("total"),
        asked.get("last"),
        places.get(instance["instance_id"]),
    ]
