"""Refused credentials end the run at once, or its part in the one region that refuses them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from imds_enforcer.aws.ledger_items import lease_of
from imds_enforcer.limits.cancellation import Cancellation
from imds_enforcer.model import AwsError, Kind, Outcome
from tests.fakes import example_events as events
from tests.fakes.example_events import a_message
from tests.fakes.examples import (
    AWAY,
    EXPIRED,
    HOME,
    NOT_HERE,
    POLICY_PARAMETER,
    THROTTLED,
    TOKENS_PARAMETER,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)
from tests.fakes.in_turn import without_threads
from tests.fakes.runs import App, Batch, Documents, Sweep, ledger, metric_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from imds_enforcer.model import Failure
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

SENTENCE = f"AWS does not accept the credentials ({EXPIRED})"
WHY = "HttpTokens is optional, not required"
SCHEDULE = {"trigger": "schedule"}
POLICY_CHANGE = {"source": "aws.ssm", "detail-type": "Parameter Store Change", "detail": {"operation": "Update"}}


def _client_error(failure: Failure) -> ClientError:
    return ClientError({"Error": {"Code": failure.code, "Message": failure.message}}, "GetParameters")


def _calls(clients: FakeClients) -> int:
    """How many calls were made, to any service."""
    asked = sum(len(metrics.requests) for metrics in clients.metrics.values())
    sent = len(clients.topic.mails) + len(clients.fake_queue.delays)
    return len(clients.ec2_calls) + len(clients.table.requests) + len(clients.ssm.requests) + asked + sent


@pytest.fixture
def at_refusal(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of calls made each time the run met refused credentials. All work runs in one thread."""
    without_threads(monkeypatch)
    seen: list[int] = []
    heed = Cancellation.heed

    def watched(cancellation: Cancellation, failure: Failure) -> None:
        if failure.kind is Kind.CREDENTIALS:
            seen.append(_calls(clients))
        heed(cancellation, failure)

    monkeypatch.setattr(Cancellation, "heed", watched)
    return seen


@pytest.fixture
def fleet(home: FakeEc2, away: FakeEc2) -> None:
    """Forty instances that differ in one region, ten in the other."""
    _launch(home, away)


def _launch(home: FakeEc2, away: FakeEc2) -> None:
    home.launch(*map(an_instance, range(40)))
    away.launch(*(an_instance(number) for number in range(40, 50)))


def test_the_first_refused_change_ends_the_sweep(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, at_refusal: list[int]
) -> None:
    """Changes sent before are reported as they are, all others are deferred, and no region gets another call."""
    _launch(home, away)
    home.modify_errors[an_id(2)] = [EXPIRED]
    done = Sweep(clients)
    by_id = {result.instance_id: result for result, _ in done.log}
    sent = {an_id(number): by_id.pop(an_id(number)) for number in range(3)}
    accepted = f"EC2 accepted the change, but the read-back failed ({EXPIRED}); {WHY}"
    assert [(each.outcome, each.reason) for each in sent.values()] == [
        (Outcome.PENDING, accepted),
        (Outcome.PENDING, accepted),
        (Outcome.FAILED, str(EXPIRED)),
    ]
    assert {(each.outcome, each.reason) for each in by_id.values()} == {(Outcome.DEFERRED, f"{SENTENCE}; {WHY}")}
    assert len(by_id) == 37
    assert home.sent_ids == [an_id(0), an_id(1), an_id(2)]
    assert away.calls == []
    assert _calls(clients) == at_refusal[0]
    assert (done.report.stopped, done.report.credentials_refused) == (SENTENCE, EXPIRED)
    assert {name: str(part.failure) for name, part in done.report.failed_regions.items()} == {AWAY: str(EXPIRED)}
    assert done.report.stopped_regions == {}, "it is the run that ended, and not the regions one by one"
    assert clients.clock.elapsed < 1


