"""Options that EC2 cannot give an instance: tokens are still required, and EC2 is not asked again and again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.aws.dynamodb import NoTable
from imds_enforcer.aws.ledger_table import LedgerTable
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import Change, HttpTokens, InstanceState, Outcome, Switch, Trigger
from imds_enforcer.policy import Mode
from imds_enforcer.runs.events import SweepRequest
from tests.fakes import example_events as events
from tests.fakes.examples import (
    HOME,
    NO_IPV6,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    a_failure,
    a_policy,
    an_id,
    an_instance,
)
from tests.fakes.runs import Batch, Sweep, ledger

if TYPE_CHECKING:
    from imds_enforcer.model import Instance, MetadataOptions
    from tests.fakes.clients import FakeClients
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2

BAD_KEY = "Patch Group"
REFUSED = "EC2 refused InstanceMetadataTags=enabled (InvalidParameterValue: 'Patch Group' is not a valid tag key.)"
TOKENS, TAGS = "HttpTokens is optional, not required", "InstanceMetadataTags is disabled, not enabled"
TAGGED = a_policy(instance_metadata_tags=Switch.ENABLED)
FULL = replace(TAGGED, http_put_response_hop_limit=2, http_protocol_ipv6=Switch.ENABLED)
REQUIRE = Change(http_tokens=HttpTokens.REQUIRED)
REQUIRE_AND_TAG = replace(REQUIRE, instance_metadata_tags=Switch.ENABLED)
INVENTORY = SweepRequest(Trigger.INVENTORY)
READ, MODIFY = "DescribeInstances", "ModifyInstanceMetadataOptions"
NOTES = f"Query refused#{HOME}"


def refusing(number: int = 1, options: MetadataOptions = V1_ALLOWED) -> Instance:
    """An instance whose tags cannot be shown in its metadata."""
    return an_instance(number, options, tags={BAD_KEY: "linux"})


class TestInOneRun:
    """The first change is refused, the second succeeds."""

    @pytest.fixture(autouse=True)
    def _refused(self, home: FakeEc2) -> None:
        home.launch(refusing())

    def test_tokens_are_still_required(self, clients: FakeClients, home: FakeEc2) -> None:
        """The reason has EC2's message."""
        batch = Batch(clients, events.a_message(events.running()), policy=TAGGED)
        ((result, _),) = batch.log
        assert (result.outcome, result.reason) == (Outcome.REMEDIATED, f"{TOKENS}, {TAGS}; {REFUSED}")
        assert (result.before, result.after, result.failure) == (V1_ALLOWED, V2_ONLY, None)
        assert not result.compliant
        assert batch.again == []
        assert home.actual(an_id()).options == V2_ONLY
        assert [*home.refusals, *home.modified] == [(an_id(), REQUIRE_AND_TAG), (an_id(), REQUIRE)]

    def test_the_second_change_has_its_own_look(self, clients: FakeClients, home: FakeEc2) -> None:
        """It follows at once: there is nothing to wait for."""
        Batch(clients, events.a_message(events.running()), policy=TAGGED)
        assert home.calls == [READ, MODIFY, READ, MODIFY, READ]
        assert [age for _, age in home.sent] == [0, 0]
        assert clients.clock.elapsed == 0

    def test_each_change_has_an_intent(self, clients: FakeClients) -> None:
        """The second intent replaces that of the refused change."""
        Batch(clients, events.a_message(events.running()), policy=TAGGED)
        intents = [item["entry"] for item in clients.table.written if "open" in item]
        assert ['"wanted":{"HttpTokens":"required"' in each for each in intents] == [True, True]
        tags = ['"InstanceMetadataTags":"enabled"' in each for each in intents]
        assert tags == [True, False]
        (entry,) = ledger(clients)
        assert (entry.before, entry.wanted, entry.after) == (V1_ALLOWED, V2_ONLY, V2_ONLY)
        assert (entry.outcome, entry.result) == (Outcome.REMEDIATED, V2_ONLY)
        assert entry.reason.endswith(REFUSED)

    def test_the_hop_limit_is_never_left_out(self, clients: FakeClients, home: FakeEc2) -> None:
        """IPv6 is left out: EC2 may refuse it too, and then IMDSv1 would stay."""
        Batch(clients, events.a_message(events.running()), policy=FULL)
        assert home.modified == [(an_id(), replace(REQUIRE, http_put_response_hop_limit=2))]

    def test_a_container_host_gets_its_hop_limit(self, clients: FakeClients, home: FakeEc2) -> None:
        """Container hosts often have tag keys with a slash."""
        home.launch(an_instance(2, tags={"kubernetes.io/cluster/a": "owned"}))
        Batch(clients, events.a_message(events.running(an_id(2))), policy=TAGGED)
        assert home.actual(an_id(2)).options == replace(V2_ONLY, http_put_response_hop_limit=2)

    def test_a_service_switched_off_in_between_stays_off(self, clients: FakeClients, home: FakeEc2) -> None:
        """The second change would switch it on."""
        home.modify_seconds = 1
        clients.clock.at(0.5, lambda: home.set_options(an_id(), http_endpoint=Switch.DISABLED))
        batch = Batch(clients, events.a_message(events.running()), policy=TAGGED)
        assert batch.outcomes == {an_id(): Outcome.SKIPPED}
        assert len(home.sent) == 1

    def test_an_instance_held_in_between_is_left_alone(self, clients: FakeClients, home: FakeEc2) -> None:
        """Holds are read again after the second look."""
        hold = Hold(instance_id=an_id(), reason="vendor agent", by="ann", at=clients.clock.now())
        home.modify_seconds = 1
        clients.clock.at(0.5, lambda: clients.ledger_table.holds.write([hold]))
        batch = Batch(clients, events.a_message(events.running()), policy=TAGGED)
        assert batch.outcomes == {an_id(): Outcome.HELD}
        assert len(home.sent) == 1

    def test_a_second_change_that_is_refused_too_fails_with_its_own_code(
        self, clients: FakeClients, home: FakeEc2
    ) -> None:
        """The option may not have been the cause: it is not noted."""
        for failure in (UNAUTHORIZED, a_failure("UnsupportedOperation", "HttpTokens is not supported.")):
            home.modify_errors[an_id()] = [a_failure("InvalidParameterValue", "InstanceMetadataTags"), failure]
            home.forget_calls()
            ((result, _),) = Sweep(clients, TAGGED).log
            assert (result.outcome, result.failure) == (Outcome.FAILED, failure)
            assert len(home.sent) == 2
        assert clients.ledger_table.notes.refusals(HOME) == {}

    @pytest.mark.parametrize("failure", [UNAUTHORIZED, a_failure("OperationNotPermitted")])
    def test_another_refusal_is_final(self, clients: FakeClients, home: FakeEc2, failure: object) -> None:
        """It concerns the caller or the instance: a smaller change would be refused as well."""
        home.modify_errors[an_id()] = [failure]  # type: ignore[list-item]  # as parametrized
        ((result, _),) = Sweep(clients, TAGGED).log
        assert (result.outcome, result.failure) == (Outcome.FAILED, failure)
        assert len(home.sent) == 1

    @pytest.mark.parametrize("failure", [THROTTLED, SERVER_FAULT])
    def test_the_second_change_is_retried_like_any_other(
        self, clients: FakeClients, home: FakeEc2, failure: object
    ) -> None:
        """Throttled or unanswered, it is sent again without the option."""
        home.modify_errors[an_id()] = [a_failure("InvalidParameterValue", "tag key"), failure]  # type: ignore[list-item]
        ((result, _),) = Sweep(clients, TAGGED).log
        assert result.outcome is Outcome.REMEDIATED
        assert home.refusals == []
        assert home.modified == [(an_id(), REQUIRE)]

    def test_an_unanswered_second_change_that_ec2_made_is_remediated(self, clients: FakeClients, home: FakeEc2) -> None:
        """The look shows it; SKIPPED would be wrong."""
        home.unanswered = {an_id()}
        ((result, _),) = Sweep(clients, TAGGED).log
        assert (result.outcome, result.after) == (Outcome.REMEDIATED, V2_ONLY)
        assert result.reason.endswith(REFUSED)
        assert len(home.sent) == 2

    def test_a_stopped_instance_is_pending(self, clients: FakeClients, home: FakeEc2) -> None:
        """As after any change."""
        home.set_state(an_id(), InstanceState.STOPPED)
        ((result, _),) = Sweep(clients, TAGGED).log
        assert (result.outcome, result.reason) == (
            Outcome.PENDING,
            f"the instance is stopped: the change applies at its next start; {TOKENS}, {TAGS}; {REFUSED}",
        )

    def test_at_the_deadline_the_second_change_waits_for_the_next_run(
        self, clients: FakeClients, home: FakeEc2
    ) -> None:
        """The instance has not failed: the rest of the change is still possible."""
        home.modify_seconds = 50
        batch = Batch(clients, events.a_message(events.running(), "m-1"), policy=TAGGED)
        assert batch.outcomes == {an_id(): Outcome.DEFERRED}
        assert batch.again == ["m-1"]

    def test_an_earlier_failure_is_forgotten_after_a_refusal(self, clients: FakeClients, home: FakeEc2) -> None:
        """EC2 has answered since: the deadline makes it no failure."""
        home.modify_errors[an_id()] = [SERVER_FAULT]
        home.modify_seconds = 20
        batch = Batch(clients, events.a_message(events.running()), policy=TAGGED)
        ((result, _),) = batch.log
        assert (result.outcome, result.failure) == (Outcome.DEFERRED, None)
        assert len(home.sent) == 2

    def test_a_second_change_that_does_not_show_is_not_noted(self, clients: FakeClients, home: FakeEc2) -> None:
        """The option may not be the only problem."""
        home.ignored = {an_id()}
        ((result, _),) = Sweep(clients, TAGGED).log
        assert (result.outcome, result.failure and result.failure.code) == (Outcome.FAILED, "ReadBackDiffers")
        assert clients.ledger_table.notes.refusals(HOME) == {}

    @pytest.mark.parametrize("end", ["terminated", "off", "differs"])
    def test_only_changed_instances_are_reported_to_lack_an_option(
        self, clients: FakeClients, home: FakeEc2, end: str
    ) -> None:
        """For one that is gone, off or unchanged, the mail would give the wrong reason."""
        home.visible_after = 1
        if end == "terminated":
            clients.clock.at(0.5, lambda: home.set_state(an_id(), InstanceState.TERMINATED))
        elif end == "off":
            home.visible_after = 0
            home.applied_after = 1
            clients.clock.at(0.5, lambda: home.set_options(an_id(), http_endpoint=Switch.DISABLED))
        else:
            home.ignored = {an_id()}
        report = Sweep(clients, TAGGED).report
        expected = {"terminated": Outcome.GONE, "off": Outcome.SKIPPED, "differs": Outcome.FAILED}
        assert report.outcomes == {expected[end]: 1}
        assert (report.refused, report.refused_in_all) == ([], 0)

    def test_a_tag_removed_during_the_run_lets_the_next_run_try_again(
        self, clients: FakeClients, home: FakeEc2
    ) -> None:
        """The note has the tags from when EC2 refused."""
        home.on_refusal = lambda *_: home.remove_tag(an_id(), BAD_KEY)
        assert Sweep(clients, TAGGED).report.outcomes == {Outcome.REMEDIATED: 1}
        assert home.modified == [(an_id(), REQUIRE)]
        assert Sweep(clients, TAGGED).report.outcomes == {Outcome.REMEDIATED: 1}
        assert home.actual(an_id()).options == replace(V2_ONLY, instance_metadata_tags=Switch.ENABLED)

    def test_a_table_that_accepted_no_outcome_gets_no_note(self, clients: FakeClients) -> None:
        """A note only saves a call; it is not worth waiting."""
        asked: list[str] = []

        def refuse_outcomes(items: object) -> None:
            asked.append(str(items))
            clients.table.write_failure = None if "'open'" in str(items) else THROTTLED

        clients.table.before_write = refuse_outcomes
        assert Sweep(clients, TAGGED).report.outcomes == {Outcome.REMEDIATED: 1}
        assert not any("refused#" in each for each in asked)


