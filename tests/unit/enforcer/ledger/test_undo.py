from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imds_enforcer.ledger.undo import NothingToUndoError, OpenChangeError, Undo, to_undo, undo
from imds_enforcer.model import Change, HttpTokens, MetadataOptions, OptionsState, Outcome, Switch, Trigger
from tests.fakes.entries import a_change, an_entry, an_intent
from tests.fakes.examples import IMDS_OFF, V1_ALLOWED, V2_ONLY

if TYPE_CHECKING:
    from imds_enforcer.ledger.entry import Entry

REQUIRED, OPTIONAL = HttpTokens.REQUIRED, HttpTokens.OPTIONAL
FIELDS = ("http_tokens", "http_put_response_hop_limit", "http_protocol_ipv6", "instance_metadata_tags")

TOKENS = a_change(V1_ALLOWED, http_tokens=REQUIRED, run_id="A")
HOPS = a_change(V2_ONLY, http_put_response_hop_limit=2, run_id="B")
REVERTED: dict[str, Any] = {"trigger": Trigger.REVERT, "run_id": "revert"}


def _hops(options: MetadataOptions, hops: int) -> MetadataOptions:
    return replace(options, http_put_response_hop_limit=hops)


# Which changes to undo.


def test_without_a_run_the_last_change_is_undone() -> None:
    """An operator who names only the instance means its last change."""
    assert to_undo([TOKENS, HOPS]) == [HOPS]


def test_of_a_run_its_first_change_is_undone_and_all_that_followed() -> None:
    """The instance returns to its options from before that run."""
    again = a_change(_hops(V2_ONLY, 2), http_put_response_hop_limit=3, run_id="A")
    assert to_undo([TOKENS, HOPS, again], "A") == [TOKENS, HOPS, again]
    assert to_undo([TOKENS, HOPS, again], "B") == [HOPS, again]


@pytest.mark.parametrize(
    ("run_id", "message"),
    [
        (None, "the ledger has no change left to undo"),
        ("C", "the ledger has no change by the run C left to undo"),
    ],
)
def test_without_a_change_nothing_can_be_undone(run_id: str | None, message: str) -> None:
    """The message says so."""
    entries = [] if run_id is None else [TOKENS]
    with pytest.raises(NothingToUndoError) as refused:
        to_undo(entries, run_id)
    assert str(refused.value) == message


@pytest.mark.parametrize("run_id", [None, "A"])
def test_nothing_is_undone_while_a_change_is_under_way(run_id: str | None) -> None:
    """The outcome of the change is not known yet, so it is not known what to undo."""
    with pytest.raises(OpenChangeError, match=r"^a change is under way or was interrupted: the next sweep records"):
        to_undo([TOKENS, an_intent()], run_id)


FAILED: dict[str, Any] = {"outcome": Outcome.FAILED, "after": None}


def test_an_entry_that_changed_nothing_is_passed_over() -> None:
    """The last change is the one before it."""
    failed = a_change(V2_ONLY, http_put_response_hop_limit=2, run_id="B", **FAILED)
    assert to_undo([TOKENS, failed]) == [TOKENS]
    with pytest.raises(NothingToUndoError, match="by the run B left to undo"):
        to_undo([TOKENS, failed], "B")


def test_an_undone_change_is_not_undone_again() -> None:
    """The instance already has its earlier options."""
    entries = [TOKENS, a_change(V2_ONLY, http_tokens=OPTIONAL, **REVERTED)]
    for run_id in (None, "A", "revert"):
        with pytest.raises(NothingToUndoError):
            to_undo(entries, run_id)


def test_a_change_after_a_revert_can_be_undone_alone() -> None:
    """The changes before the revert are undone already."""
    reverted = a_change(V2_ONLY, http_tokens=OPTIONAL, **REVERTED)
    again = a_change(V1_ALLOWED, http_tokens=REQUIRED, run_id="C")
    assert to_undo([TOKENS, reverted, again]) == [again]
    assert to_undo([TOKENS, reverted, again], "C") == [again]
    with pytest.raises(NothingToUndoError):
        to_undo([TOKENS, reverted, again], "A")


def test_a_revert_that_failed_has_undone_nothing() -> None:
    """So the operator can try again."""
    failed = a_change(V2_ONLY, http_tokens=OPTIONAL, **REVERTED, **FAILED)
    assert to_undo([TOKENS, failed]) == [TOKENS]
    assert to_undo([TOKENS, failed], "A") == [TOKENS]


def test_a_partial_revert_leaves_the_rest_to_be_undone() -> None:
    """The read-back showed one of the two options reverted, and the other unchanged."""
    both = a_change(V1_ALLOWED, http_tokens=REQUIRED, http_put_response_hop_limit=2)
    in_part = an_entry(before=both.wanted, wanted=V1_ALLOWED, outcome=Outcome.FAILED, after=V2_ONLY, **REVERTED)
    undone = to_undo([both, in_part])
    assert undo(undone, V2_ONLY) == Undo(V1_ALLOWED, Change(http_tokens=OPTIONAL))


