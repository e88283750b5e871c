from __future__ import annotations

from dataclasses import fields, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.decision.legacy_calls import Calls
from imds_enforcer.ledger.entry import KEPT, Entry
from imds_enforcer.ledger.holds import Contest, Hold
from imds_enforcer.ledger.refusals import RefusalNote, digest
from imds_enforcer.model import AwsError, MetadataOptions, OptionsState, Outcome, Refusal, Switch, Trigger
from imds_enforcer.policy import PolicyVersions
from tests.fakes.clock import START
from tests.fakes.entries import an_entry, an_intent
from tests.fakes.examples import AWAY, THROTTLED, V1_ALLOWED, V2_ONLY, a_failure, an_id
from tests.fakes.records import FakeTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from imds_enforcer.aws.ledger_table import LedgerTable
    from tests.fakes.clock import FakeClock

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def table() -> FakeTable:
    """The table in memory."""
    return FakeTable()


@pytest.fixture
def ledger_table(table: FakeTable, clock: FakeClock) -> LedgerTable:
    """The ledger table to test."""
    return table.ledger_table(clock)


# The ledger.

EVERYTHING = MetadataOptions(
    http_tokens=V2_ONLY.http_tokens,
    http_endpoint=Switch.ENABLED,
    http_put_response_hop_limit=64,
    http_protocol_ipv6=Switch.ENABLED,
    instance_metadata_tags=Switch.ENABLED,
    state=OptionsState.PENDING,
)
FULL = an_entry(
    region=AWAY,
    at=START + timedelta(microseconds=1),
    run_id="run-9",
    trigger=Trigger.REVERT,
    versions=PolicyVersions(12, 345),
    before=EVERYTHING,
    wanted=V1_ALLOWED,
    by="ana",
    outcome=Outcome.FAILED,
    reason="EC2 said no",
    after=EVERYTHING,
    code="InternalError",
)


@pytest.mark.parametrize(
    "entry",
    [
        an_intent(),
        an_intent(by="ana"),
        an_entry(),
        an_entry(after=None),
        an_entry(outcome=Outcome.GONE, after=None),
        FULL,
    ],
)
def test_an_entry_comes_back_as_it_was_written(ledger_table: LedgerTable, entry: Entry) -> None:
    """With all optional fields, and without them."""
    ledger_table.entries.write([entry])
    assert ledger_table.entries.of(entry.instance_id) == [entry]
    assert ledger_table.entries.of_run(entry.run_id) == [entry]
    assert list(ledger_table.entries.since(entry.at)) == [entry]


def test_the_full_entry_has_every_field_set() -> None:
    """So the test above covers every field."""
    plain = an_intent()
    same = [each.name for each in fields(Entry) if getattr(FULL, each.name) == getattr(plain, each.name)]
    assert same == ["ends_at", "instance_id"]


def test_an_entry_is_an_item_that_its_indexes_can_find(ledger_table: LedgerTable, table: FakeTable) -> None:
    """They find it by run, by month, and by the region while its outcome is open."""
    ledger_table.entries.write([an_intent()])
    (item,) = table.written
    assert (item["pk"], item["sk"]) == (an_id(), "2026-11-22T12:00:00.000000+00:00#run-1")
    assert (item["run_id"], item["month"], item["open"]) == ("run-1", "2026-11", "eu-west-1")
    assert item["expires_at"] == int((START + KEPT).timestamp())
    assert not {"by", "after", "outcome", "code"} & set(item)


@pytest.mark.parametrize("outcome", Outcome)
def test_only_entries_without_outcome_are_open(ledger_table: LedgerTable, table: FakeTable, outcome: Outcome) -> None:
    """A completed entry replaces its intent, and leaves that index."""
    intent, other = an_intent(), an_intent(2)
    ledger_table.entries.write([intent, other])
    assert ledger_table.entries.open_intents() == [intent, other]
    completed = replace(intent, outcome=outcome, reason="done")
    ledger_table.entries.write([completed])
    assert ledger_table.entries.open_intents() == [other]
    assert ledger_table.entries.of(an_id()) == [completed]
    assert [item["pk"] for item in table.items.values() if "open" in item] == [an_id(2)]


def test_the_entries_of_an_instance_come_oldest_first_and_from_a_moment_on(ledger_table: LedgerTable) -> None:
    """The order of writing does not matter. The moment itself is included."""
    entries = [an_entry(at=START + n * HOUR, run_id=f"run-{9 - n}") for n in range(4)]
    ledger_table.entries.write([*reversed(entries), an_entry(2)])
    assert ledger_table.entries.of(an_id()) == entries
    assert ledger_table.entries.of(an_id(), START + HOUR) == entries[1:]
    assert ledger_table.entries.of(an_id(), START + HOUR + timedelta(microseconds=1)) == entries[2:]
    assert ledger_table.entries.of(an_id(3)) == []