def test_without_any_other_change_there_is_no_second_one(clients: FakeClients, home: FakeEc2) -> None:
    """Tokens are already required; the reason has EC2's message, and the log its code."""
    home.launch(refusing(options=V2_ONLY))
    sweep = Sweep(clients, TAGGED)
    ((result, _),) = sweep.log
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, f"{TAGS}; {REFUSED}")
    assert (result.after, result.failure and result.failure.code) == (V2_ONLY, "InvalidParameterValue")
    assert not result.compliant
    assert home.modified == []
    assert len(home.sent) == 1
    (entry,) = ledger(clients)
    assert (entry.outcome, entry.code, entry.result) == (Outcome.SKIPPED, "InvalidParameterValue", None)


class TestInTheNextRuns:
    """The refusal is noted."""

    @pytest.fixture(autouse=True)
    def _noted(self, clients: FakeClients, home: FakeEc2) -> None:
        home.launch(refusing())
        Sweep(clients, TAGGED)
        home.forget_calls()
        clients.table.requests.clear()

    def test_no_change_is_sent(self, clients: FakeClients, home: FakeEc2) -> None:
        """Only the option counts as skipped, and nothing is written."""
        sweep = Sweep(clients, TAGGED)
        assert sweep.report.outcomes == {Outcome.SKIPPED: 1}
        assert sweep.report.compliant == 0
        assert home.sent == []
        assert clients.table.requests == [NOTES]

    def test_an_event_sends_no_change_either(self, clients: FakeClients, home: FakeEc2) -> None:
        """Its message does not come back."""
        batch = Batch(clients, events.a_message(events.running()), policy=TAGGED)
        ((result, _),) = batch.log
        assert (result.outcome, result.reason) == (Outcome.SKIPPED, f"{TAGS}; {REFUSED}")
        assert home.sent == []
        assert batch.again == []

    @pytest.mark.parametrize("drift", [{"http_tokens": HttpTokens.OPTIONAL}, {"http_put_response_hop_limit": 3}])
    def test_drift_is_corrected_with_one_change(
        self, clients: FakeClients, home: FakeEc2, drift: dict[str, object]
    ) -> None:
        """Without the option, which the reason still names."""
        home.set_options(an_id(), **drift)
        ((result, _),) = Sweep(clients, replace(TAGGED, http_put_response_hop_limit=1)).log
        assert result.outcome is Outcome.REMEDIATED
        assert result.reason.endswith(f"{TAGS}; {REFUSED}")
        assert home.actual(an_id()).options == V2_ONLY
        assert home.refusals == []
        assert len(home.sent) == 1

    def test_another_option_is_set_with_one_change(self, clients: FakeClients, home: FakeEc2) -> None:
        """EC2 did not refuse that one."""
        Sweep(clients, replace(TAGGED, http_protocol_ipv6=Switch.ENABLED))
        assert home.sent_ids == [an_id()]
        assert home.actual(an_id()).options == replace(V2_ONLY, http_protocol_ipv6=Switch.ENABLED)

    def test_the_option_is_tried_again_once_the_tag_is_gone(self, clients: FakeClients, home: FakeEc2) -> None:
        """EC2's refusal depends on the tag keys."""
        home.remove_tag(an_id(), BAD_KEY)
        ((result, _),) = Sweep(clients, TAGGED).log
        assert (result.outcome, result.reason) == (Outcome.REMEDIATED, TAGS)
        assert home.actual(an_id()).options == replace(V2_ONLY, instance_metadata_tags=Switch.ENABLED)

    def test_the_option_is_tried_as_soon_as_a_look_shows_that_the_tag_is_gone(
        self, clients: FakeClients, home: FakeEc2
    ) -> None:
        """Even during a run: the note of an earlier run no longer applies."""
        home.set_options(an_id(), http_tokens=HttpTokens.OPTIONAL)
        home.modify_errors[an_id()] = [SERVER_FAULT]
        clients.clock.at(clients.clock.elapsed + 1, lambda: home.remove_tag(an_id(), BAD_KEY))
        Sweep(clients, TAGGED)
        assert home.modified == [(an_id(), REQUIRE_AND_TAG)]

    def test_another_value_of_a_tag_is_no_reason_to_try_again(self, clients: FakeClients, home: FakeEc2) -> None:
        """Some tools write a new value every hour."""
        home.set_tags(an_id(), **{BAD_KEY: "windows"})
        Sweep(clients, TAGGED)
        assert home.sent == []

    def test_another_value_in_the_policy_is_tried(self, clients: FakeClients, home: FakeEc2) -> None:
        """EC2 refused the other value."""
        home.set_options(an_id(), instance_metadata_tags=Switch.ENABLED)
        Sweep(clients, replace(TAGGED, instance_metadata_tags=Switch.DISABLED))
        assert home.actual(an_id()).options == V2_ONLY

    def test_the_option_is_tried_again_after_a_month(self, clients: FakeClients, home: FakeEc2) -> None:
        """By then the instance may have another type, or EC2 other rules."""
        for days, calls in ((29, 0), (1.1, 1), (1, 1)):
            clients.clock.advance(timedelta(days=days).total_seconds())
            Sweep(clients, TAGGED)
            assert len(home.sent) == calls

    def test_a_malformed_note_is_ignored(self, clients: FakeClients, home: FakeEc2) -> None:
        """EC2 is asked again, the refusal is noted again, and the malformed note is logged."""
        (key,) = [key for key in clients.table.items if key[0] == f"refused#{HOME}"]
        clients.table.items[key] |= {"refused": "[[1]]"}
        assert Sweep(clients, TAGGED).report.outcomes == {Outcome.SKIPPED: 1}
        assert len(home.sent) == 1
        assert clients.ledger_table.unreadable() == {key}
        Sweep(clients, TAGGED)
        assert len(home.sent) == 1

    def test_an_audit_reads_the_note_and_writes_nothing(self, clients: FakeClients, home: FakeEc2) -> None:
        """Neither to EC2 nor to the ledger."""
        sweep = Sweep(clients, replace(TAGGED, mode=Mode.AUDIT))
        assert sweep.report.outcomes == {Outcome.SKIPPED: 1}
        assert home.sent == []
        assert clients.table.writes == 0

    def test_the_inventory_names_the_instance(self, clients: FakeClients) -> None:
        """In its log and its report; other sweeps name it only in the report."""
        for request, logged in ((INVENTORY, {an_id(): Outcome.SKIPPED}), (SweepRequest(Trigger.SCHEDULE), {})):
            sweep = Sweep(clients, TAGGED, request)
            assert sweep.logged == logged
            (named,) = sweep.report.as_json()["refused"]
            assert named == {
                "instance_id": an_id(),
                "region": HOME,
                "outcome": "SKIPPED",
                "reason": f"{TAGS}; {REFUSED}",
            }
            assert sweep.report.needs_attention