def test_the_next_sweep_completes_open_entries(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, at_refusal: list[int]
) -> None:
    """The run could write the intents, but not their outcomes."""
    _launch(home, away)
    home.modify_errors[an_id(2)] = [EXPIRED]
    part = Sweep(clients).report.regions[HOME]
    assert at_refusal
    assert part.ledger_failure == EXPIRED
    assert {entry.outcome for entry in ledger(clients)} == {None}
    clients.clock.advance(3_600)
    App(clients, "next").invoke(SCHEDULE)
    outcomes = {entry.instance_id: entry.outcome for entry in ledger(clients)}
    assert len(outcomes) == 50
    assert None not in outcomes.values()
    assert outcomes[an_id(0)] == Outcome.REMEDIATED


def test_a_batch_comes_back_whole(
    app: App, clients: FakeClients, home: FakeEc2, away: FakeEc2, at_refusal: list[int], log_lines: Documents
) -> None:
    """After the queue's own delay: the call to set another would be refused too."""
    _launch(home, away)
    home.modify_errors[an_id(2)] = [EXPIRED]
    messages = [a_message(events.running(an_id(number)), f"m-{number}") for number in range(40)]
    assert app.batch(*messages) == [f"m-{number}" for number in range(40)]
    assert clients.fake_queue.delays == {}
    assert _calls(clients) == at_refusal[0]
    outcomes = [line["outcome"] for line in log_lines() if "outcome" in line]
    assert [outcomes.count(each) for each in ("PENDING", "DEFERRED", "FAILED")] == [2, 38, 0]
    (error,) = [line for line in log_lines() if line["level"] == "ERROR"]
    assert error["message"] == "AWS does not accept the credentials: the run has ended; the batch comes back"
    assert error["error"] == str(EXPIRED)


def test_unchecked_messages_come_back_too(app: App, home: FakeEc2) -> None:
    """Like the rest of the batch, which is not worked on."""
    home.launch(an_instance(1))
    home.regions_error = THROTTLED
    home.read_errors = {1: EXPIRED}
    messages = (a_message(events.running(an_id(1)), "here"), a_message(events.running(region=AWAY), "unchecked"))
    assert sorted(app.batch(*messages)) == ["here", "unchecked"]


def _gated(clients: FakeClients) -> None:
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"legacy_calls": {}}))


def _in_listing(_: FakeClients, home: FakeEc2) -> None:
    home.page_size, home.find_errors = 7, {2: EXPIRED}


def _in_holds(clients: FakeClients, _: FakeEc2) -> None:
    clients.table.read_failure = EXPIRED


def _in_ledger(clients: FakeClients, _: FakeEc2) -> None:
    clients.table.write_failure = EXPIRED


def _in_policy(clients: FakeClients, home: FakeEc2) -> None:
    def expire() -> None:
        clients.ssm.error = _client_error(EXPIRED)

    home.modify_seconds = 1
    clients.clock.at(2.5, expire)


def _in_gate(clients: FakeClients, _: FakeEc2) -> None:
    _gated(clients)
    for metrics in clients.metrics.values():
        metrics.failure = EXPIRED


def _in_notes_of_the_gate(clients: FakeClients, _: FakeEc2) -> None:
    def fail(request: str) -> None:
        if request.startswith("Query calls"):
            clients.table.read_failure = EXPIRED

    _gated(clients)
    clients.table.before_read = fail


def _in_defaults(clients: FakeClients, home: FakeEc2) -> None:
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    for number in range(40):
        home.set_options(an_id(number), http_tokens=V2_ONLY.http_tokens)
    home.defaults_error = EXPIRED


def _in_read_back(_: FakeClients, home: FakeEc2) -> None:
    home.read_errors = {1: EXPIRED}


