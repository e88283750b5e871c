"""The sections of the report that stand in the page as it is written: they need no script."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from imds_enforcer_cli.html_element import Html, element, joined
from imds_enforcer_cli.html_values import STATUSES, bar, counted, days_until, lines, moment, share, status

_SHOWN = 25
"""Rows of a table that are seen at once; the others can be unfolded."""

_NAMED = 3
"""Instances that a row names; of others it says how many."""

_ENDING = {"HELD", "EXEMPT"}
"""What protects an instance, perhaps only for a time."""

_PARAMETERS = {"http_tokens": "toggle", "policy": "policy"}
_AGAIN = {True: "Yes", False: "No", None: "Not known"}


def policy(document: Mapping[str, Any]) -> Html:
    """What the instances were held against."""
    named, versions = document["policy"], document["policy"].get("versions") or {}
    said = [f"{_PARAMETERS[name]} version {number}" for name, number in versions.items() if number]
    tokens = element("b", f"HttpTokens {named['http_tokens']}")
    return joined("Policy: ", tokens, f" ({', '.join([named['source'], *said])})")


def summary(counts: Mapping[str, Any], each_region: Sequence[Mapping[str, Any]]) -> Html:
    """The share of compliant instances, how many there are of each status, and whether some may be missing."""
    drift = counts["statuses"].get("DRIFT", 0)
    rest = (
        "Nothing drifts from the policy."
        if not drift
        else f"{drift:,} {'drifts' if drift == 1 else 'drift'} from the policy."
    )
    legend = [
        element("li", element("span", class_=f"mark {name}"), f"{label} ", element("b", f"{number:,}"))
        for name, label in reversed(STATUSES.items())
        if (number := counts["statuses"].get(name, 0))
    ]
    unread = [region["region"] for region in each_region if region["error"]]
    return joined(
        element("p", share(counts), class_="share"),
        element(
            "div",
            element("p", f"{counts['compliant']:,} of {counted(counts['instances'], 'instance')} ", "comply. ", rest),
            bar(counts["statuses"], "All instances"),
            element("ul", *legend, class_="legend"),
            element("p", f"Not read in full: {', '.join(unread)}.", class_="problem") if unread else "",
        ),
    )


def regions(each: Sequence[Mapping[str, Any]]) -> Html:
    """A bar for each region, and why some could not be read in full."""
    rows = [_region_row(region) for region in each]
    return _table(("Region", "", "#Compliant", "#Share", "#Drift"), rows, class_="regions")


def _region_row(region: Mapping[str, Any]) -> Html:
    error = element("div", f"Not read in full: {region['error']}", class_="problem small") if region["error"] else ""
    return element(
        "tr",
        element("th", region["region"], scope="row"),
        element("td", bar(region["statuses"], region["region"]), error, class_="wide"),
        _number(f"{region['compliant']:,} of {region['instances']:,}"),
        _number(share(region)),
        _number(f"{region['statuses'].get('DRIFT', 0):,}"),
    )


def telling(every: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The sources that launched findings, or will launch some: there it must be mended; most findings first."""
    found = [each for each in every if each["findings"] or each["launches_imdsv1"]]
    return sorted(found, key=lambda each: (-each["findings"], not each["launches_imdsv1"], each["region"]))


def known_as(source: Mapping[str, Any]) -> list[str]:
    """What a source consists of, from the outermost on."""
    group, template = source["auto_scaling_group"], source["launch_template"]
    parts = [
        f"Auto Scaling group {group}" if group else "",
        f"launch template {template['id']}, version {template['version']}" if template else "",
        f"image {source['image_id']}" if source["image_id"] else "",
    ]
    return [part for part in parts if part] or ["nothing known"]


