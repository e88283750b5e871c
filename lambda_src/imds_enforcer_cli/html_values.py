"""Single values in the report: shares, moments, names, bars."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from imds_enforcer_cli.html_element import Html, element, joined

STATUSES = {
    "DRIFT": "Drift",
    "UNREADABLE": "Unreadable",
    "HELD": "Held",
    "EXEMPT": "Exempt",
    "MANAGED": "Managed",
    "IMDS_OFF": "IMDS off",
    "COMPLIANT": "Compliant",
}
"""How each status is called, that which needs most attention first."""

_WHOLE = 100


def counted(number: int, noun: str) -> str:
    """The number, with its thousands apart, and its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def share(counts: Mapping[str, Any]) -> str:
    """The share of compliant instances."""
    if not counts["instances"]:
        return "\N{EN DASH}"
    return f"{counts['compliant_percent']:.1f}".removesuffix(".0") + "\N{NO-BREAK SPACE}%"


def bar(statuses: Mapping[str, int], what: str) -> Html:
    """One bar with a stretch for each status, compliant ones first, and the same in words for who cannot see it."""
    total, x = sum(statuses.values()), 0.0
    stretches, words = [], []
    for status in reversed(STATUSES):
        if number := statuses.get(status, 0):
            width = number * _WHOLE / total
            stretches.append(
                element("rect", class_=status, x=f"{x:.3f}", width=f"{width:.3f}", height="1"),
            )
            x += width
            words.append(f"{number:,} {STATUSES[status]}")
    return element(
        "svg",
        *stretches,
        class_="bar",
        viewBox="0 0 100 1",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{what}: {', '.join(words) or 'no instances'}",
    )


def status(name: str) -> Html:
    """A status with its mark."""
    return element("span", element("span", class_=f"mark {name}"), STATUSES[name], class_="status")


def moment(text: str) -> Html:
    """A day or a moment, for people and for programs."""
    return element("time", in_utc(text), datetime=text)


def in_utc(text: str) -> str:
    """A day as it is; a moment to the minute, in UTC."""
    if len(text) <= len("2027-06-30"):
        return text
    read = datetime.fromisoformat(text)
    return f"{(read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def days_until(text: str, now: str) -> str:
    """How many days away a day or a moment is, as people count them."""
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


def lines(*content: str | None) -> Html:
    """Texts and elements below each other: the first as it is, the others small; those that are empty are left out."""
    first, *others = [each for each in content if each] or ["\N{EN DASH}"]
    return joined(first, *(element("div", each, class_="soft small") for each in others))
