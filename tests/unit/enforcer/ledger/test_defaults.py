from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from imds_enforcer.ledger.defaults import DefaultsEntry, changed_since, completed, original
from imds_enforcer.model import HttpTokens, Outcome, Switch, Trigger
from imds_enforcer.model.region_defaults import RegionDefaults
from imds_enforcer.policy import PolicyVersions
from tests.fakes.clock import START
from tests.fakes.examples import HOME

UNSET = RegionDefaults()
OPTIONAL = RegionDefaults(http_tokens=HttpTokens.OPTIONAL)
KEPT = RegionDefaults(http_tokens=HttpTokens.REQUIRED, http_put_response_hop_limit=2)
TAGGED = replace(KEPT, instance_metadata_tags=Switch.ENABLED)
TOKENS, HOPS = "http_tokens", "http_put_response_hop_limit"


def an_entry(before: RegionDefaults, wanted: RegionDefaults, **fields: Any) -> DefaultsEntry:
    """A change that was made, unless `fields` say otherwise."""
    known: dict[str, Any] = {
        "region": HOME,
        "at": START,
        "run_id": "run-1",
        "trigger": Trigger.SCHEDULE,
        "versions": PolicyVersions(3, 7),
        "ends_at": START + timedelta(minutes=15),
        "outcome": Outcome.REMEDIATED,
        "after": wanted,
    }
    return DefaultsEntry(before=before, wanted=wanted, **(known | fields))


SET = an_entry(UNSET, KEPT)
BACK = an_entry(KEPT, UNSET)


@pytest.mark.parametrize(
    ("entries", "seen", "found"),
    [
        ([], KEPT, {}),
        ([SET], KEPT, {TOKENS: None, HOPS: None}),
        ([SET], replace(KEPT, http_put_response_hop_limit=3), {TOKENS: None}),
        ([SET], UNSET, {}),
        # Tokens that were required before are not the enforcer's to revert.
        ([an_entry(replace(UNSET, http_tokens=HttpTokens.REQUIRED), KEPT)], KEPT, {HOPS: None}),
        ([SET, BACK], KEPT, {}),
        ([SET, BACK, SET], KEPT, {TOKENS: None, HOPS: None}),
        # Two changes of the enforcer's own: the value before the first counts.
        (
            [SET, an_entry(KEPT, replace(KEPT, http_put_response_hop_limit=3))],
            replace(KEPT, http_put_response_hop_limit=3),
            {TOKENS: None, HOPS: None},
        ),
        # Someone else changed it in between: the value that they had set counts.
        (
            [SET, an_entry(replace(KEPT, http_tokens=HttpTokens.OPTIONAL), KEPT)],
            KEPT,
            {TOKENS: HttpTokens.OPTIONAL, HOPS: None},
        ),
        # Someone else's value came in between, and the enforcer left it; the value now is not the enforcer's.
        (
            [
                SET,
                an_entry(replace(KEPT, http_put_response_hop_limit=5), replace(UNSET, http_put_response_hop_limit=5)),
            ],
            KEPT,
            {},
        ),
        ([an_entry(UNSET, KEPT, outcome=None, after=None)], KEPT, {}),
        ([an_entry(UNSET, KEPT, outcome=Outcome.FAILED, after=None)], KEPT, {}),
        ([an_entry(UNSET, KEPT, outcome=Outcome.PENDING, after=None)], KEPT, {TOKENS: None, HOPS: None}),
        # Of an unconfirmed change only what the region shows counts.
        (
            [an_entry(UNSET, KEPT, outcome=Outcome.FAILED, after=replace(KEPT, http_put_response_hop_limit=None))],
            KEPT,
            {TOKENS: None},
        ),
        # A default that the change did not name is someone else's, even if it had changed by the read-back.
        ([an_entry(UNSET, KEPT, after=TAGGED)], TAGGED, {TOKENS: None, HOPS: None}),
        ([completed(an_entry(UNSET, KEPT, outcome=None, after=None), TAGGED)], TAGGED, {TOKENS: None, HOPS: None}),
    ],
)
def test_what_the_enforcer_set_and_no_one_changed_since(
    entries: list[DefaultsEntry], seen: RegionDefaults, found: dict[str, Any]
) -> None:
    """Each with the value that it had before."""
    assert original(entries, seen) == found


def test_what_someone_else_has_changed_since_is_named() -> None:
    """Unless it has the value from before the enforcer's change."""
    seen = replace(UNSET, http_put_response_hop_limit=5)
    assert changed_since([SET], seen) == ("HttpPutResponseHopLimit is 5",)
    assert changed_since([SET], KEPT) == changed_since([SET, BACK], seen) == ()
    assert original([SET], seen, overwrite=True) == {HOPS: None}


@pytest.mark.parametrize(
    ("seen", "outcome", "after"),
    [
        (KEPT, Outcome.REMEDIATED, KEPT),
        (TAGGED, Outcome.REMEDIATED, None),
        (UNSET, Outcome.DEFERRED, None),
        (OPTIONAL, Outcome.DEFERRED, None),
    ],
)
def test_the_region_shows_the_outcome_of_a_killed_process(
    seen: RegionDefaults, outcome: Outcome, after: RegionDefaults | None
) -> None:
    """The change was made if the region shows what it named."""
    entry = completed(an_entry(UNSET, KEPT, outcome=None, after=None, reason="why"), seen)
    assert (entry.outcome, entry.after) == (outcome, after or (seen if outcome is Outcome.REMEDIATED else None))
    assert entry.reason == "the process that was to make the change ended before it recorded the outcome; why"
