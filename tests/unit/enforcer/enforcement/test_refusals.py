"""Options that EC2 cannot give an instance: tokens are required all the same, and EC2 is not asked again and again."""

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
    """An instance whose tags the metadata service cannot show."""
    return an_instance(number, options, tags={BAD_KEY: "linux"})


class TestInOneRun:
    """The first change is refused, the second is made."""

    @pytest.fixture(autouse=True)
    def _refused(self, home: FakeEc2) -> None:
        home.launch(refusing())

    def test_tokens_are_required_all_the_same(self, clients: FakeClients, home: FakeEc2) -> None:
        """And the reason has EC2's words."""
        batch = Batch(clients, events.a_message(events.running()), policy=TAGGED)
        ((result, _),) = batch.log
        assert (result.outcome, result.reason) == (Outcome.REMEDIATED, f"{TOKENS}, {TAGS}; {REFUSED}")
        assert (result.before, result.after, result.failure) == (V1_ALLOWED, V2_ONLY, None)
        assert not result.compliant
        assert batch.again == []
        assert home.actual(an_id()).options == V2_ONLY
        assert [*home.refusals, *home.modified] == [(an_id(), REQUIRE_AND_TAG), (an_id(), REQUIRE)]

    def test_the_second_change_rests_on_a_look_of_its_own(self, clients: FakeClients, home: FakeEc2) -> None:
        """At once: nothing has to be waited for."""
        Batch(clients, events.a_message(events.running()), policy=TAGGED)
        assert home.calls == [READ, MODIFY, READ, MODIFY, READ]
        assert [age for _, age in home.sent] == [0, 0]
        assert clients.clock.elapsed == 0

    def test_each_change_is_intended_first(self, clients: FakeClients) -> None:
        """The second in the place of the first, which came to nothing."""
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
        """IPv6 is: EC2 may refuse that too, and then IMDSv1 would stay."""
        Batch(clients, events.a_message(events.running()), policy=FULL)
        assert home.modified == [(an_id(), replace(REQUIRE, http_put_response_hop_limit=2))]

    def test_a_container_host_gets_its_hops(self, clients: FakeClients, home: FakeEc2) -> None:
        """The very instances whose tag keys have a slash."""
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
        """Holds are asked for again after the second look."""
        hold = Hold(instance_id=an_id(), reason="vendor agent", by="ann", at=clients.clock.now())
        home.modify_seconds = 1
        clients.clock.at(0.5, lambda: clients.ledger_table.holds.write([hold]))
        batch = Batch(clients, events.a_message(events.running()), policy=TAGGED)
        assert batch.outcomes == {an_id(): Outcome.HELD}
        assert len(home.sent) == 1

    def test_if_the_second_is_refused_too_it_fails_with_its_own_code(self, clients: FakeClients, home: FakeEc2) -> None:
        """What the first was refused for may not have been the option: it is not noted."""
        for failure in (UNAUTHORIZED, a_failure("UnsupportedOperation", "HttpTokens is not supported.")):
            home.modify_errors[an_id()] = [a_failure("InvalidParameterValue", "InstanceMetadataTags"), failure]
            home.forget_calls()
            ((result, _),) = Sweep(clients, TAGGED).log
            assert (result.outcome, result.failure) == (Outcome.FAILED, failure)
            assert len(home.sent) == 2
        assert clients.ledger_table.notes.refusals(HOME) == {}

    @pytest.mark.parametrize("failure", [UNAUTHORIZED, a_failure("OperationNotPermitted")])
    def test_another_refusal_is_final(self, clients: FakeClients, home: FakeEc2, failure: object) -> None:
        """It is about the caller or the instance, and no smaller change would be allowed either."""
        home.modify_errors[an_id()] = [failure]  # type: ignore[list-item]  # as parametrized
        ((result, _),) = Sweep(clients, TAGGED).log
        assert (result.outcome, result.failure) == (Outcome.FAILED, failure)
        assert len(home.sent) == 1

    @pytest.mark.parametrize("failure", [THROTTLED, SERVER_FAULT])
    def test_the_second_is_tried_like_any_other(self, clients: FakeClients, home: FakeEc2, failure: object) -> None:
        """Throttled or unanswered, it is sent again, and still without the option."""
        home.modify_errors[an_id()] = [a_failure("InvalidParameterValue", "tag key"), failure]  # type: ignore[list-item]
        ((result, _),) = Sweep(clients, TAGGED).log
        assert result.outcome is Outcome.REMEDIATED
        assert home.refusals == []
        assert home.modified == [(an_id(), REQUIRE)]

    def test_a_second_that_was_made_though_it_was_not_answered_is_remediated(
        self, clients: FakeClients, home: FakeEc2
    ) -> None:
        """The look shows it; skipped would be half the truth."""
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

    def test_at_the_deadline_it_waits_for_the_next_run(self, clients: FakeClients, home: FakeEc2) -> None:
        """It has not failed: nothing forbids what is left of the change."""
        home.modify_seconds = 50
        batch = Batch(clients, events.a_message(events.running(), "m-1"), policy=TAGGED)
        assert batch.outcomes == {an_id(): Outcome.DEFERRED}
        assert batch.again == ["m-1"]

    def test_what_went_wrong_before_is_forgotten_then(self, clients: FakeClients, home: FakeEc2) -> None:
        """EC2 has answered since: at the deadline nothing has failed."""
        home.modify_errors[an_id()] = [SERVER_FAULT]
        home.modify_seconds = 20
        batch = Batch(clients, events.a_message(events.running()), policy=TAGGED)
        ((result, _),) = batch.log
        assert (result.outcome, result.failure) == (Outcome.DEFERRED, None)
        assert len(home.sent) == 2

    def test_a_second_that_does_not_show_is_not_noted(self, clients: FakeClients, home: FakeEc2) -> None:
        """It may be about more than the option."""
        home.ignored = {an_id()}
        ((result, _),) = Sweep(clients, TAGGED).log
        assert (result.outcome, result.failure and result.failure.code) == (Outcome.FAILED, "ReadBackDiffers")
        assert clients.ledger_table.notes.refusals(HOME) == {}

    @pytest.mark.parametrize("end", ["terminated", "off", "differs"])
    def test_only_an_instance_that_was_changed_is_reported_to_lack_an_option(
        self, clients: FakeClients, home: FakeEc2, end: str
    ) -> None:
        """Of one that is gone, off or unchanged the mail would give the wrong reason for the lack."""
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

    def test_a_tag_that_goes_while_the_run_goes_on_has_the_option_tried_again(
        self, clients: FakeClients, home: FakeEc2
    ) -> None:
        """What is noted goes by the tags that were there when EC2 refused it."""
        home.on_refusal = lambda *_: home.remove_tag(an_id(), BAD_KEY)
        assert Sweep(clients, TAGGED).report.outcomes == {Outcome.REMEDIATED: 1}
        assert home.modified == [(an_id(), REQUIRE)]
        assert Sweep(clients, TAGGED).report.outcomes == {Outcome.REMEDIATED: 1}
        assert home.actual(an_id()).options == replace(V2_ONLY, instance_metadata_tags=Switch.ENABLED)

    def test_a_table_that_took_no_outcome_is_not_waited_for_again(self, clients: FakeClients) -> None:
        """For a note, which only saves a call."""
        asked: list[str] = []

        def refuse_outcomes(items: object) -> None:
            asked.append(str(items))
            clients.table.write_failure = None if "'open'" in str(items) else THROTTLED

        clients.table.before_write = refuse_outcomes
        assert Sweep(clients, TAGGED).report.outcomes == {Outcome.REMEDIATED: 1}
        assert not any("refused#" in each for each in asked)


