"""The account defaults of one region: read, decided, set, read back, recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.ledger.defaults import subject
from imds_enforcer.ledger.entry import KEPT as ENTRIES_KEPT
from imds_enforcer.ledger.holds import CONTESTED_FOR, Hold
from imds_enforcer.model import AwsError, Failure, HttpTokens, Kind, Outcome, Switch, Trigger
from imds_enforcer.model.region_defaults import RegionDefaults
from imds_enforcer.policy import AccountDefaults, Mode, Policy
from tests.fakes.account_defaults import UNSET
from tests.fakes.clients import a_run
from tests.fakes.clock import START
from tests.fakes.entries import an_entry
from tests.fakes.examples import (
    DENIED_BY_SCP,
    EXPIRED,
    HOME,
    NOT_HERE,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    a_failure,
    a_policy,
)

if TYPE_CHECKING:
    from typing import Any

    from imds_enforcer.ledger.defaults import DefaultsEntry
    from imds_enforcer.model.region_defaults import DefaultsResult
    from tests.fakes.account_defaults import FakeDefaults
    from tests.fakes.clients import FakeClients

READ, SET = "GetInstanceMetadataDefaults", "ModifyInstanceMetadataDefaults"
OTHER = "arn:aws:sts::111122223333:assumed-role/deploy/terraform"
POLICY = a_policy(account_defaults=AccountDefaults())
ENFORCING = a_policy(account_defaults=AccountDefaults(enforce_tokens=True))
OPTIONAL = a_policy(HttpTokens.OPTIONAL, account_defaults=AccountDefaults())
KEPT = RegionDefaults(http_tokens=HttpTokens.REQUIRED, http_put_response_hop_limit=2)
WHY = "HttpTokens is no-preference, not required, HttpPutResponseHopLimit is no-preference, not 2"


@pytest.fixture
def region(clients: FakeClients) -> FakeDefaults:
    """The defaults of the home region, which has no preference."""
    return clients.defaults[HOME]


def enforced(
    clients: FakeClients,
    policy: Policy = POLICY,
    trigger: Trigger = Trigger.SCHEDULE,
    *,
    drifted_by: str | None = None,
    floor: HttpTokens = HttpTokens.OPTIONAL,
    seconds: float = 700,
) -> DefaultsResult:
    """The result for the home region's defaults in one run."""
    run = a_run(clients, policy, seconds=seconds)
    run.floor = floor
    keeper = run.for_defaults(HOME, trigger, drifted_by)
    assert keeper
    return keeper.enforce()


def ledger(clients: FakeClients) -> list[DefaultsEntry]:
    """The entries of the home region."""
    return clients.ledger_table.defaults.of(HOME)


def drifted(clients: FakeClients, seconds: float = 60) -> DefaultsResult:
    """Someone makes tokens optional, and the event arrives; then some time passes."""
    clients.defaults[HOME].put(http_tokens=None)
    result = enforced(clients, trigger=Trigger.DRIFT, drifted_by=OTHER)
    clients.clock.advance(seconds)
    return result


def test_defaults_are_set_in_one_call_and_read_back(clients: FakeClients, region: FakeDefaults) -> None:
    """The entry has the values from before."""
    result = enforced(clients, ENFORCING)
    assert (result.outcome, result.before, result.after) == (
        Outcome.REMEDIATED,
        UNSET,
        replace(KEPT, http_tokens_enforced=Switch.ENABLED),
    )
    assert region.calls == [READ, SET, READ]
    assert region.sent == [
        {
            "http_tokens": HttpTokens.REQUIRED,
            "http_put_response_hop_limit": 2,
            "http_tokens_enforced": Switch.ENABLED,
        }
    ]
    [entry] = ledger(clients)
    assert (entry.outcome, entry.before, entry.after, entry.trigger) == (
        Outcome.REMEDIATED,
        UNSET,
        result.after,
        Trigger.SCHEDULE,
    )
    assert entry.reason == result.reason == f"{WHY}, HttpTokensEnforced is no-preference, not enabled"


def test_compliant_defaults_cost_one_call(clients: FakeClients, region: FakeDefaults) -> None:
    """The ledger gets no request."""
    region.current = KEPT
    clients.table.requests.clear()
    assert enforced(clients).outcome is Outcome.COMPLIANT
    assert (region.calls, clients.table.requests) == ([READ], [])


def test_the_intent_is_in_the_ledger_before_the_change(clients: FakeClients, region: FakeDefaults) -> None:
    """The entry has no outcome yet."""
    found: list[DefaultsEntry] = []
    region.before_set = lambda: found.extend(ledger(clients))
    enforced(clients)
    assert [(entry.outcome, entry.wanted) for entry in found] == [(None, KEPT)]