def test_changes_can_be_undone_one_after_the_other() -> None:
    """Once the last one is undone, the one before it can be."""
    first = a_change(_hops(V2_ONLY, 2), http_put_response_hop_limit=1, **REVERTED)
    for run_id in (None, "A"):
        undone = to_undo([TOKENS, HOPS, first], run_id)
        assert undo(undone, V2_ONLY) == Undo(V1_ALLOWED, Change(http_tokens=OPTIONAL))
        # What the first revert set is distinct from what someone else has set since.
        assert undo(undone, _hops(V2_ONLY, 2)).theirs == ("HttpPutResponseHopLimit is 2, not 1",)
    second = a_change(V2_ONLY, http_tokens=OPTIONAL, **REVERTED)
    with pytest.raises(NothingToUndoError):
        to_undo([TOKENS, HOPS, first, second])


def test_after_a_revert_that_left_an_option_the_rest_can_still_be_undone() -> None:
    """An operator may want to overwrite that option; the revert then counts as one more change."""
    both = a_change(V1_ALLOWED, http_tokens=REQUIRED, http_put_response_hop_limit=2)
    reverted = a_change(_hops(V2_ONLY, 5), http_tokens=OPTIONAL, **REVERTED)
    assert to_undo([both, reverted]) == [both, reverted]


# Back to exactly which options.


@pytest.mark.parametrize(
    ("field", "value", "change"),
    [
        ("http_tokens", REQUIRED, Change(http_tokens=OPTIONAL)),
        ("http_put_response_hop_limit", 2, Change(http_tokens=OPTIONAL, http_put_response_hop_limit=1)),
        ("http_protocol_ipv6", Switch.ENABLED, Change(http_tokens=OPTIONAL, http_protocol_ipv6=Switch.DISABLED)),
        (
            "instance_metadata_tags",
            Switch.ENABLED,
            Change(http_tokens=OPTIONAL, instance_metadata_tags=Switch.DISABLED),
        ),
    ],
)
def test_each_option_goes_back_to_what_it_was(field: str, value: object, change: Change) -> None:
    """The change also names the tokens, which EC2 would otherwise choose itself, and no other option."""
    entry = a_change(V1_ALLOWED, **{field: value})
    assert undo([entry], entry.wanted) == Undo(V1_ALLOWED, change)


def test_several_options_go_back_together() -> None:
    """A single change has all of them; EC2 makes it completely or not at all."""
    before = replace(V1_ALLOWED, http_put_response_hop_limit=3, http_protocol_ipv6=Switch.ENABLED)
    entry = a_change(before, http_tokens=REQUIRED, http_put_response_hop_limit=2, http_protocol_ipv6=Switch.DISABLED)
    way = undo([entry], entry.wanted)
    assert way.wanted == before
    assert way.change is not None
    assert way.change.applied_to(entry.wanted) == before


def test_several_changes_are_undone_to_before_the_first() -> None:
    """One change undoes all of them."""
    assert undo([TOKENS, HOPS], _hops(V2_ONLY, 2)).wanted == V1_ALLOWED


@pytest.mark.parametrize("state", OptionsState)
def test_an_instance_that_is_as_it_was_needs_no_change(state: OptionsState) -> None:
    """Someone else has restored it already."""
    now = replace(V1_ALLOWED, state=state)
    assert undo([TOKENS], now) == Undo(now, None)


THEIRS = [
    ({"http_put_response_hop_limit": 5}, "HttpPutResponseHopLimit is 5, not 1"),
    ({"http_protocol_ipv6": Switch.ENABLED}, "HttpProtocolIpv6 is enabled, not disabled"),
    ({"instance_metadata_tags": Switch.ENABLED}, "InstanceMetadataTags is enabled, not disabled"),
]


@pytest.mark.parametrize(("set_since", "named"), THEIRS)
def test_what_someone_else_has_set_since_stays_and_is_named(set_since: dict[str, Any], named: str) -> None:
    """The enforcer reverts only its own changes."""
    now = replace(V2_ONLY, **set_since)
    way = undo([TOKENS], now)
    assert way == Undo(replace(now, http_tokens=OPTIONAL), Change(http_tokens=OPTIONAL), (named,))


@pytest.mark.parametrize(("set_since", "named"), THEIRS)
def test_what_someone_else_has_set_since_is_overwritten_on_demand(set_since: dict[str, Any], named: str) -> None:
    """Every option of the instance is then as it was."""
    assert named
    way = undo([TOKENS], replace(V2_ONLY, **set_since), overwrite=True)
    assert (way.wanted, way.theirs) == (V1_ALLOWED, ())