def test_if_only_the_option_is_missing_there_is_no_second_change(clients: FakeClients, home: FakeEc2) -> None:
    """Tokens are required already; the reason has EC2's words, and the log its code."""
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
    """What was refused is noted."""

    @pytest.fixture(autouse=True)
    def _noted(self, clients: FakeClients, home: FakeEc2) -> None:
        home.launch(refusing())
        Sweep(clients, TAGGED)
        home.forget_calls()
        clients.table.requests.clear()

    def test_nothing_is_sent(self, clients: FakeClients, home: FakeEc2) -> None:
        """Only the option counts as skipped, and nothing is written."""
        sweep = Sweep(clients, TAGGED)
        assert sweep.report.outcomes == {Outcome.SKIPPED: 1}
        assert sweep.report.compliant == 0
        assert home.sent == []
        assert clients.table.requests == [NOTES]

    def test_an_event_sends_nothing_either(self, clients: FakeClients, home: FakeEc2) -> None:
        """And its message does not come back."""
        batch = Batch(clients, events.a_message(events.running()), policy=TAGGED)
        ((result, _),) = batch.log
        assert (result.outcome, result.reason) == (Outcome.SKIPPED, f"{TAGS}; {REFUSED}")
        assert home.sent == []
        assert batch.again == []

    @pytest.mark.parametrize("drift", [{"http_tokens": HttpTokens.OPTIONAL}, {"http_put_response_hop_limit": 3}])
    def test_drift_is_corrected_with_one_change(
        self, clients: FakeClients, home: FakeEc2, drift: dict[str, object]
    ) -> None:
        """Without the option, which is named all the same."""
        home.set_options(an_id(), **drift)
        ((result, _),) = Sweep(clients, replace(TAGGED, http_put_response_hop_limit=1)).log
        assert result.outcome is Outcome.REMEDIATED
        assert result.reason.endswith(f"{TAGS}; {REFUSED}")
        assert home.actual(an_id()).options == V2_ONLY
        assert home.refusals == []
        assert len(home.sent) == 1

    def test_another_option_is_set_with_one_change(self, clients: FakeClients, home: FakeEc2) -> None:
        """It was not refused."""
        Sweep(clients, replace(TAGGED, http_protocol_ipv6=Switch.ENABLED))
        assert home.sent_ids == [an_id()]
        assert home.actual(an_id()).options == replace(V2_ONLY, http_protocol_ipv6=Switch.ENABLED)

    def test_it_is_tried_again_once_the_tag_is_gone(self, clients: FakeClients, home: FakeEc2) -> None:
        """The tags' keys are what EC2 looks at."""
        home.remove_tag(an_id(), BAD_KEY)
        ((result, _),) = Sweep(clients, TAGGED).log
        assert (result.outcome, result.reason) == (Outcome.REMEDIATED, TAGS)
        assert home.actual(an_id()).options == replace(V2_ONLY, instance_metadata_tags=Switch.ENABLED)

    def test_it_is_tried_as_soon_as_a_look_shows_that_the_tag_is_gone(
        self, clients: FakeClients, home: FakeEc2
    ) -> None:
        """In the middle of a run too: what was refused to another run is known from its note, and that is over."""
        home.set_options(an_id(), http_tokens=HttpTokens.OPTIONAL)
        home.modify_errors[an_id()] = [SERVER_FAULT]
        clients.clock.at(clients.clock.elapsed + 1, lambda: home.remove_tag(an_id(), BAD_KEY))
        Sweep(clients, TAGGED)
        assert home.modified == [(an_id(), REQUIRE_AND_TAG)]

    def test_it_is_not_tried_again_for_another_value_of_a_tag(self, clients: FakeClients, home: FakeEc2) -> None:
        """Some tools write one every hour."""
        home.set_tags(an_id(), **{BAD_KEY: "windows"})
        Sweep(clients, TAGGED)
        assert home.sent == []

    def test_another_value_in_the_policy_is_tried(self, clients: FakeClients, home: FakeEc2) -> None:
        """EC2 refused the one, not the other."""
        home.set_options(an_id(), instance_metadata_tags=Switch.ENABLED)
        Sweep(clients, replace(TAGGED, instance_metadata_tags=Switch.DISABLED))
        assert home.actual(an_id()).options == V2_ONLY

    def test_it_is_tried_again_after_a_month(self, clients: FakeClients, home: FakeEc2) -> None:
        """The instance may have another type by then, or EC2 other rules."""
        for days, calls in ((29, 0), (1.1, 1), (1, 1)):
            clients.clock.advance(timedelta(days=days).total_seconds())
            Sweep(clients, TAGGED)
            assert len(home.sent) == calls

    def test_a_note_that_cannot_be_read_is_passed_over(self, clients: FakeClients, home: FakeEc2) -> None:
        """It is asked for again, noted again, and what was wrong is logged."""
        (key,) = [key for key in clients.table.items if key[0] == f"refused#{HOME}"]
        clients.table.items[key] |= {"refused": "[[1]]"}
        assert Sweep(clients, TAGGED).report.outcomes == {Outcome.SKIPPED: 1}
        assert len(home.sent) == 1
        assert clients.ledger_table.unreadable() == {key}
        Sweep(clients, TAGGED)
        assert len(home.sent) == 1

    def test_an_audit_reads_the_note_and_writes_nothing(self, clients: FakeClients, home: FakeEc2) -> None:
        """Neither to EC2 nor to the table."""
        sweep = Sweep(clients, replace(TAGGED, mode=Mode.AUDIT))
        assert sweep.report.outcomes == {Outcome.SKIPPED: 1}
        assert home.sent == []
        assert clients.table.writes == 0

    def test_the_inventory_names_the_instance(self, clients: FakeClients) -> None:
        """With a line in the log, and a place in the report; an ordinary sweep has the place."""
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
    """Most policies name none."""
    home.launch(*(refusing(number, V2_ONLY) for number in range(5)))
    Sweep(clients, a_policy())
    assert NOTES not in clients.table.requests
    Sweep(clients, TAGGED)
    assert clients.table.requests.count(NOTES) == 1


