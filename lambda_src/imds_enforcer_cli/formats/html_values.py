"""Values for the HTML report: texts, counts, and the contents of its bars and tables."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from imds_enforcer.model.wording import launched_by

STATUSES = {
    "DRIFT": "Drift",
    "UNREADABLE": "Unreadable",
    "HELD": "Held",
    "EXEMPT": "Exempt",
    "MANAGED": "Managed",
    "IMDS_OFF": "IMDS off",
    "COMPLIANT": "Compliant",
}
"""The label of each status, the one that needs most attention first."""

_WHOLE = 100

_NAMED = 3
"""How many instances a row names; it counts the others."""

_ENDING = {"HELD", "EXEMPT"}
"""The statuses that may end at a set time."""

_PARAMETERS = {"http_tokens": "toggle", "policy": "policy"}


def thousands(number: int) -> str:
    """The number with thousands separators."""
    return f"{number:,}"


def share(counts: Mapping[str, Any]) -> str:
    """The share of compliant instances."""
    if not counts["instances"]:
        return "\N{EN DASH}"
    return f"{counts['compliant_percent']:.1f}".removesuffix(".0") + "\N{NO-BREAK SPACE}%"


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of a bar that shows one status."""

    status: str
    label: str
    number: int
    x: float
    width: float

    @property
    def words(self) -> str:
        """The text for screen readers."""
        return f"{self.number:,} {self.label}"


def stretches(statuses: Mapping[str, int]) -> list[Stretch]:
    """The stretches of a bar: one for each status that occurs, compliant ones first."""
    total, x = sum(statuses.values()), 0.0
    made = []
    for status, label in reversed(STATUSES.items()):
        if number := statuses.get(status, 0):
            width = number * _WHOLE / total
            made.append(Stretch(status, label, number, x, width))
            x += width
    return made


def in_utc(text: str) -> str:
    """A moment in UTC, to the minute; a day stays as it is."""
    if len(text) <= len("2027-06-30"):
        return text
    read = datetime.fromisoformat(text)
    return f"{(read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def days_until(text: str, now: str) -> str:
    """How many calendar days away a day or a moment is, in words."""
    days = (_day(text) - _day(now)).days
    match days:
        case 0:
            return "today"
        case 1:
            return "tomorrow"
        case -1:
            return "yesterday"
        case _:
            return f"in {days:,} days" if days > 0 else f"{-days:,} days ago"


def _day(text: str) -> date:
    """The day, in UTC, of a day or a moment."""
    return date.fromisoformat(f"{in_utc(text):.10}")


def policy_origin(policy: Mapping[str, Any]) -> str:
    """The policy's source, with the versions of its parameters."""
    versions = policy.get("versions") or {}
    said = [f"{_PARAMETERS[name]} version {number}" for name, number in versions.items() if number]
    return ", ".join([policy["source"], *said])


def launchers(sources: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The sources to fix: those that launched findings, or will launch some; most findings first.

    Each has its place in the list, and the names by which it is known.
    """
    found = [each for each in sources if each["findings"] or each["launches_imdsv1"]]
    found.sort(key=lambda each: (-each["findings"], not each["launches_imdsv1"], each["region"]))
    return [{**each, "place": place, "known_as": _known_as(each)} for place, each in enumerate(found)]


def _known_as(source: Mapping[str, Any]) -> list[str]:
    """The names of a source: group, launch template and image."""
    template = source["launch_template"]
    version = template and f"{template['id']}, version {template['version']}"
    return launched_by(source["auto_scaling_group"], version, source["image_id"]) or ["nothing known"]


@dataclass(frozen=True, slots=True)
class Ending:
    """Instances that are or were held or exempt, until the same moment and for the same reason."""

    instances: list[Mapping[str, Any]]
    until: str | None
    status: str
    by: str | None
    reason: str
    over: bool
    """True if their exemption has expired and no hold protects them; `until` is the end of the exemption."""

    @property
    def label(self) -> str:
        """The label of their status."""
        return STATUSES[self.status]

    @property
    def names(self) -> str:
        """The names of the first instances, and the number of the others."""
        named = [each["name"] or each["instance_id"] for each in self.instances[:_NAMED]]
        more = len(self.instances) - len(named)
        return ", ".join([*named, f"and {more:,} more"] if more else named)


def endings(instances: Iterable[Mapping[str, Any]]) -> list[Ending]:
    """Holds and exemptions: the expired ones, then by their ends, the soonest first, then those without an end."""
    held = [each for each in instances if each["status"] in _ENDING or each["expired"]]
    return [_ending(list(alike)) for _, alike in groupby(sorted(held, key=_order), _order)]


def _order(instance: Mapping[str, Any]) -> tuple[Any, ...]:
    """The sort key; instances with the same key share a row."""
    until = instance["until"]
    texts = (until or "", instance["status"], instance["by"] or "", instance["reason"])
    return not _is_over(instance), until is None, *texts


def _is_over(instance: Mapping[str, Any]) -> bool:
    return instance["expired"] and instance["status"] not in _ENDING


def _ending(alike: list[Mapping[str, Any]]) -> Ending:
    one = alike[0]
    return Ending(alike, one["until"], one["status"], one["by"], one["reason"], _is_over(one))
