"""Ledger entries and refused launchers that tests start from."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from imds_enforcer.ledger.entry import Entry
from imds_enforcer.ledger.refused_launches import Cause, Launcher
from imds_enforcer.model import Outcome, Source, Trigger
from imds_enforcer.policy import PolicyVersions
from tests.fakes.clock import START
from tests.fakes.examples import HOME, V1_ALLOWED, V2_ONLY, an_id

if TYPE_CHECKING:
    from imds_enforcer.model import MetadataOptions


def an_intent(number: int = 1, **fields: Any) -> Entry:
    """The intent to change an instance; by default a sweep requires tokens."""
    known: dict[str, Any] = {
        "instance_id": an_id(number),
        "region": HOME,
        "at": START,
        "run_id": "run-1",
        "trigger": Trigger.SCHEDULE,
        "versions": PolicyVersions(3, 7),
        "before": V1_ALLOWED,
        "wanted": V2_ONLY,
        "ends_at": START + timedelta(minutes=15),
        "reason": "HttpTokens is optional, not required",
    }
    return Entry(**(known | fields))


def an_entry(number: int = 1, **fields: Any) -> Entry:
    """A change that was made; by default with the wanted options."""
    intent = an_intent(number, **fields)
    made: dict[str, Any] = {"outcome": Outcome.REMEDIATED, "after": intent.wanted}
    return replace(intent, **{name: value for name, value in made.items() if name not in fields})


def a_change(before: MetadataOptions, **fields: Any) -> Entry:
    """A change of some options: fields named like an option change it, all others are fields of the entry."""
    options = {name: value for name, value in fields.items() if hasattr(before, name)}
    rest = {name: value for name, value in fields.items() if name not in options}
    return an_entry(before=before, wanted=replace(before, **options), **rest)


def a_launcher(source: Source | None = None, **fields: Any) -> Launcher:
    """A refused launcher: by default Alice, with an image, where tokens are enforced."""
    known: dict[str, Any] = {
        "region": HOME,
        "principal": "alice",
        "invoked_by": None,
        "source": source or Source(image_id="ami-1"),
        "asked_optional": False,
        "cause": Cause.TOKENS_ENFORCED,
    }
    return Launcher(**(known | fields))