@pytest.mark.parametrize(
    "expire",
    [
        _in_listing,
        _in_holds,
        _in_ledger,
        _in_policy,
        _in_gate,
        _in_notes_of_the_gate,
        _in_defaults,
        _in_read_back,
    ],
)
@pytest.mark.parametrize("mode", ["enforce", "audit"])
@pytest.mark.usefixtures("fleet")
def test_the_first_refused_call_is_the_last_call(
    app: App,
    clients: FakeClients,
    at_refusal: list[int],
    log_lines: Documents,
    expire: Callable[[FakeClients, FakeEc2], None],
    mode: str,
) -> None:
    """No instance fails or is reported as held because of it: those not yet tried are deferred."""
    expire(clients, clients.ec2(HOME))
    if mode == "audit":
        policy, _ = clients.ssm.values[POLICY_PARAMETER]
        clients.ssm.put(POLICY_PARAMETER, json.dumps({**json.loads(policy), "mode": "audit"}))
    answer = app.invoke(SCHEDULE)
    if mode == "audit" and expire in (_in_ledger, _in_policy, _in_read_back):
        assert at_refusal == [], "an audit does not make that call"
        return
    assert _calls(clients) == at_refusal[0]
    assert answer["stopped"] == SENTENCE
    assert answer["outcomes"].keys() <= {"DEFERRED", "REMEDIATED", "PENDING", "WOULD_REMEDIATE"}
    reasons = {line["reason"] for line in log_lines() if line.get("outcome") == "DEFERRED"}
    assert all(reason.startswith(SENTENCE) for reason in reasons)


@pytest.mark.parametrize("read", ["policy", "instances", "regions"])
def test_a_batch_that_cannot_begin_comes_back(
    app: App, clients: FakeClients, home: FakeEc2, at_refusal: list[int], log_lines: Documents, read: str
) -> None:
    """Nothing is changed or asked, and one line in the log says why."""
    home.launch(an_instance(1))
    message = a_message(events.running())
    if read == "policy":
        clients.ssm.error = _client_error(EXPIRED)
    elif read == "instances":
        home.read_errors = {1: EXPIRED}
    else:
        home.regions_error = EXPIRED
        message = a_message(events.running(region=AWAY))
    assert app.batch(message) == ["m-1"]
    assert _calls(clients) == (at_refusal[0] if at_refusal else {"policy": 1, "regions": 2}[read])
    (error,) = [line for line in log_lines() if line["level"] == "ERROR"]
    assert error["message"] == "AWS does not accept the credentials: the run has ended; the batch comes back"


def test_refused_credentials_end_a_policy_change_without_second_look_or_mail(
    app: App, clients: FakeClients, home: FakeEc2, away: FakeEc2, at_refusal: list[int]
) -> None:
    """AWS would refuse these calls too."""
    _launch(home, away)
    home.modify_errors[an_id(2)] = [EXPIRED]
    app.invoke(POLICY_CHANGE)
    assert clients.topic.mails == []
    assert len(clients.ssm.requests) == 1
    assert _calls(clients) == at_refusal[0]


def test_a_refused_second_look_makes_the_last_call(
    app: App, clients: FakeClients, home: FakeEc2, at_refusal: list[int]
) -> None:
    """The lease of the first look is left to expire."""
    home.launch(an_instance(1))
    home.find_errors = {2: EXPIRED}
    app.invoke(POLICY_CHANGE)
    assert _calls(clients) == at_refusal[0]
    assert lease_of(clients.table.items["lease", "sweep"]).expires_at > clients.clock.now()


def test_a_second_look_that_cannot_read_the_policy_does_not_begin(
    app: App, clients: FakeClients, home: FakeEc2, at_refusal: list[int]
) -> None:
    """No call follows."""

    def expire() -> None:
        clients.ssm.error = _client_error(EXPIRED)

    clients.clock.at(1, expire)
    app.invoke(POLICY_CHANGE)
    assert len(home.finds) == 1
    assert _calls(clients) == at_refusal[0]