def test_an_option_that_was_changed_and_then_set_by_someone_else_is_theirs() -> None:
    """It does not matter what the option was before the enforcer's change."""
    entry = a_change(V1_ALLOWED, http_put_response_hop_limit=2)
    assert undo([entry], _hops(V1_ALLOWED, 5)) == Undo(
        _hops(V1_ALLOWED, 5), None, ("HttpPutResponseHopLimit is 5, not 1",)
    )


def test_tokens_that_someone_else_has_required_are_theirs() -> None:
    """They were optional again when the enforcer changed the hop limit."""
    later = a_change(V1_ALLOWED, http_put_response_hop_limit=2)
    way = undo([TOKENS, later], _hops(V2_ONLY, 2))
    assert way == Undo(
        V2_ONLY, Change(http_tokens=REQUIRED, http_put_response_hop_limit=1), ("HttpTokens is required, not optional",)
    )


def test_an_option_that_the_enforcer_overwrote_is_the_enforcers() -> None:
    """Someone else had set it in between. It goes back to before the first of the enforcer's changes."""
    again = a_change(_hops(V2_ONLY, 7), http_put_response_hop_limit=2, run_id="A")
    assert undo([TOKENS, HOPS, again], _hops(V2_ONLY, 2)) == Undo(
        V1_ALLOWED, Change(http_tokens=OPTIONAL, http_put_response_hop_limit=1)
    )


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_metadata_service_that_is_off_stays_off(*, overwrite: bool) -> None:
    """Any change would switch it on, so even `overwrite` leaves it alone."""
    now = replace(IMDS_OFF, http_tokens=REQUIRED)
    assert undo([TOKENS], now, overwrite=overwrite) == Undo(now, None, ("HttpEndpoint is disabled",))


# Any history.


def _options(hop_limits: list[int]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "http_tokens": st.sampled_from(HttpTokens),
            "http_put_response_hop_limit": st.sampled_from(hop_limits),
            "http_protocol_ipv6": st.sampled_from(Switch),
            "instance_metadata_tags": st.sampled_from(Switch),
        },
    )


OURS, THEIRS_TOO = _options([1, 2, 3]), _options([11, 12])
STARTS = OURS.map(lambda options: replace(V1_ALLOWED, **options))


DEEDS = st.tuples(st.just("ours"), OURS) | st.tuples(st.just("theirs"), THEIRS_TOO)


@given(STARTS, st.lists(DEEDS, min_size=1, max_size=7))
def test_undoing_touches_no_option_that_others_have_set_since(
    start: MetadataOptions, history: list[tuple[str, dict[str, Any]]]
) -> None:
    """Each side sets hop limits that the other never sets, so a hop limit shows who set it.

    An option with two values does not: someone else may have set it to the value that it already had.
    """
    entries: list[Entry] = []
    now, hops_are_ours = start, False
    for whose, options in history:
        ours = whose == "ours"
        changed = replace(now, **options)
        if changed.http_put_response_hop_limit != now.http_put_response_hop_limit:
            hops_are_ours = ours
        if ours and changed != now:
            entries.append(an_entry(before=now, wanted=changed))
        now = changed
    if not entries:
        return
    original, way = entries[0].before, undo(entries, now)
    for name in FIELDS:
        back, shown, before = (getattr(options, name) for options in (way.wanted, now, original))
        assert back in {shown, before}
        if back != shown:
            assert any(shown == getattr(entry.wanted, name) != getattr(entry.before, name) for entry in entries)
    back, shown, before = (options.http_put_response_hop_limit for options in (way.wanted, now, original))
    assert back == (before if hops_are_ours else shown)
    assert len(way.theirs) == sum(getattr(way.wanted, name) != getattr(original, name) for name in FIELDS)
    assert way.wanted == (way.change.applied_to(now) if way.change else now)
    assert undo(entries, now, overwrite=True).wanted == original


@given(STARTS, st.lists(OURS, min_size=1, max_size=6), st.data())
def test_if_no_one_else_changed_anything_every_option_is_restored_exactly(
    start: MetadataOptions, changes: list[dict[str, Any]], data: st.DataObject
) -> None:
    """The test undoes a random run and all since, then an earlier one, until nothing is left."""
    standing: list[Entry] = []
    now = start
    for number, options in enumerate(changes):
        changed = replace(now, **options)
        if changed != now:
            standing.append(an_entry(before=now, wanted=changed, run_id=f"run-{number}"))
        now = changed
    history = list(standing)
    while standing:
        chosen = data.draw(st.sampled_from(standing))
        assert to_undo(history)[0] == standing[-1]
        undone = to_undo(history, chosen.run_id)
        assert undone[0] == chosen
        way = undo(undone, now)
        assert (way.wanted, way.theirs) == (chosen.before, ())
        if way.change is None:
            return  # together these runs changed nothing
        history.append(an_entry(before=now, wanted=way.wanted, **REVERTED))
        now = way.wanted
        # The instance is as it was before one of its changes: that change and all later ones are undone.
        standing = standing[: [entry.before for entry in standing].index(now)]
    with pytest.raises(NothingToUndoError):
        to_undo(history)