def test_notes_are_read_once_and_only_for_options_that_can_be_refused(clients: FakeClients, home: FakeEc2) -> None:
    """Most policies have no such option."""
    home.launch(*(refusing(number, V2_ONLY) for number in range(5)))
    Sweep(clients, a_policy())
    assert NOTES not in clients.table.requests
    Sweep(clients, TAGGED)
    assert clients.table.requests.count(NOTES) == 1


def test_of_two_options_the_next_run_tries_the_other(clients: FakeClients, home: FakeEc2) -> None:
    """EC2 named the one that it cannot set; the run after that sends nothing."""
    home.launch(refusing(1), an_instance(2), refusing(3))
    home.xen = {an_id(2), an_id(3)}
    sent = []
    for _ in range(3):
        home.forget_calls()
        Sweep(clients, FULL)
        sent.append([home.sent_ids.count(an_id(number)) for number in (1, 2, 3)])
    assert sent == [[2, 2, 2], [1, 1, 1], [0, 0, 0]]
    hops = replace(V2_ONLY, http_put_response_hop_limit=2)
    assert home.actual(an_id(1)).options == replace(hops, http_protocol_ipv6=Switch.ENABLED)
    assert home.actual(an_id(2)).options == replace(hops, instance_metadata_tags=Switch.ENABLED)
    assert home.actual(an_id(3)).options == hops
    noted = {each.option for each in clients.ledger_table.notes.refusals(HOME)[an_id(3)].refused}
    assert noted == {"HttpProtocolIpv6", "InstanceMetadataTags"}