def test_a_moment_without_fractions_sorts_like_any_other(ledger_table: LedgerTable) -> None:
    """As text, 12:00:00 would otherwise come after 12:00:00.5."""
    entries = [an_entry(at=START + timedelta(seconds=n / 2), run_id=f"run-{n}") for n in range(4)]
    ledger_table.entries.write(reversed(entries))
    assert ledger_table.entries.of(an_id(), START) == entries


def test_the_entries_of_a_run_cover_all_instances(ledger_table: LedgerTable) -> None:
    """Oldest first."""
    entries = [an_entry(n, at=START + n * HOUR) for n in range(3)]
    ledger_table.entries.write([*reversed(entries), an_entry(run_id="run-2")])
    assert ledger_table.entries.of_run("run-1") == entries
    assert ledger_table.entries.of_run("run-3") == []


@pytest.mark.parametrize(("days", "requests"), [(2, 1), (30, 2), (400, 14)])
def test_the_entries_since_a_moment_are_read_by_month(
    ledger_table: LedgerTable, table: FakeTable, clock: FakeClock, days: int, requests: int
) -> None:
    """The months are that of the moment to the present one. Entries before the moment are left out."""
    entries = [an_entry(n, at=START - days * DAY + n * days * DAY / 4) for n in range(5)]
    ledger_table.entries.write(reversed(entries))
    table.requests.clear()
    assert list(ledger_table.entries.since(entries[0].at)) == entries
    assert table.requests == ["Query by-month"] * requests
    assert list(ledger_table.entries.since(entries[1].at)) == entries[1:]
    assert list(ledger_table.entries.since(entries[1].at + timedelta(microseconds=1))) == entries[2:]
    clock.advance(DAY.total_seconds())
    assert list(ledger_table.entries.since(START)) == [entries[4]]


# Holds and contests.

UNTIL = START + HOUR


@pytest.mark.parametrize("until", [None, UNTIL])
def test_a_hold_comes_back_as_it_was_set(ledger_table: LedgerTable, clock: FakeClock, until: datetime | None) -> None:
    """It has the time of its reading: holds are read after the instances were."""
    clock.advance(7)
    hold = Hold(instance_id=an_id(), reason="old SDK", by="ana", at=START, until=until)
    ledger_table.holds.write([hold])
    standing = ledger_table.holds.standing()
    assert (standing.holds, standing.contests) == ({an_id(): hold}, {})
    assert standing.read_at == clock.monotonic()


