"""The audit as one HTML file that people read: it needs nothing else, and asks nobody for anything.

What people come for first is in the page as it is written. The table of all instances is made in the browser from
JSON in the page, a hundred rows at a time: so that thousands of them stay quick.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib import resources
from string import Template
from typing import Any

from imds_enforcer_cli.html_element import Html, element, joined
from imds_enforcer_cli.html_sections import endings, known_as, policy, regions, sources, summary, telling
from imds_enforcer_cli.html_values import STATUSES, in_utc, moment

_PARTS = resources.files("imds_enforcer_cli") / "report"

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


def html_report(document: Mapping[str, Any]) -> str:
    """The page of one audit; `document` is what `audit --output json` writes.

    Whatever somebody else wrote, as tags and reasons, stands in it as text. The page's own security policy allows
    it the style and the script that are in it, known by their hashes, and no request at all.
    """
    style, script = _part("report.css"), _part("report.js")
    launchers = telling(document["sources"])
    return Template(_part("report.html")).substitute(
        security=_security(style, script),
        style=style,
        script=script,
        account=joined(document["account"]),
        at=moment(document["at"]),
        policy=policy(document),
        summary=summary(document["summary"], document["regions"]),
        regions=regions(document["regions"]),
        sources=sources(launchers, len(document["sources"])),
        endings=endings(document["instances"], document["at"]),
        status_choices=joined(*_status_choices(document["summary"]["statuses"])),
        region_choices=joined(*(element("option", each["region"]) for each in document["regions"])),
        source_choices=joined(*_source_choices(launchers)),
        lookback=str(document["lookback_days"]),
        instances=_data(document["instances"], launchers),
    )


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _security(style: str, script: str) -> str:
    """The Content-Security-Policy. Bars are SVG with widths as attributes, so that no inline style need be allowed."""
    directives = (
        "default-src 'none'",
        f"style-src {_hash(style)}",
        f"script-src {_hash(script)}",
        "img-src data:",  # the empty icon, without which a browser asks the page's server for one
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
    )
    return "; ".join(directives)


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


def _status_choices(counts: Mapping[str, int]) -> Iterator[Html]:
    """A box to tick for each status that occurs."""
    for status, label in STATUSES.items():
        if number := counts.get(status, 0):
            box = Html(f'<input type="checkbox" name="status" value="{status}">')
            mark = element("span", class_=f"mark {status}")
            yield element("label", box, mark, f"{label} ", element("span", f"{number:,}", class_="soft"))


def _source_choices(launchers: Sequence[Mapping[str, Any]]) -> Iterator[Html]:
    """An option for each source that launched findings: its place among the sources, as in the instances' rows."""
    for place, each in enumerate(launchers):
        if each["findings"]:
            yield element("option", f"{', '.join(known_as(each))} ({each['region']})", value=str(place))


def _data(instances: Iterable[Mapping[str, Any]], launchers: Sequence[Mapping[str, Any]]) -> str:
    """What the script makes the table from: field names once, and a row for each instance.

    No `<` is left in it, so that no text can end the element that it stands in.
    """
    places = {each: place for place, launcher in enumerate(launchers) for each in launcher["instance_ids"]}
    data = {
        "statuses": STATUSES,
        "fields": [*_FIELDS, *_MADE],
        "rows": [_row(each, places) for each in instances],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


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
