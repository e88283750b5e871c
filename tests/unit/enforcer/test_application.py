from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from imds_enforcer.enforcement import remediation
from imds_enforcer.model import AwsError
from imds_enforcer.runs.event_fields import MalformedEventError
from tests.fakes import example_events as events
from tests.fakes.example_events import a_batch, a_message
from tests.fakes.examples import (
    ACCOUNT,
    AWAY,
    DENIED_BY_SCP,
    HOME,
    OTHER_ACCOUNT,
    POLICY_PARAMETER,
    SERVER_FAULT,
    THROTTLED,
    TOKENS_PARAMETER,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)
from tests.fakes.runs import App, Documents, metric_names

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2

SCHEDULE = {"trigger": "schedule"}
INVENTORY = {"inventory": True}
POLICY_CHANGE = {"source": "aws.ssm", "detail-type": "Parameter Store Change", "detail": {"operation": "Update"}}
UNREACHABLE = ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "GetParameters")
INVALID = 'mode is "off"; allowed: enforce, audit'


def test_a_batch_is_enforced_and_acknowledged(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """No message comes back, no mail is sent."""
    home.launch(an_instance())
    assert app.batch(a_message(events.running())) == []
    assert home.actual(an_id()).options == V2_ONLY
    assert clients.fake_queue.delays == {}
    assert clients.topic.mails == []


def test_a_batchs_clients_are_made_while_its_policy_is_read(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """Making clients takes CPU, and reading the policy takes time."""
    home.launch(an_instance())
    clients.ssm.delay = lambda: prepared.append(clients.prepared.wait(timeout=10))
    prepared: list[bool] = []
    app.batch(a_message(events.running()))
    assert prepared[0] is True


def test_the_toggle_is_followed_both_ways(app: App, clients: FakeClients, clock: FakeClock, home: FakeEc2) -> None:
    """The policy can demand `optional` too."""
    home.launch(an_instance(1, V2_ONLY))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    app.batch(a_message(events.running()))
    assert home.actual(an_id()).options == V1_ALLOWED
    clients.ssm.put(TOKENS_PARAMETER, "required")
    clock.advance(6)
    app.batch(a_message(events.running()))
    assert home.actual(an_id()).options == V2_ONLY


def test_a_malformed_message_fails_alone_and_comes_back_at_once(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """Nine are handled; one ends in the dead-letter queue, with its reason in the log."""
    home.launch(*map(an_instance, range(1, 10)))
    good = [a_message(events.running(an_id(number)), f"m-{number}") for number in range(1, 10)]
    assert app.batch(*good[:4], a_message("{", "poison", receives=3), *good[4:]) == ["poison"]
    assert clients.fake_queue.delays == {"poison": 0}
    assert len(home.modified) == 9
    (line,) = [line for line in log_lines() if line["level"] == "ERROR"]
    assert (line["message"], line["message_id"]) == ("a message cannot be handled", "poison")
    assert line["error"].startswith("the body is not JSON")


def test_the_delay_of_a_message_grows(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """With the number of its deliveries."""
    home.launch(*map(an_instance, range(1, 4)))
    for number in range(1, 4):
        home.modify_errors[an_id(number)] = [SERVER_FAULT] * 3
    messages = [a_message(events.running(an_id(n)), f"m-{n}", receives) for n, receives in [(1, 1), (2, 4), (3, 12)]]
    assert app.batch(*messages) == ["m-1", "m-2", "m-3"]
    assert clients.fake_queue.delays == {"m-1": 5, "m-2": 40, "m-3": 300}


def test_messages_are_reported_even_if_they_cannot_be_delayed(
    app: App, clients: FakeClients, log_lines: Documents
) -> None:
    """They come back after the queue's own time-out, and the log says why."""
    clients.fake_queue.failure = UNAUTHORIZED
    assert app.batch(a_message(events.running())) == ["m-1"]
    line = log_lines()[-1]
    assert line["message"] == "messages come back only after the queue's visibility time-out"
    assert line["code"] == "UnauthorizedOperation"


def test_a_message_that_could_not_be_checked_comes_back_later(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """After a delay, as it is not malformed; there is no run to report."""
    home.regions_error = THROTTLED
    assert app.batch(a_message(events.running(region=AWAY), receives=2)) == ["m-1"]
    assert clients.fake_queue.delays == {"m-1": 10}
    (line,) = log_lines()
    assert (line["level"], line["message"], line["message_id"]) == (
        "WARNING",
        "a message could not be checked",
        "m-1",
    )


def test_unchecked_and_failed_messages_both_come_back(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """Each after its own delay, malformed ones at once; the rest of the batch is handled."""
    home.launch(an_instance(1), an_instance(2))
    home.regions_error = THROTTLED
    home.modify_errors[an_id(2)] = [SERVER_FAULT] * 3
    messages = (
        a_message("{", "poison", 2),
        a_message(events.running(region=AWAY), "unchecked", 2),
        a_message(events.running(an_id(1)), "done"),
        a_message(events.running(an_id(2)), "faulty", 3),
    )
    assert sorted(app.batch(*messages)) == ["faulty", "poison", "unchecked"]
    assert clients.fake_queue.delays == {"poison": 0, "unchecked": 10, "faulty": 20}
    assert home.modified_ids == [an_id(1)]


def test_without_a_list_of_regions_only_the_policys_regions_are_handled(
    app: App, clients: FakeClients, home: FakeEc2, away: FakeEc2, log_lines: Documents
) -> None:
    """Events of regions that the policy includes are handled; one line counts those of the others."""
    home.regions_error = DENIED_BY_SCP
    away.launch(an_instance())
    event = a_message(events.running(region=AWAY))
    assert app.batch(event) == []
    assert away.calls == []
    (line,) = [line for line in log_lines() if line["level"] == "WARNING"]
    assert line["message"] == "events of regions that EC2 does not list were ignored"
    assert line["regions"] == {AWAY: 1}
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"regions": {"include": [HOME, AWAY]}}))
    clients.clock.advance(60)
    assert app.batch(event) == []
    assert away.modified_ids == [an_id()]


def test_a_message_from_a_region_that_is_not_enabled_is_malformed(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """It fails alone, with its reason in the log."""
    home.launch(an_instance())
    assert app.batch(a_message(events.running(region="eu-north-9"), "m-1"), a_message(events.running(), "m-2")) == [
        "m-1"
    ]
    assert clients.fake_queue.delays == {"m-1": 0}
    (line,) = [line for line in log_lines() if line["level"] == "ERROR"]
    assert (line["message_id"], line["error"]) == (
        "m-1",
        "region is eu-north-9; allowed: the regions enabled in the account",
    )


@pytest.mark.parametrize("policy", ["{}", "{"])
def test_events_of_other_accounts_are_acknowledged_and_counted(
    app: App, clients: FakeClients, log_lines: Documents, metrics: Documents, policy: str
) -> None:
    """Under any policy; nothing else happens, and one line names their accounts."""
    clients.ssm.put(POLICY_PARAMETER, policy)
    accounts = (OTHER_ACCOUNT, OTHER_ACCOUNT, "777788889999")
    theirs = [a_message(events.running(account=each), f"m-{number}") for number, each in enumerate(accounts)]
    assert app.batch(*theirs) == []
    assert clients.fake_queue.delays == {}
    assert clients.ec2_calls == []
    (line,) = [line for line in log_lines() if "foreign_accounts" in line]
    assert line["foreign_accounts"] == {OTHER_ACCOUNT: 2, "777788889999": 1}
    assert [document["ForeignEvents"] for document in metrics() if "ForeignEvents" in document] == [[3.0]]


def test_a_batch_without_events_of_other_accounts_does_not_mention_them(
    app: App, home: FakeEc2, log_lines: Documents, metrics: Documents
) -> None:
    """There is neither a line nor a count of zero."""
    home.launch(an_instance())
    app.batch(a_message(events.running()))
    assert not any("foreign_accounts" in line for line in log_lines())
    assert "ForeignEvents" not in metric_names(metrics())


def test_a_change_of_another_accounts_policy_starts_no_sweep(
    app: App, clients: FakeClients, home: FakeEc2, metrics: Documents
) -> None:
    """And sends no mail that the policy was changed."""
    home.launch(an_instance())
    assert app.invoke({"source": "aws.ssm", "account": OTHER_ACCOUNT}) == {}
    assert (clients.ec2_calls, clients.topic.mails) == ([], [])
    assert metric_names(metrics()) == {"ForeignEvents"}


def test_under_an_invalid_policy_a_batch_costs_no_call_to_ec2(
    app: App,
    clients: FakeClients,
    home: FakeEc2,
    log_lines: Documents,
    metrics: Documents,
) -> None:
    """Not even for regions. It is acknowledged: the sweep of the fixed policy does what was missed."""
    home.launch(an_instance())
    clients.ssm.put(POLICY_PARAMETER, '{"mode": "off"}')
    elsewhere = a_message(events.running(region=AWAY), "m-3")
    assert app.batch(a_message(events.running(), "m-1"), a_message("{", "m-2"), elsewhere) == ["m-2"]
    assert clients.ec2_calls == []
    assert clients.topic.mails == []
    line = next(line for line in log_lines() if line["message"] == "the policy is invalid: nothing was changed")
    assert line["error"].startswith(INVALID)
    assert line["policy_versions"] == {"http_tokens": 1, "policy": 2}
    assert metric_names(metrics()) == {"PolicyInvalid"}


def test_the_sweep_of_the_fixed_policy_does_what_was_missed(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """Without a deployment: the policy's change starts a sweep."""
    home.launch(an_instance())
    clients.ssm.put(POLICY_PARAMETER, "{")
    app.batch(a_message(events.running()))
    clients.ssm.put(POLICY_PARAMETER, "{}")
    assert app.invoke(POLICY_CHANGE)["outcomes"] == {"REMEDIATED": 1}
    assert home.actual(an_id()).options == V2_ONLY


def test_without_parameter_store_a_batch_goes_back(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """With a delay; nothing is changed under an unknown policy."""
    home.launch(an_instance())
    clients.ssm.error = UNREACHABLE
    here, away = a_message(events.running(), "m-1"), a_message(events.drift(region=AWAY), "m-2", 2)
    assert sorted(app.batch(here, away, a_message("{", "m-3"))) == ["m-1", "m-2", "m-3"]
    assert clients.fake_queue.delays == {"m-1": 5, "m-2": 10, "m-3": 0}
    assert clients.ec2_calls == []
    (line,) = [line for line in log_lines() if line["message"].startswith("Parameter Store is out of reach")]
    assert line["code"] == "ThrottlingException"


def test_a_batch_of_malformed_messages_costs_no_call_to_ec2(
    app: App,
    clients: FakeClients,
    log_lines: Documents,
    metrics: Documents,
) -> None:
    """And there is no run to report."""
    assert app.batch(a_message("{")) == ["m-1"]
    assert clients.ec2_calls == []
    assert [line["message"] for line in log_lines()] == ["a message cannot be handled"]
    assert metric_names(metrics()) == set()


def test_each_invocation_reads_the_policy_once(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """Its changes rely on that answer while it is fresh."""
    home.launch(*map(an_instance, range(1, 4)))
    for number in range(1, 4):
        app.batch(a_message(events.running(an_id(number))))
        assert len(clients.ssm.requests) == number
    assert len(home.modified) == 3
    app.invoke(SCHEDULE)
    app.invoke({})
    assert len(clients.ssm.requests) == 5


def test_a_thawed_process_follows_the_present_policy(
    app: App, clients: FakeClients, clock: FakeClock, home: FakeEc2
) -> None:
    """Its monotonic clock stood still while it was frozen, so the last answer looks fresh."""
    home.launch(an_instance(1), an_instance(2))
    app.batch(a_message(events.running(an_id(1))))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clock.freeze(3_600)
    app.batch(a_message(events.running(an_id(1))), a_message(events.running(an_id(2)), "m-2"))
    assert (home.actual(an_id(1)).options, home.actual(an_id(2)).options) == (V1_ALLOWED, V1_ALLOWED)


def test_a_thawed_process_that_cannot_read_the_policy_changes_nothing(
    app: App, clients: FakeClients, clock: FakeClock, home: FakeEc2
) -> None:
    """The policy from before the freeze does not count."""
    app.batch(a_message(events.running()))
    home.launch(an_instance())
    clock.freeze(3_600)
    clients.ssm.error = UNREACHABLE
    assert app.batch(a_message(events.running())) == ["m-1"]
    with pytest.raises(AwsError, match="Rate exceeded"):
        app.invoke(SCHEDULE)
    assert home.modified == []


def test_a_thawed_process_has_ec2s_full_limit_again(clients: FakeClients, clock: FakeClock, home: FakeEc2) -> None:
    """EC2's own bucket has refilled: the second burst is as fast as the first."""
    app = App(clients)
    home.launch(*map(an_instance, range(200)))
    for first in (0, 100):
        began = clock.elapsed
        app.batch(*(a_message(events.running(an_id(n)), f"m-{n}") for n in range(first, first + 100)))
        assert clock.elapsed - began < 1
        clock.freeze(60)
    assert len(home.modified) == 200


@pytest.mark.parametrize(
    ("event", "seconds_left", "write_seconds"),
    [
        (SCHEDULE, 900, 720),
        (SCHEDULE, 400, 350),
        (a_batch(a_message(events.launch_without_ids())), 900, 40),
        (a_batch(a_message(events.launch_without_ids())), 70, 20),
        (a_batch(a_message(events.launch_without_ids())), 30, 0),
    ],
)
def test_writing_ends_in_time_for_verification_and_report(  # fixtures, and what is to be seen
    app: App,
    home: FakeEc2,
    monkeypatch: pytest.MonkeyPatch,
    event: dict[str, Any],
    seconds_left: float,
    write_seconds: float,
) -> None:
    """At the run's own deadline or 50 seconds before the end of the invocation, whichever is first."""
    # One after the other: in parallel, several could begin before one of them makes the others too late.
    monkeypatch.setattr(remediation, "MAX_CONNECTIONS", 1)
    home.launch(*map(an_instance, range(20)))
    home.page_size = 1
    home.modify_seconds = write_seconds / 10 or 1
    app.invoke(event, seconds_left)
    assert len(home.modified) == (10 if write_seconds else 0)


def test_any_other_input_is_an_error(app: App, clients: FakeClients) -> None:
    """No call is made."""
    with pytest.raises(MalformedEventError):
        app.invoke({"hello": "world"})
    assert clients.ssm.requests == []
    assert clients.ec2_calls == []


def test_every_log_line_names_the_run_and_its_policy(
    app: App, clients: FakeClients, clock: FakeClock, log_lines: Documents
) -> None:
    """Even a line about a malformed message; no line has the versions of an earlier invocation."""
    messages = a_message("{"), a_message(events.running(), "m-2")
    app.batch(*messages)
    clients.ssm.put(POLICY_PARAMETER, '{"mode": "audit"}')
    clock.advance(6)
    app.batch(*messages)
    lines = log_lines()
    assert [line["run_id"] for line in lines] == ["run-1"] * 3 + ["run-2"] * 3
    assert {line["account"] for line in lines} == {ACCOUNT}
    assert [line["policy_versions"] for line in lines] == [
        {"http_tokens": 1, "policy": version} for version in (1, 1, 1, 2, 2, 2)
    ]


def test_log_lines_without_a_policy_name_no_versions(
    app: App, clients: FakeClients, clock: FakeClock, log_lines: Documents
) -> None:
    """Above all not those that were read before Parameter Store went out of reach."""
    app.batch(a_message(events.running()))
    clock.advance(6)
    clients.ssm.error = UNREACHABLE
    before = len(log_lines())
    app.batch(a_message(events.running()))
    (line,) = log_lines()[before:]
    assert line["policy_versions"] == {"http_tokens": 0, "policy": 0}
