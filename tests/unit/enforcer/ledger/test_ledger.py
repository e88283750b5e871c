from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.ledger.holds import CONTEST_WINDOW, CONTESTED_FIXES, Contest, Hold, is_contested
from imds_enforcer.model import MetadataOptions, OptionsState, Outcome, Switch, Trigger
from tests.fakes.clock import START
from tests.fakes.entries import an_entry, an_intent
from tests.fakes.examples import HOME, V1_ALLOWED, V2_ONLY, an_id

if TYPE_CHECKING:
    from imds_enforcer.ledger.entry import Entry

V2_COMING = replace(V2_ONLY, state=OptionsState.PENDING)
OTHER = replace(V2_ONLY, http_put_response_hop_limit=3)


@pytest.mark.parametrize(
    ("outcome", "after", "result"),
    [
        (None, None, None),
        (Outcome.REMEDIATED, V2_ONLY, V2_ONLY),
        (Outcome.PENDING, V2_COMING, V2_COMING),
        # A change that was accepted and never read back counts as made.
        (Outcome.REMEDIATED, None, V2_ONLY),
        (Outcome.PENDING, None, V2_ONLY),
        (Outcome.FAILED, None, None),
        (Outcome.FAILED, V1_ALLOWED, None),
        (Outcome.FAILED, replace(V1_ALLOWED, state=OptionsState.PENDING), None),
        # Someone else set another option at the same time.
        (Outcome.FAILED, OTHER, V2_ONLY),
        (Outcome.FAILED, replace(V1_ALLOWED, http_put_response_hop_limit=3), None),
        (Outcome.DEFERRED, OTHER, V2_ONLY),
        (Outcome.DEFERRED, None, None),
        (Outcome.DEFERRED, V1_ALLOWED, None),
        (Outcome.GONE, None, None),
        (Outcome.SKIPPED, V1_ALLOWED, None),
        # Changed, and then someone switched the metadata service off.
        (Outcome.SKIPPED, replace(V2_ONLY, http_endpoint=Switch.DISABLED), V2_ONLY),
        (Outcome.HELD, V1_ALLOWED, None),
    ],
)
def test_the_result_of_a_change_is_what_it_brought_about(
    outcome: Outcome | None, after: MetadataOptions | None, result: MetadataOptions | None
) -> None:
    """Nothing if that is unknown, or if the instance shows the same options as before."""
    assert an_entry(outcome=outcome, after=after).result == result


@pytest.mark.parametrize("shown", [V2_ONLY, OTHER, V1_ALLOWED])
@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.COMPLIANT,
        Outcome.EXEMPT,
        Outcome.WOULD_REMEDIATE,
        Outcome.GONE,
        Outcome.HELD,
        Outcome.CONTESTED,
    ],
)
def test_an_instance_that_was_not_changed_after_all_shows_someone_elses_doing(
    outcome: Outcome, shown: MetadataOptions
) -> None:
    """Intents are written ahead: someone else may have changed the instance before its turn."""
    assert an_entry(outcome=outcome, after=shown).result is None


def test_an_entry_as_json_has_everything_about_a_change() -> None:
    """`history` prints it."""
    document = an_entry(by="ana", reason="because", code="InternalError").as_json()
    assert json.loads(json.dumps(document)) == {
        "instance_id": an_id(),
        "region": HOME,
        "at": "2026-11-22T12:00:00+00:00",
        "run_id": "run-1",
        "trigger": "schedule",
        "by": "ana",
        "policy_versions": {"http_tokens": 3, "policy": 7},
        "outcome": "REMEDIATED",
        "reason": "because",
        "code": "InternalError",
        "before": V1_ALLOWED.as_log(),
        "wanted": V2_ONLY.as_log(),
        "after": V2_ONLY.as_log(),
    }


def test_an_open_intent_as_json_has_no_outcome_yet() -> None:
    """Rather than an invented one."""
    document = an_intent().as_json()
    assert [document[name] for name in ("outcome", "after", "code", "by")] == [None] * 4


UNTIL = START + timedelta(hours=1)


@pytest.mark.parametrize(
    ("now", "in_force"),
    [(START, True), (UNTIL - timedelta(microseconds=1), True), (UNTIL, False), (UNTIL + timedelta(days=1), False)],
)
def test_a_hold_and_a_contest_end_with_their_last_moment(now: datetime, *, in_force: bool) -> None:
    """Not a moment later: someone may be waiting for it."""
    hold = Hold(instance_id=an_id(), reason="r", by="ana", at=START, until=UNTIL)
    assert hold.in_force(now) is in_force
    assert Contest(instance_id=an_id(), principal="role/x", until=UNTIL).in_force(now) is in_force


def test_a_hold_without_an_end_lasts_until_it_is_released() -> None:
    """However long that takes."""
    hold = Hold(instance_id=an_id(), reason="old SDK", by="ana", at=START)
    assert hold.in_force(datetime.max.replace(tzinfo=UTC))
    assert str(hold) == "held until it is released by ana: old SDK"
    assert str(replace(hold, until=UNTIL)) == "held until 2026-11-22T13:00+00:00 by ana: old SDK"


def test_a_contest_names_who_changed_the_options_back() -> None:
    """The person on call knows whom to talk to."""
    contest = Contest(instance_id=an_id(), principal="arn:aws:iam::1:role/x", until=UNTIL)
    assert str(contest) == "repeatedly changed back by someone else, last by arn:aws:iam::1:role/x"


def _fixes(count: int, **fields: Any) -> list[Entry]:
    """Drift that was fixed every ten minutes, the last time just now."""
    known: dict[str, Any] = {"trigger": Trigger.DRIFT} | fields
    return [an_entry(at=START - timedelta(minutes=10 * ago), **known) for ago in reversed(range(count))]


@pytest.mark.parametrize(("count", "contested"), [(0, False), (2, False), (3, True), (4, True)])
def test_the_third_fix_of_drift_within_an_hour_makes_an_instance_contested(count: int, *, contested: bool) -> None:
    """Once is a slip, twice may be one; after that a tool is at work."""
    assert CONTESTED_FIXES == 3
    assert is_contested(_fixes(count), START) is contested


@pytest.mark.parametrize(
    ("later", "contested"),
    [
        (timedelta(minutes=40) - timedelta(microseconds=1), True),
        (timedelta(minutes=40), False),
        (timedelta(days=1), False),
    ],
)
def test_a_fix_that_is_an_hour_old_does_not_count(later: timedelta, *, contested: bool) -> None:
    """The first of these three was twenty minutes ago."""
    assert timedelta(hours=1) == CONTEST_WINDOW
    assert is_contested(_fixes(3), START + later) is contested


@pytest.mark.parametrize("trigger", [trigger for trigger in Trigger if trigger is not Trigger.DRIFT])
def test_only_drift_makes_an_instance_contested(trigger: Trigger) -> None:
    """Changes by sweeps or by a person are no sign of a contest."""
    fixes = _fixes(3)
    assert not is_contested([*fixes[:2], replace(fixes[2], trigger=trigger)], START)


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": Outcome.FAILED, "after": V1_ALLOWED},
        {"outcome": Outcome.DEFERRED, "after": None},
        {"outcome": Outcome.GONE, "after": None},
        {"outcome": None, "after": None},
    ],
)
def test_a_fix_that_changed_nothing_does_not_count(fields: dict[str, Any]) -> None:
    """Three refusals by EC2 are no contest either."""
    assert not is_contested([*_fixes(2), *_fixes(3, **fields)], START)