@pytest.mark.parametrize("fails", ["read_failure", "write_failure"])
def test_without_the_ledger_nothing_is_set(clients: FakeClients, region: FakeDefaults, fails: str) -> None:
    """This holds if holds cannot be read, and if the intent cannot be written."""
    setattr(clients.table, fails, THROTTLED)
    keeper = a_run(clients, POLICY).for_defaults(HOME, Trigger.SCHEDULE)
    assert keeper
    result = keeper.enforce()
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, f"the ledger is out of reach ({THROTTLED})")
    assert (region.sent, keeper.context.ledger_failure) == ([], THROTTLED)


def test_a_change_that_shows_late_is_awaited(clients: FakeClients, region: FakeDefaults) -> None:
    """The enforcer looks once a second."""
    region.visible_after = 3
    assert enforced(clients).outcome is Outcome.REMEDIATED
    assert region.calls == [READ, SET, *[READ] * 4]


def test_a_change_by_someone_else_meanwhile_is_left_alone(clients: FakeClients, region: FakeDefaults) -> None:
    """It does not make the enforcer's change a failure, and a revert leaves it alone."""
    region.after_set = lambda: region.put(instance_metadata_tags=Switch.ENABLED)
    assert enforced(clients).outcome is Outcome.REMEDIATED
    assert region.calls == [READ, SET, READ]
    region.after_set = None
    enforced(clients, OPTIONAL)
    assert region.current == replace(UNSET, instance_metadata_tags=Switch.ENABLED)


def test_an_accepted_change_that_ec2_does_not_show_is_a_failure(clients: FakeClients, region: FakeDefaults) -> None:
    """It is never reported as success, and a later revert has nothing to undo."""
    region.ignored = True
    result = enforced(clients)
    assert (result.outcome, result.after) == (Outcome.FAILED, UNSET)
    assert result.failure
    assert result.failure.code == "ReadBackDiffers"
    [entry] = ledger(clients)
    assert (entry.outcome, entry.code, entry.result) == (Outcome.FAILED, "ReadBackDiffers", None)


def test_a_change_that_cannot_be_read_back_is_pending(clients: FakeClients, region: FakeDefaults) -> None:
    """The reason has EC2's error."""

    def go_dark() -> None:
        region.read_failure = SERVER_FAULT

    region.before_set = go_dark
    result = enforced(clients)
    assert (result.outcome, result.failure) == (Outcome.PENDING, SERVER_FAULT)
    assert [entry.outcome for entry in ledger(clients)] == [Outcome.PENDING]


@pytest.mark.parametrize("failure", [UNAUTHORIZED, THROTTLED, a_failure("SomethingNew"), NOT_HERE])
def test_a_refusal_has_ec2s_code_and_is_not_repeated(
    clients: FakeClients, region: FakeDefaults, failure: Failure
) -> None:
    """It costs one call, and is recorded in an entry."""
    region.set_failure = failure
    result = enforced(clients)
    assert (result.outcome, result.failure, result.reason) == (Outcome.FAILED, failure, str(failure))
    assert region.calls == [READ, SET]
    assert [(entry.outcome, entry.code) for entry in ledger(clients)] == [(Outcome.FAILED, failure.code)]


@pytest.mark.parametrize(("made", "outcome"), [(True, Outcome.REMEDIATED), (False, Outcome.FAILED)])
def test_an_unanswered_change_is_read_back(
    clients: FakeClients,
    region: FakeDefaults,
    made: bool,  # noqa: FBT001  # an example
    outcome: Outcome,
) -> None:
    """If its effect is unknown, the entry stays open."""
    if made:
        region.unanswered = SERVER_FAULT
    else:
        region.set_failure = SERVER_FAULT
    assert enforced(clients).outcome is outcome
    assert [entry.outcome for entry in ledger(clients)] == [Outcome.REMEDIATED if made else None]


def test_an_open_entry_is_completed_before_a_revert_needs_it(clients: FakeClients, region: FakeDefaults) -> None:
    """It is completed from what the region shows, and is reverted when tokens become optional."""

    def die() -> None:
        raise KeyboardInterrupt

    region.before_set = die
    with pytest.raises(KeyboardInterrupt):
        enforced(clients)
    region.before_set, region.current = None, KEPT
    clients.clock.advance(timedelta(minutes=20).total_seconds())
    assert enforced(clients, OPTIONAL).outcome is Outcome.REMEDIATED
    assert region.current == UNSET
    assert [entry.outcome for entry in ledger(clients)] == [Outcome.REMEDIATED, Outcome.REMEDIATED]