def test_a_reading_of_holds_is_as_old_as_its_request(
    ledger_table: LedgerTable, table: FakeTable, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lack holds that were set while the request was under way."""
    begin, read = clock.monotonic(), table.partition

    def slowly(pk: str, *, since: str = "") -> Any:
        clock.advance(5)
        return read(pk, since=since)

    monkeypatch.setattr(table, "partition", slowly)
    assert ledger_table.holds.standing().read_at == begin


def test_a_new_hold_replaces_the_old_one(ledger_table: LedgerTable) -> None:
    """Each instance has at most one."""
    hold = Hold(instance_id=an_id(), reason="old SDK", by="ana", at=START, until=UNTIL)
    longer = replace(hold, until=None, by="ben")
    ledger_table.holds.write([hold])
    ledger_table.holds.write([longer])
    assert ledger_table.holds.standing().holds == {an_id(): longer}


def test_a_hold_ends_when_it_is_released(ledger_table: LedgerTable) -> None:
    """Other holds stay, and a missing one is no error."""
    holds = [Hold(instance_id=an_id(n), reason="r", by="ana", at=START) for n in range(3)]
    ledger_table.holds.write(holds)
    ledger_table.holds.release([an_id(0), an_id(2), an_id(9)])
    assert ledger_table.holds.standing().holds == {an_id(1): holds[1]}


def test_a_contest_comes_back_as_it_was_set(ledger_table: LedgerTable, table: FakeTable) -> None:
    """Together with a hold of the same instance; DynamoDB deletes it some time after its end."""
    contest = Contest(instance_id=an_id(), principal="arn:aws:iam::1:role/x#y", until=UNTIL)
    hold = Hold(instance_id=an_id(), reason="r", by="ana", at=START)
    ledger_table.holds.write([hold])
    ledger_table.holds.contest(contest)
    standing = ledger_table.holds.standing()
    assert (standing.holds, standing.contests) == ({an_id(): hold}, {an_id(): contest})
    assert [item.get("expires_at") for item in table.written] == [None, int(UNTIL.timestamp())]


@pytest.mark.parametrize(("seconds", "stand"), [(3_599.999, True), (3_600, False), (1e6, False)])
def test_ended_holds_and_contests_are_left_out(
    ledger_table: LedgerTable, clock: FakeClock, seconds: float, *, stand: bool
) -> None:
    """It does not matter whether DynamoDB has deleted them yet: that may take days."""
    ledger_table.holds.write([Hold(instance_id=an_id(), reason="r", by="ana", at=START, until=UNTIL)])
    ledger_table.holds.contest(Contest(instance_id=an_id(), principal="x", until=UNTIL))
    clock.advance(seconds)
    standing = ledger_table.holds.standing()
    assert (bool(standing.holds), bool(standing.contests)) == (stand, stand)


# What CloudWatch and EC2 said, and what was mailed.

CALLS = {
    an_id(1): Calls(7, date(2026, 11, 20)),
    an_id(2): Calls(0, None),
    an_id(3): Calls(None, None),
}


def test_calls_come_back_as_they_were_noted(ledger_table: LedgerTable, table: FakeTable) -> None:
    """Missing data and zero calls stay different. DynamoDB deletes the note once it is outdated."""
    ledger_table.notes.write_calls("served/eu-west-1", CALLS, DAY)
    assert ledger_table.notes.calls("served/eu-west-1", START) == CALLS
    (item,) = table.written
    assert item["expires_at"] == int((START + DAY).timestamp())


def test_notes_of_another_topic_or_from_before_a_moment_are_not_read(
    ledger_table: LedgerTable, clock: FakeClock
) -> None:
    """A note from the moment itself is read."""
    ledger_table.notes.write_calls("a", {an_id(1): Calls(1)}, DAY)
    clock.advance(60)
    ledger_table.notes.write_calls("a", {an_id(2): Calls(2)}, DAY)
    ledger_table.notes.write_calls("b", {an_id(3): Calls(3)}, DAY)
    assert ledger_table.notes.calls("a", clock.now()) == {an_id(2): Calls(2)}
    assert ledger_table.notes.calls("a", START) == {an_id(1): Calls(1), an_id(2): Calls(2)}
    assert ledger_table.notes.calls("a", clock.now() + timedelta(microseconds=1)) == {}


def test_several_notes_of_one_moment_do_not_replace_each_other(ledger_table: LedgerTable) -> None:
    """They cover different instances."""
    for number in range(3):
        ledger_table.notes.write_calls("a", {an_id(number): Calls(number)}, DAY)
    assert ledger_table.notes.calls("a", START) == {an_id(number): Calls(number) for number in range(3)}


def test_the_newest_note_of_an_instance_counts(ledger_table: LedgerTable, clock: FakeClock) -> None:
    """Two processes may both have asked CloudWatch."""
    ledger_table.notes.write_calls("a", {an_id(2): Calls(1)}, DAY)
    clock.advance(1)
    ledger_table.notes.write_calls("a", {an_id(1): Calls(0), an_id(2): Calls(2)}, DAY)
    assert ledger_table.notes.calls("a", START)[an_id(2)] == Calls(2)


def test_a_note_about_500_instances_fits_an_item(ledger_table: LedgerTable, table: FakeTable) -> None:
    """An item of DynamoDB has up to 400 KB."""
    ledger_table.notes.write_calls("a", {an_id(n): Calls(10**9, date(2026, 11, 20)) for n in range(500)}, DAY)
    (item,) = table.written
    assert len(item["calls"]) < 40_000


REFUSED = RefusalNote(
    instance_id=an_id(),
    refused=(
        Refusal("InstanceMetadataTags", Switch.ENABLED, a_failure("InvalidParameterValue", "no such key"), noted=True),
        Refusal("HttpProtocolIpv6", Switch.DISABLED, a_failure("UnsupportedOperation", "no"), noted=True),
    ),
    tag_keys=digest(["Name", "Patch Group"]),
    until=UNTIL,
)


def test_a_refusal_comes_back_as_it_was_noted(ledger_table: LedgerTable, table: FakeTable) -> None:
    """It is found by region, and marked as noted. DynamoDB deletes the note once it is outdated."""
    now = replace(REFUSED, refused=tuple(replace(each, noted=False) for each in REFUSED.refused))
    ledger_table.notes.write_refusals("eu-west-1", [now])
    assert ledger_table.notes.refusals("eu-west-1") == {an_id(): REFUSED}
    assert ledger_table.notes.refusals("us-east-1") == {}
    (item,) = table.written
    assert item["expires_at"] == int(UNTIL.timestamp())


def test_the_latest_refusals_of_an_instance_count(ledger_table: LedgerTable) -> None:
    """They have everything that EC2 refused to it."""
    later = replace(REFUSED, tag_keys=digest([]), refused=REFUSED.refused[:1])
    ledger_table.notes.write_refusals("eu-west-1", [REFUSED])
    ledger_table.notes.write_refusals("eu-west-1", [later])
    assert ledger_table.notes.refusals("eu-west-1") == {an_id(): later}


@pytest.mark.parametrize("spoiled", [{"refused": "{"}, {"refused": "[[1]]"}, {"until": "soon"}, {"tag_keys": None}])
def test_a_malformed_refusal_is_ignored(
    ledger_table: LedgerTable, table: FakeTable, spoiled: dict[str, str | None]
) -> None:
    """EC2 is asked again."""
    ledger_table.notes.write_refusals("eu-west-1", [REFUSED])
    (key,) = table.items
    changed = table.items[key] | spoiled
    table.items[key] = {name: value for name, value in changed.items() if value is not None}
    assert ledger_table.notes.refusals("eu-west-1") == {}
    assert ledger_table.unreadable() == {key}


def test_mailed_changes_are_remembered_by_instance_and_run(ledger_table: LedgerTable, table: FakeTable) -> None:
    """A later change of the same instance is news again."""
    ledger_table.notes.write_mailed([an_entry(1), an_entry(2, run_id="run-2")], DAY)
    assert ledger_table.notes.mailed() == {(an_id(1), "run-1"), (an_id(2), "run-2")}
    assert {item["expires_at"] for item in table.written} == {int((START + DAY).timestamp())}


def test_no_item_is_taken_for_another_kind(ledger_table: LedgerTable) -> None:
    """One table has all kinds."""
    ledger_table.entries.write([an_intent()])
    ledger_table.holds.write([Hold(instance_id=an_id(), reason="r", by="ana", at=START)])
    ledger_table.holds.contest(Contest(instance_id=an_id(), principal="x", until=UNTIL))
    ledger_table.notes.write_calls("a", CALLS, DAY)
    ledger_table.notes.write_mailed([an_entry()], DAY)
    ledger_table.notes.write_refusals("a", [REFUSED])
    assert (
        len(ledger_table.entries.of(an_id()))
        == len(ledger_table.entries.open_intents())
        == len(ledger_table.entries.of_run("run-1"))
        == 1
    )
    assert (
        len(ledger_table.holds.standing().holds)
        == len(ledger_table.holds.standing().contests)
        == len(ledger_table.notes.mailed())
        == len(ledger_table.notes.refusals("a"))
        == 1
    )
    assert ledger_table.notes.calls("a", START) == CALLS


READS: dict[str, Callable[[LedgerTable], object]] = {
    "entries of": lambda ledger_table: ledger_table.entries.of(an_id()),
    "entries of run": lambda ledger_table: ledger_table.entries.of_run("run-1"),
    "entries since": lambda ledger_table: list(ledger_table.entries.since(START)),
    "open intents": lambda ledger_table: ledger_table.entries.open_intents(),
    "standing": lambda ledger_table: ledger_table.holds.standing(),
    "noted calls": lambda ledger_table: ledger_table.notes.calls("a", START),
    "noted refusals": lambda ledger_table: ledger_table.notes.refusals("a"),
    "mailed": lambda ledger_table: ledger_table.notes.mailed(),
}
WRITES: dict[str, Callable[[LedgerTable], object]] = {
    "write": lambda ledger_table: ledger_table.entries.write([an_entry()]),
    "hold": lambda ledger_table: ledger_table.holds.write([Hold(instance_id=an_id(), reason="r", by="ana", at=START)]),
    "release": lambda ledger_table: ledger_table.holds.release([an_id()]),
    "contest": lambda ledger_table: ledger_table.holds.contest(
        Contest(instance_id=an_id(), principal="x", until=UNTIL)
    ),
    "note calls": lambda ledger_table: ledger_table.notes.write_calls("a", CALLS, DAY),
    "note refusals": lambda ledger_table: ledger_table.notes.write_refusals("a", [REFUSED]),
    "note mailed": lambda ledger_table: ledger_table.notes.write_mailed([an_entry()], DAY),
}


@pytest.mark.parametrize("call", READS | WRITES)
def test_a_table_out_of_reach_is_an_error_for_every_request(
    ledger_table: LedgerTable, table: FakeTable, call: str
) -> None:
    """It is never an empty answer."""
    table.read_failure = table.write_failure = THROTTLED
    with pytest.raises(AwsError) as raised:
        (READS | WRITES)[call](ledger_table)
    assert raised.value.failure is THROTTLED