def test_of_two_options_the_other_is_tried_by_the_next_run(clients: FakeClients, home: FakeEc2) -> None:
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


def test_where_ec2_names_neither_of_two_options_both_are_skipped(clients: FakeClients, home: FakeEc2) -> None:
    """Which one it meant cannot be told without asking again and again."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [a_failure("InvalidParameterCombination")]
    Sweep(clients, FULL)
    Sweep(clients, FULL)
    assert len(home.sent) == 2


def test_a_note_that_cannot_be_written_does_not_undo_the_change(clients: FakeClients, home: FakeEc2) -> None:
    """The next run asks again; the report says that the table did not take everything."""
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


def test_without_a_table_the_run_itself_remembers(clients: FakeClients, home: FakeEc2, clock: FakeClock) -> None:
    """As where the command is used without a deployment; the next one asks again."""
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


def test_both_changes_are_one_for_the_limit_of_a_sweep(clients: FakeClients, home: FakeEc2) -> None:
    """An instance that was refused the first keeps its place for the second."""
    home.launch(*map(refusing, range(9)))
    report = Sweep(clients, replace(TAGGED, max_changes_per_sweep=2)).report
    assert report.outcomes == {Outcome.REMEDIATED: 2, Outcome.DEFERRED: 7}
    assert len(home.sent) == 4


def test_an_option_that_the_region_does_not_have_is_refused_once_to_each(clients: FakeClients, home: FakeEc2) -> None:
    """Also where the policy would switch it off."""
    home.unsupported = {"InstanceMetadataTags"}
    home.launch(an_instance(1), an_instance(2, replace(V1_ALLOWED, instance_metadata_tags=Switch.ENABLED)))
    policy = replace(TAGGED, instance_metadata_tags=Switch.DISABLED)
    assert Sweep(clients, policy).report.outcomes == {Outcome.REMEDIATED: 2}
    assert Sweep(clients, policy).report.outcomes == {Outcome.SKIPPED: 1}
    assert len(home.sent) == 3


def test_an_old_type_gets_no_ipv6(clients: FakeClients, home: FakeEc2) -> None:
    """And requires tokens."""
    home.launch(an_instance())
    home.xen = {an_id()}
    ((result, _),) = Sweep(clients, replace(TAGGED, instance_metadata_tags=None, http_protocol_ipv6=Switch.ENABLED)).log
    assert result.outcome is Outcome.REMEDIATED
    assert result.reason.endswith(f"EC2 refused HttpProtocolIpv6=enabled ({NO_IPV6})")