def test_if_ec2_names_neither_of_two_options_both_are_skipped(clients: FakeClients, home: FakeEc2) -> None:
    """Only asking again and again could show which one EC2 meant."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [a_failure("InvalidParameterCombination")]
    Sweep(clients, FULL)
    Sweep(clients, FULL)
    assert len(home.sent) == 2


def test_a_note_that_cannot_be_written_does_not_undo_the_change(clients: FakeClients, home: FakeEc2) -> None:
    """The next run asks again; the report says that the ledger did not accept everything."""
    home.launch(refusing())

    def refuse_notes(items: object) -> None:
        clients.table.write_failure = THROTTLED if "refused#" in str(items) else None

    clients.table.before_write = refuse_notes
    sweep = Sweep(clients, TAGGED)
    assert sweep.report.outcomes == {Outcome.REMEDIATED: 1}
    assert sweep.report.regions[HOME].ledger_failure == THROTTLED
    clients.table.write_failure = clients.table.before_write = None
    home.forget_calls()
    assert Sweep(clients, TAGGED).report.outcomes == {Outcome.SKIPPED: 1}
    assert len(home.sent) == 1


def test_without_a_table_the_run_itself_remembers_refusals(
    clients: FakeClients, home: FakeEc2, clock: FakeClock
) -> None:
    """As for the command without a deployment; the next run asks again."""
    clients.ledger_table = LedgerTable(NoTable(), clock)
    home.launch(refusing())
    for outcome, calls in ((Outcome.REMEDIATED, 2), (Outcome.SKIPPED, 1)):
        home.forget_calls()
        assert Sweep(clients, TAGGED).report.outcomes == {outcome: 1}
        assert len(home.sent) == calls


def test_refusals_do_not_trip_the_circuit_breaker(clients: FakeClients, home: FakeEc2) -> None:
    """They say nothing about the next instance."""
    home.launch(*map(refusing, range(40)))
    report = Sweep(clients, TAGGED).report
    assert report.outcomes == {Outcome.REMEDIATED: 40}
    assert report.stopped_regions == {}


def test_both_changes_count_once_against_the_sweeps_limit(clients: FakeClients, home: FakeEc2) -> None:
    """The instance keeps its place for the second change."""
    home.launch(*map(refusing, range(9)))
    report = Sweep(clients, replace(TAGGED, max_changes_per_sweep=2)).report
    assert report.outcomes == {Outcome.REMEDIATED: 2, Outcome.DEFERRED: 7}
    assert len(home.sent) == 4


def test_an_option_that_the_region_lacks_is_refused_once_for_each_instance(clients: FakeClients, home: FakeEc2) -> None:
    """Even if the policy would switch it off."""
    home.unsupported = {"InstanceMetadataTags"}
    home.launch(an_instance(1), an_instance(2, replace(V1_ALLOWED, instance_metadata_tags=Switch.ENABLED)))
    policy = replace(TAGGED, instance_metadata_tags=Switch.DISABLED)
    assert Sweep(clients, policy).report.outcomes == {Outcome.REMEDIATED: 2}
    assert Sweep(clients, policy).report.outcomes == {Outcome.SKIPPED: 1}
    assert len(home.sent) == 3


def test_an_old_type_gets_no_ipv6(clients: FakeClients, home: FakeEc2) -> None:
    """Tokens are still required."""
    home.launch(an_instance())
    home.xen = {an_id()}
    ((result, _),) = Sweep(clients, replace(TAGGED, instance_metadata_tags=None, http_protocol_ipv6=Switch.ENABLED)).log
    assert result.outcome is Outcome.REMEDIATED
    assert result.reason.endswith(f"EC2 refused HttpProtocolIpv6=enabled ({NO_IPV6})")