def sources(launchers: Sequence[Mapping[str, Any]], among: int) -> Html:
    """The telling ones among so many sources."""
    if not launchers:
        return element("p", "No source has launched a finding, and none is known to launch one.")
    headings = ("Launched by", "Region", "#Findings", "Launches IMDSv1 again", "")
    table = _table(headings, [_source_row(place, each) for place, each in enumerate(launchers)])
    if not (others := among - len(launchers)):
        return table
    said = f"Not listed: {counted(others, 'source')} without findings, and not known to launch IMDSv1 instances."
    return joined(table, element("p", said, class_="soft"))


def _source_row(place: int, source: Mapping[str, Any]) -> Html:
    outermost, *others = known_as(source)
    again = source["launches_imdsv1"]
    return element(
        "tr",
        element("th", lines(f"{outermost[0].upper()}{outermost[1:]}", *others), scope="row"),
        element("td", source["region"]),
        _number(f"{source['findings']:,} of {source['instances']:,}"),
        element("td", lines(element("b", _AGAIN[again], class_="problem" if again else None), source["why"])),
        element("td", _shower(place) if source["findings"] else ""),
    )


def endings(instances: Iterable[Mapping[str, Any]], now: str) -> Html:
    """Holds and exemptions, the soonest end first: what has ended, then what will, then what has no end."""
    held = [each for each in instances if each["status"] in _ENDING or each["expired"]]
    if not held:
        return element("p", "No instance is held or exempt.")
    held.sort(key=_ending)
    rows = [_ending_row(list(alike), now) for _, alike in groupby(held, _ending)]
    return _table(("Until", "What", "Instances", "Reason"), rows)


def _ending(instance: Mapping[str, Any]) -> tuple[Any, ...]:
    """What puts instances in order, and those with the same into one row."""
    until = instance["until"]
    texts = (until or "", instance["status"], instance["by"] or "", instance["reason"])
    return not _has_ended(instance), until is None, *texts


def _has_ended(instance: Mapping[str, Any]) -> bool:
    """True if nothing protects the instance any more: while it is held, `until` is the end of the hold."""
    return instance["expired"] and instance["status"] not in _ENDING


def _ending_row(alike: list[Mapping[str, Any]], now: str) -> Html:
    one = alike[0]
    until = one["until"]
    what: Html = status(one["status"])
    if _has_ended(one):
        when = lines(element("b", "Expired", class_="problem"), until and moment(until))
    elif until:
        when = lines(moment(until), days_until(until, now))
    else:
        when = joined("no end")
    names = [each["name"] or each["instance_id"] for each in alike[:_NAMED]]
    more = f"and {len(alike) - _NAMED:,} more" if len(alike) > _NAMED else ""
    who = lines(counted(len(alike), "instance"), ", ".join([*names, *([more] if more else [])]))
    if len(alike) == 1:
        who = lines(one["name"], element("code", one["instance_id"]), one["region"])
    return element(
        "tr",
        element("td", when, class_="when"),
        element("td", what),
        element("td", who),
        element("td", lines(one["reason"], f"by {one['by']}" if one["by"] else None)),
    )


def _shower(place: int) -> Html:
    """A button that shows the findings of a source; there is none on paper, nor without the script."""
    return element("button", "Show", type="button", data_source=str(place), class_="show", hidden="")


def _number(text: str) -> Html:
    return element("td", text, class_="number")


def _table(headings: Sequence[str], rows: Sequence[Html], **attributes: str) -> Html:
    """A table; a heading with `#` is one of numbers. What is beyond the first rows is folded away."""
    head = element("thead", element("tr", *map(_heading, headings)))
    parts = [element("table", head, element("tbody", *rows[:_SHOWN]), **attributes)]
    if rest := rows[_SHOWN:]:
        table = element("table", head, element("tbody", *rest), **attributes)
        parts.append(element("details", element("summary", f"{len(rest):,} more"), table))
    return element("div", *parts, class_="scroll")


def _heading(text: str) -> Html:
    if not text:
        return element("td")
    name = text.removeprefix("#")
    return element("th", name, scope="col", class_="number" if name != text else None)
