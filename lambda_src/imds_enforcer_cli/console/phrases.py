"""Entries, plans, results and holds as rows of a table and as JSON."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from imds_enforcer.ledger.entry import Entry
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import MetadataOptions, Result, Trigger
from imds_enforcer.runs.revert import Reverting
from imds_enforcer_cli.console.output import Cell

ENTRY_HEADINGS = ("AT (UTC)", "INSTANCE", "OUTCOME", "CHANGE AND REASON")
PLAN_HEADINGS = ("INSTANCE", "UNDOES", "SET BACK", "LEFT AS IT IS")
RESULT_HEADINGS = ("INSTANCE", "OUTCOME", "REASON")
HOLD_HEADINGS = ("INSTANCE", "HOLD")

_SETTINGS = ("HttpTokens", "HttpEndpoint", "HttpPutResponseHopLimit", "HttpProtocolIpv6", "InstanceMetadataTags")

_STATE = "State"
"""Whether the options are applied yet, which is none of them."""


def options_columns(of: str) -> list[str]:
    """The columns of some options, as those `before`."""
    return [f"{of}.{name}" for name in (*_SETTINGS, _STATE)]


ENTRY_COLUMNS = (
    *("instance_id", "region", "at", "run_id", "trigger", "by"),
    *("policy_versions.http_tokens", "policy_versions.policy", "outcome", "reason", "code"),
    *(column for of in ("before", "wanted", "after") for column in options_columns(of)),
)
REVERT_COLUMNS = (
    *("instance_id", "region", "undoes"),
    *(f"set_back.{name}.{when}" for name in _SETTINGS for when in ("now", "before")),
    *("left", "problem", "outcome", "reason"),
    *options_columns("after"),
)
HOLD_COLUMNS = ("instance_id", "until", "reason", "by", "at")
RELEASE_COLUMNS = ("instance_id", *(f"released.{column}" for column in HOLD_COLUMNS))


def count(number: int, noun: str) -> str:
    """The number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def held(until: datetime | None) -> str:
    """How long a hold lasts."""
    return f"until {until:%Y-%m-%d %H:%M} UTC" if until else "until released"


def changes(now: MetadataOptions, then: MetadataOptions) -> dict[str, tuple[str | int, str | int]]:
    """The options that differ, under EC2's own names, each with its value now and then."""
    old, new = now.as_log(), then.as_log()
    return {name: (old[name], new[name]) for name in old if name != _STATE and old[name] != new[name]}


def arrows(differing: dict[str, tuple[str | int, str | int]]) -> list[str]:
    """Options that differ, as a person reads them."""
    return [f"{name}: {old} → {new}" for name, (old, new) in differing.items()]


def entry_row(entry: Entry, now: datetime) -> Sequence[Cell]:
    """One entry of the ledger: what it changed, or is to change as far as is known."""
    outcome = str(entry.outcome) if entry.outcome else "under way" if now < entry.ends_at else "interrupted"
    reached = entry.wanted if entry.outcome is None else entry.result or entry.before
    return (
        (f"{entry.at:%Y-%m-%d %H:%M:%S}",),
        (entry.instance_id, entry.region),
        (outcome, entry.trigger),
        (
            *(arrows(changes(entry.before, reached)) or ["no change"]),
            entry.reason,
            f"by {entry.by}" if entry.by else "",
            f"run {entry.run_id}",
        ),
    )


def plan_row(plan: Reverting) -> Sequence[Cell]:
    """What a revert would do about one instance."""
    undone = [
        phrase
        for entry in _undone(plan)
        for phrase in (f"{entry.trigger} of {entry.at:%Y-%m-%d %H:%M}", f"run {entry.run_id}")
    ]
    set_back = arrows(_set_back(plan)) or ("nothing",)
    left = [plan.problem] if plan.problem else [*plan.way.theirs] if plan.way else []
    return (plan.instance_id, plan.region), undone or ("nothing",), set_back, left


def result_row(result: Result) -> Sequence[Cell]:
    """What became of one instance."""
    return (result.instance_id, result.region), (str(result.outcome),), (result.reason,)


def revert_json(plans: Iterable[Reverting], results: dict[str, Result]) -> list[dict[str, Any]]:
    """Each instance of a revert: what was planned, and what became of it where it was carried out."""
    return [_reverting_json(plan, results.get(plan.instance_id)) for plan in plans]


def _reverting_json(plan: Reverting, result: Result | None) -> dict[str, Any]:
    return {
        "instance_id": plan.instance_id,
        "region": plan.region or None,
        "undoes": [{"run_id": entry.run_id, "at": entry.at.isoformat(timespec="seconds")} for entry in _undone(plan)],
        "set_back": {name: {"now": now, "before": before} for name, (now, before) in _set_back(plan).items()},
        "left": [*plan.way.theirs] if plan.way else [],
        "problem": plan.problem,
        "outcome": str(result.outcome) if result else None,
        "reason": result.reason if result else None,
        "after": result.after.as_log() if result and result.after else None,
    }


def hold_json(hold: Hold) -> dict[str, Any]:
    """One hold."""
    return {
        "instance_id": hold.instance_id,
        "until": hold.until.isoformat(timespec="seconds") if hold.until else None,
        "reason": hold.reason,
        "by": hold.by,
        "at": hold.at.isoformat(timespec="seconds"),
    }


def _undone(plan: Reverting) -> list[Entry]:
    """The enforcer's own changes; reverts that took back a part of them go without saying."""
    return [entry for entry in plan.undone if entry.trigger != Trigger.REVERT]


def _set_back(plan: Reverting) -> dict[str, tuple[str | int, str | int]]:
    if plan.way is None or plan.instance is None or plan.instance.options is None:
        return {}
    return changes(plan.instance.options, plan.way.wanted)