@pytest.mark.parametrize(
    ("failure", "outcome", "reason"),
    [
        (THROTTLED, Outcome.FAILED, str(THROTTLED)),
        (EXPIRED, Outcome.FAILED, str(EXPIRED)),
        (DENIED_BY_SCP, Outcome.SKIPPED, f"denied by the organization ({DENIED_BY_SCP})"),
    ],
)
def test_a_region_that_cannot_be_read(
    clients: FakeClients, region: FakeDefaults, failure: Failure, outcome: Outcome, reason: str
) -> None:
    """The region is left as it is."""
    region.read_failure = failure
    result = enforced(clients)
    assert (result.outcome, result.reason, result.failure) == (outcome, reason, failure)
    assert region.sent == []


def test_once_the_credentials_are_refused_no_call_is_made(clients: FakeClients, region: FakeDefaults) -> None:
    """Further calls would be refused too."""
    run = a_run(clients, POLICY)
    run.cancellation.heed(EXPIRED)
    keeper = run.for_defaults(HOME, Trigger.SCHEDULE)
    assert keeper
    assert (keeper.enforce().outcome, region.calls) == (Outcome.DEFERRED, [])


def test_audit_mode_writes_nothing(clients: FakeClients, region: FakeDefaults) -> None:
    """It does not even write an intent."""
    result = enforced(clients, replace(POLICY, mode=Mode.AUDIT))
    assert (result.outcome, result.reason, result.after) == (Outcome.WOULD_REMEDIATE, WHY, KEPT)
    assert (region.calls, clients.table.writes) == ([READ], 0)


def test_held_defaults_are_left_alone(clients: FakeClients, region: FakeDefaults) -> None:
    """The hold is read after the defaults."""
    hold = Hold(instance_id=subject(HOME), reason="migration", by="ann", at=START)
    region.read_seconds = 1
    clients.clock.at(clients.clock.elapsed + 0.5, lambda: clients.ledger_table.holds.write([hold]))
    result = enforced(clients)
    assert (result.outcome, result.reason) == (Outcome.HELD, f"held until it is released by ann: migration; {WHY}")
    assert region.sent == []


def test_an_old_observation_is_not_acted_on(clients: FakeClients, region: FakeDefaults) -> None:
    """A slow table makes it too old."""
    clients.table.before_write = lambda _: clients.clock.advance(11)
    result = enforced(clients)
    assert result.outcome is Outcome.DEFERRED
    assert result.reason == f"the observation of the defaults is too old to act on; {WHY}"
    assert region.sent == []
    assert [entry.result for entry in ledger(clients)] == [None]


def test_a_change_of_the_policy_ends_the_work(clients: FakeClients, region: FakeDefaults) -> None:
    """It does so even between the intent and the change."""
    run = a_run(clients, POLICY)
    clients.table.before_write = lambda _: run.cancellation.cancel("the policy has changed")
    keeper = run.for_defaults(HOME, Trigger.SCHEDULE)
    assert keeper
    assert keeper.enforce().reason == f"the policy has changed; {WHY}"
    assert region.sent == []


def test_the_toggle_works_both_ways(clients: FakeClients, region: FakeDefaults) -> None:
    """The values from before come back, and nothing else changes."""
    region.put(http_put_response_hop_limit=4, http_tokens_enforced=Switch.DISABLED)
    before = region.current
    enforced(clients, ENFORCING)
    clients.clock.advance(60)
    assert enforced(clients, replace(ENFORCING, http_tokens=HttpTokens.OPTIONAL)).outcome is Outcome.REMEDIATED
    assert region.current == before
    clients.clock.advance(60)
    assert enforced(clients, replace(ENFORCING, http_tokens=HttpTokens.OPTIONAL)).outcome is Outcome.COMPLIANT
    assert enforced(clients, ENFORCING).outcome is Outcome.REMEDIATED


def test_a_required_that_was_there_before_stays(clients: FakeClients, region: FakeDefaults) -> None:
    """The result says so, and no change is sent."""
    region.current = KEPT
    enforced(clients)
    result = enforced(clients, OPTIONAL)
    assert result.outcome is Outcome.SKIPPED
    assert result.reason == "left unchanged: HttpTokens is required (not set by the enforcer)"
    assert region.sent == []


def test_under_a_floor_nothing_is_loosened(clients: FakeClients, region: FakeDefaults) -> None:
    """Even what the enforcer itself has set stays."""
    enforced(clients)
    result = enforced(clients, OPTIONAL, floor=HttpTokens.REQUIRED)
    assert (result.outcome, region.current) == (Outcome.SKIPPED, KEPT)
    assert "floor" in result.reason


