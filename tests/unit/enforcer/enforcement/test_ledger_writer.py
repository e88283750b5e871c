"""The ledger gets an intent before a change, and its outcome afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.enforcement.ledger_writer import LedgerWriter, Origin
from imds_enforcer.limits.cancellation import RegionCancellation
from imds_enforcer.limits.region_limits import RegionLimits
from imds_enforcer.model import AcceptedChange, Change, HttpTokens, Outcome, PlannedChange, Switch
from imds_enforcer.model.result import failed, result_of
from imds_enforcer.policy import PolicyVersions
from tests.fakes.clients import a_cancellation
from tests.fakes.examples import HOME, SERVER_FAULT, THROTTLED, V1_ALLOWED, V2_ONLY, an_id, an_instance

if TYPE_CHECKING:
    from imds_enforcer.model import Instance, MetadataOptions, Result
    from tests.fakes.clients import FakeClients


@pytest.fixture
def cancellation(clients: FakeClients) -> RegionCancellation:
    """The region's cancellation."""
    return RegionCancellation(a_cancellation(clients.clock), RegionLimits.none(HOME))


@pytest.fixture
def writer(clients: FakeClients, cancellation: RegionCancellation) -> LedgerWriter:
    """A writer that has written the intents of instances 0 and 1."""
    origin = Origin(
        run_id="run-1",
        versions=PolicyVersions(3, 7),
        ends_at=clients.clock.now() + timedelta(seconds=900),
        trigger_of=lambda _: "launch",
    )
    writer = LedgerWriter(clients.ledger_table.entries, clients.clock, cancellation, origin)
    assert writer.intend([_plan(an_instance(number)) for number in range(2)])
    clients.table.requests.clear()
    return writer


def _plan(instance: Instance, wanted: MetadataOptions = V2_ONLY) -> PlannedChange:
    return PlannedChange(instance, Change(http_tokens=HttpTokens.REQUIRED), wanted, "why")


def _remediated(number: int) -> Result:
    return result_of(an_instance(number), Outcome.REMEDIATED, "why", after=V2_ONLY)


def _outcomes(clients: FakeClients, *numbers: int) -> list[Outcome | None]:
    """The outcome of each instance's only entry."""
    entries = [clients.ledger_table.entries.of(an_id(number)) for number in numbers]
    return [entry.outcome for (entry,) in entries]


def test_an_outcome_replaces_its_intent(clients: FakeClients, writer: LedgerWriter) -> None:
    """This happens at once: every reported outcome is in the ledger."""
    assert _outcomes(clients, 0, 1) == [None, None]
    writer.complete(map(_remediated, range(2)))
    assert _outcomes(clients, 0, 1) == [Outcome.REMEDIATED] * 2
    assert clients.table.writes == 1


def test_an_intent_is_written_once(clients: FakeClients, writer: LedgerWriter) -> None:
    """It does not matter how often the change is sent."""
    assert writer.intend([_plan(an_instance(1))])
    assert clients.table.writes == 0


@pytest.mark.parametrize(
    "plan",
    [
        _plan(an_instance(1, replace(V1_ALLOWED, http_put_response_hop_limit=3))),
        _plan(an_instance(1), replace(V2_ONLY, http_put_response_hop_limit=5)),
    ],
)
def test_an_intent_is_written_again_if_a_later_look_changes_the_plan(
    clients: FakeClients, writer: LedgerWriter, plan: PlannedChange
) -> None:
    """Present or wanted options may have changed: a revert needs both as they were at the change."""
    assert writer.intend([plan])
    (entry,) = clients.ledger_table.entries.of(an_id(1))
    assert (entry.before, entry.wanted) == (plan.instance.options, plan.wanted)


def test_without_an_intent_no_change_may_be_sent(
    clients: FakeClients, cancellation: RegionCancellation, writer: LedgerWriter
) -> None:
    """The region stops with the reason."""
    clients.table.write_failure = THROTTLED
    assert not writer.intend([_plan(an_instance(2))])
    assert writer.failure == THROTTLED
    why = "no change is made without an entry in it"
    assert cancellation.stopped == f"the ledger is out of reach ({THROTTLED}), and {why}"


def test_outcomes_of_earlier_changes_are_written_after_a_failed_intent(
    clients: FakeClients, writer: LedgerWriter
) -> None:
    """The table may accept them again."""
    clients.table.write_failure = THROTTLED
    writer.intend([_plan(an_instance(2))])
    clients.table.write_failure = None
    writer.complete([_remediated(1)])
    assert _outcomes(clients, 1) == [Outcome.REMEDIATED]


def test_an_unwritten_outcome_is_written_with_the_next(clients: FakeClients, writer: LedgerWriter) -> None:
    """A refused request leaves no entry open."""
    clients.table.write_failure = THROTTLED
    writer.complete([_remediated(0)])
    assert _outcomes(clients, 0) == [None]
    clients.table.write_failure = None
    writer.complete([_remediated(1)])
    assert _outcomes(clients, 0, 1) == [Outcome.REMEDIATED] * 2
    assert writer.failure == THROTTLED, "the report says that something was late"


def test_a_table_that_does_not_answer_gets_no_outcomes_until_it_accepts_an_intent(
    clients: FakeClients, writer: LedgerWriter
) -> None:
    """Otherwise one call would hang in each round, and these calls would outlast the run."""
    clients.table.write_failure = SERVER_FAULT
    writer.complete([_remediated(0)])
    clients.table.write_failure = None
    clients.table.requests.clear()
    writer.complete([])
    assert (writer.failure, clients.table.writes) == (SERVER_FAULT, 0)
    assert writer.intend([_plan(an_instance(2))])
    writer.complete([_remediated(1)])
    assert _outcomes(clients, 0, 1, 2) == [Outcome.REMEDIATED, Outcome.REMEDIATED, None]


@pytest.mark.parametrize("accepted", [True, False])
def test_shown_options_count_as_the_result_only_if_ec2_accepted_the_change(
    clients: FakeClients, writer: LedgerWriter, *, accepted: bool
) -> None:
    """Otherwise a revert could undo what the owner did, for example switch the service off."""
    off = replace(V2_ONLY, http_endpoint=Switch.DISABLED)
    plan = _plan(an_instance(1))
    if accepted:
        writer.answered(plan, AcceptedChange(plan, clients.clock.monotonic()))
    writer.complete([result_of(an_instance(1), Outcome.SKIPPED, "the metadata service is off", after=off)])
    (entry,) = clients.ledger_table.entries.of(an_id(1))
    assert entry.after == (off if accepted else None)
    assert (entry.result is not None) is accepted


def test_a_change_of_unknown_outcome_stays_open(clients: FakeClients, writer: LedgerWriter) -> None:
    """A later sweep completes it from what the instance shows."""
    plan = _plan(an_instance(1))
    answer = failed(plan.instance, SERVER_FAULT)
    writer.answered(plan, answer)
    writer.complete([answer])
    assert _outcomes(clients, 1) == [None]