def test_a_sweep_refused_at_the_list_of_regions_sends_no_mail_and_keeps_the_lease(
    app: App, clients: FakeClients, home: FakeEc2, at_refusal: list[int]
) -> None:
    """The sweep fails as a whole."""
    home.regions_error = EXPIRED
    with pytest.raises(AwsError):
        app.invoke(POLICY_CHANGE)
    assert clients.topic.mails == []
    assert _calls(clients) == at_refusal[0]


def test_a_refused_sweep_does_not_count_as_completed(
    app: App, home: FakeEc2, away: FakeEc2, at_refusal: list[int], log_lines: Documents, metrics: Documents
) -> None:
    """If it goes on, the alarm for missing sweeps fires; an inventory does not count a fleet that it did not see."""
    _launch(home, away)
    home.find_errors = {1: EXPIRED}
    app.invoke({"inventory": True})
    assert at_refusal
    names = metric_names(metrics())
    assert "RegionFailed" in names
    assert not names & {"SweepCompleted", "Instances", "CompliantInstances", "RegionStopped"}
    errors = [line["message"] for line in log_lines() if line["level"] == "ERROR"]
    assert errors == ["AWS does not accept the credentials: the run has ended"]


def test_the_next_invocation_tries_its_own_credentials(
    app: App, clients: FakeClients, home: FakeEc2, at_refusal: list[int]
) -> None:
    """They may have been renewed."""
    home.launch(an_instance(1))
    home.modify_errors[an_id(1)] = [EXPIRED]
    app.batch(a_message(events.running()))
    assert at_refusal
    assert app.batch(a_message(events.running())) == []
    assert home.actual(an_id(1)).options == V2_ONLY
    assert clients.fake_queue.delays == {}


def test_a_region_that_refuses_the_credentials_stops_alone(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, at_refusal: list[int]
) -> None:
    """It stops with its first answer; the others finish."""
    _launch(home, away)
    home.modify_errors[an_id(2)] = [NOT_HERE]
    home.visible_after = 1
    done = Sweep(clients)
    stopped = f"EC2 does not accept the credentials in this region ({NOT_HERE})"
    assert done.report.regions[AWAY].outcomes == {Outcome.REMEDIATED: 10}
    part = done.report.regions[HOME]
    assert part.outcomes == {Outcome.PENDING: 2, Outcome.FAILED: 1, Outcome.DEFERRED: 37}
    assert part.stopped == stopped
    assert len(home.sent) == 3
    assert home.reads == [], "a read-back would be refused too"
    assert done.report.stopped is None
    assert at_refusal == []
    outcomes = [entry.outcome for entry in ledger(clients) if entry.region == HOME]
    assert [outcomes.count(each) for each in (Outcome.PENDING, Outcome.FAILED, None)] == [2, 1, 0]


def test_a_region_that_refuses_a_page_gets_no_more_calls(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, at_refusal: list[int]
) -> None:
    """The instances that earlier pages named are deferred."""
    _launch(home, away)
    home.page_size, home.find_errors = 7, {2: NOT_HERE}
    done = Sweep(clients)
    part = done.report.regions[HOME]
    assert (part.outcomes, part.failure) == ({Outcome.DEFERRED: 7}, NOT_HERE)
    assert home.calls == ["DescribeInstances"] * 2
    assert done.report.regions[AWAY].outcomes == {Outcome.REMEDIATED: 10}
    assert at_refusal == []


def test_events_of_a_region_that_refuses_the_credentials_are_final(
    clients: FakeClients, home: FakeEc2, away: FakeEc2
) -> None:
    """The next delivery would get the same answer."""
    home.launch(an_instance(1))
    away.launch(an_instance(2))
    home.read_errors = {1: NOT_HERE}
    messages = [a_message(events.running(an_id(1))), a_message(events.running(an_id(2), region=AWAY), "m-2")]
    batch = Batch(clients, *messages)
    assert batch.outcomes == {an_id(1): Outcome.FAILED, an_id(2): Outcome.REMEDIATED}
    assert batch.again == []
    assert home.actual(an_id(1)).options == V1_ALLOWED