def test_the_fourth_correction_within_an_hour_is_left_to_the_sweep(clients: FakeClients, region: FakeDefaults) -> None:
    """The result names the caller; the sweep still corrects the defaults."""
    region.current = KEPT
    assert [drifted(clients).outcome for _ in range(4)] == [*[Outcome.REMEDIATED] * 3, Outcome.CONTESTED]
    result = drifted(clients)
    assert result.reason.startswith(
        f"repeatedly changed back by someone else, last by {OTHER}: only the sweep corrects them until "
    )
    swept = enforced(clients)
    assert (swept.outcome, swept.reason.endswith(f"; repeatedly changed back by someone else, last by {OTHER}")) == (
        Outcome.REMEDIATED,
        True,
    )
    assert drifted(clients, CONTESTED_FOR.total_seconds()).outcome is Outcome.CONTESTED
    assert drifted(clients).outcome is Outcome.REMEDIATED


def test_in_audit_mode_no_contest_begins(clients: FakeClients, region: FakeDefaults) -> None:
    """Audit mode corrects nothing, so no correction can be undone."""
    region.current = KEPT
    for _ in range(3):
        drifted(clients)
    region.put(http_tokens=None)
    audit = replace(POLICY, mode=Mode.AUDIT)
    result = enforced(clients, audit, Trigger.DRIFT, drifted_by=OTHER)
    assert result.outcome is Outcome.WOULD_REMEDIATE


def test_entries_of_another_kind_in_the_partition_are_skipped(clients: FakeClients) -> None:
    """The alarm's log line names them."""
    enforced(clients)
    clients.table.put([{"pk": subject(HOME), "sk": "nonsense", "entry": "{}"}])
    assert len(ledger(clients)) == 1
    assert clients.ledger_table.unreadable() == {(subject(HOME), "nonsense")}


@pytest.mark.parametrize(("failure", "ends"), [(UNAUTHORIZED, True), (None, False)])
def test_only_entries_without_a_change_expire(
    clients: FakeClients,
    region: FakeDefaults,
    failure: Any,
    ends: bool,  # noqa: FBT001  # an example
) -> None:
    """A refusal may come with every sweep; reverts need the other entries."""
    region.set_failure = failure
    region.before_set = lambda: found.append("expires_at" in clients.table.written[-1])
    found: list[bool] = []
    enforced(clients)
    item = clients.table.written[-1]
    assert (found, item.get("expires_at")) == ([False], int((START + ENTRIES_KEPT).timestamp()) if ends else None)


def test_each_region_has_its_own_ledger_partition(clients: FakeClients) -> None:
    """The history has all of them, and none of the instances' entries."""
    enforced(clients)
    clients.ledger_table.entries.write([an_entry()])
    clients.table.requests.clear()
    [entry] = ledger(clients)
    assert clients.table.requests == [f"Query {subject(HOME)}"]
    assert clients.ledger_table.defaults.since(START) == [entry]
    assert clients.ledger_table.defaults.of_run(entry.run_id) == [entry]
    assert list(clients.ledger_table.entries.since(START - timedelta(days=1))) == [an_entry()]
    assert clients.ledger_table.unreadable() == set()


def test_a_lost_outcome_is_a_failure_of_the_ledger_and_not_of_the_change(
    clients: FakeClients, region: FakeDefaults
) -> None:
    """The region follows the policy."""

    def lose_table() -> None:
        clients.table.write_failure = THROTTLED

    region.before_set = lose_table
    keeper = a_run(clients, POLICY).for_defaults(HOME, Trigger.SCHEDULE)
    assert keeper
    assert keeper.enforce().outcome is Outcome.REMEDIATED
    assert keeper.context.ledger_failure == THROTTLED
    clients.table.write_failure = None
    assert [entry.outcome for entry in ledger(clients)] == [None]


def test_refused_credentials_end_the_run(clients: FakeClients, region: FakeDefaults) -> None:
    """Credentials that only one region refuses do not end it."""
    for failure, ends in ((NOT_HERE, None), (EXPIRED, EXPIRED)):
        region.set_failure = failure
        run = a_run(clients, POLICY)
        keeper = run.for_defaults(HOME, Trigger.SCHEDULE)
        assert keeper
        keeper.enforce()
        assert run.cancellation.refused == ends
        assert run.cancellation.refused is None or run.cancellation.refused.kind is Kind.CREDENTIALS


def test_a_failed_ledger_request_raises_nothing(clients: FakeClients) -> None:
    """No exception leaves the region, whichever request fails."""
    for request in range(1, 6):
        clients.defaults[HOME].current = UNSET
        left = [request]

        def fail(_: object, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise AwsError(SERVER_FAULT)

        clients.table.before_read = fail
        clients.table.before_write = fail
        assert enforced(clients, trigger=Trigger.DRIFT, drifted_by=OTHER)
