"""Invocations that ask for a sweep: what they answer, publish and mail."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from imds_enforcer.aws.parameter_store import CACHE_SECONDS
from imds_enforcer.model import AwsError
from tests.fakes.examples import (
    AWAY,
    DENIED_BY_SCP,
    HOME,
    POLICY_PARAMETER,
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
    from imds_enforcer.model import Failure
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

SCHEDULE = {"trigger": "schedule"}
INVENTORY = {"inventory": True}
POLICY_CHANGE = {"source": "aws.ssm", "detail-type": "Parameter Store Change", "detail": {"operation": "Update"}}
UNREACHABLE = ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "GetParameters")
INVALID = 'mode is "off"; allowed: enforce, audit'


def test_a_sweep_answers_with_its_report(
    app: App,
    home: FakeEc2,
    log_lines: Documents,
    metrics: Documents,
) -> None:
    """It logs the same report, and counts as completed."""
    home.launch(an_instance())
    answer = app.invoke(SCHEDULE)
    assert (answer["run_id"], answer["trigger"]) == ("run-1", "schedule")
    assert answer["outcomes"] == {"REMEDIATED": 1}
    line = log_lines()[-1]
    assert (line["message"], line["report"]) == ("run finished", answer)
    assert metric_names(metrics()) == {"REMEDIATED", "SweepCompleted"}


@pytest.mark.parametrize(("event", "trigger"), [({}, "manual"), (SCHEDULE, "schedule")])
def test_a_sweep_sends_no_mail(app: App, clients: FakeClients, home: FakeEc2, event: object, trigger: str) -> None:
    """Alarms and the daily digest report failures."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [UNAUTHORIZED]
    assert app.invoke(event)["trigger"] == trigger
    assert clients.topic.mails == []


def test_a_change_of_the_policy_sweeps_and_is_mailed(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """The mail has the new versions and values."""
    home.launch(an_instance(1, V2_ONLY))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    assert app.invoke(POLICY_CHANGE)["trigger"] == "policy-change"
    assert home.actual(an_id()).options == V1_ALLOWED
    ((subject, text),) = clients.topic.mails
    assert subject == "imds-enforcer: The policy was changed"
    assert text.startswith("HttpTokens: optional (version 2)\nPolicy (version 1):\nmode: enforce\n")


def test_a_change_of_the_policy_is_followed_by_a_second_look(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """A run under the older policy may change an instance right after the first look: only the second corrects it."""
    home.launch(an_instance(1, V2_ONLY), an_instance(2))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.clock.at(CACHE_SECONDS, lambda: home.set_options(an_id(2), http_tokens=V2_ONLY.http_tokens))
    answer = app.invoke(POLICY_CHANGE)
    assert answer["outcomes"] == {"REMEDIATED": 1}
    assert home.actual(an_id(2)).options == V1_ALLOWED
    reports = [line["report"] for line in log_lines() if line["message"] == "run finished"]
    assert [report["trigger"] for report in reports] == ["policy-change", "second-look"]
    assert reports[1]["outcomes"] == {"REMEDIATED": 1}
    assert clients.clock.elapsed >= CACHE_SECONDS


def test_policy_and_regions_are_read_in_parallel(
    app: App, clients: FakeClients, home: FakeEc2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this test each answer waits until the other request has been made, too."""
    both = threading.Barrier(2, timeout=10)
    enabled_regions = home.enabled_regions

    def meet() -> tuple[str, ...]:
        both.wait()
        return enabled_regions()

    def meet_there() -> None:
        both.wait()

    monkeypatch.setattr(home, "enabled_regions", meet)
    clients.ssm.delay = meet_there
    assert app.invoke(SCHEDULE)["trigger"] == "schedule"


@pytest.mark.parametrize("event", [SCHEDULE, INVENTORY, {}])
def test_other_sweeps_look_once(app: App, clients: FakeClients, home: FakeEc2, event: dict[str, Any]) -> None:
    """The next schedule serves as their second look."""
    home.launch(an_instance(1))
    app.invoke(event)
    assert len(home.finds) == 1
    assert clients.clock.elapsed == 0


def test_a_policy_that_changes_again_needs_no_second_look_at_the_first(
    app: App, clients: FakeClients, home: FakeEc2
) -> None:
    """If the policy has changed again, the second look is skipped: the newer change has sweeps of its own."""
    clients.clock.at(1, lambda: clients.ssm.put(TOKENS_PARAMETER, "optional"))
    app.invoke(POLICY_CHANGE)
    assert len(home.finds) == 1


def test_a_second_look_without_parameter_store_is_logged_and_skipped(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """The first look was complete, and the next schedule follows."""

    def cut_off() -> None:
        clients.ssm.error = UNREACHABLE

    clients.clock.at(1, cut_off)
    assert app.invoke(POLICY_CHANGE)["trigger"] == "policy-change"
    assert len(home.finds) == 1
    assert log_lines()[-1]["message"] == "the second sweep was skipped: Parameter Store is out of reach"
    assert log_lines()[-1]["code"] == "ThrottlingException"


@pytest.mark.parametrize("event", [POLICY_CHANGE, SCHEDULE, INVENTORY])
def test_under_an_invalid_policy_no_instance_is_looked_at(
    app: App, clients: FakeClients, metrics: Documents, event: dict[str, Any]
) -> None:
    """The answer says why; the mail comes once, when the policy is changed, and not with every sweep."""
    clients.ssm.put(POLICY_PARAMETER, '{"mode": "off"}')
    answer = app.invoke(event)
    assert answer["policy_invalid"].startswith(INVALID)
    assert answer["run_id"] == "run-1"
    assert clients.ec2_calls == ["DescribeRegions"], "asked at the same time as the policy"
    assert metric_names(metrics()) == {"PolicyInvalid"}, "not completed"
    if event is POLICY_CHANGE:
        ((subject, text),) = clients.topic.mails
        assert subject == "imds-enforcer: The policy was changed and is invalid"
        assert text.startswith(f"The enforcer changes nothing until it is fixed: {INVALID}")
    else:
        assert clients.topic.mails == []


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ('{"ledger": "required"}', "policy has the removed field ledger: "),
        ('{"watch": {"revert": false}}', "watch has the removed field revert: "),
    ],
)
def test_under_a_policy_with_a_removed_field_nothing_is_written(
    app: App, clients: FakeClients, home: FakeEc2, policy: str, problem: str
) -> None:
    """This holds for every value of the field: the operator must learn that the field has no meaning any more."""
    home.launch(an_instance())
    clients.ssm.put(POLICY_PARAMETER, policy)
    assert app.invoke(SCHEDULE)["policy_invalid"].startswith(problem)
    assert home.sent == []


def test_without_parameter_store_a_sweep_is_an_error(app: App, clients: FakeClients, metrics: Documents) -> None:
    """The alarm for errors of the function fires; the next sweep is the retry."""
    clients.ssm.error = UNREACHABLE
    with pytest.raises(AwsError):
        app.invoke(SCHEDULE)
    assert clients.ec2_calls == ["DescribeRegions"], "asked at the same time as the policy"
    assert metric_names(metrics()) == set()


def test_without_a_list_of_regions_a_sweep_is_an_error_and_not_completed(
    app: App, home: FakeEc2, metrics: Documents
) -> None:
    """No region was visited."""
    home.regions_error = THROTTLED
    with pytest.raises(AwsError):
        app.invoke(SCHEDULE)
    assert metric_names(metrics()) == set()


@pytest.mark.parametrize("failure", [UNAUTHORIZED, DENIED_BY_SCP])
@pytest.mark.parametrize(
    ("policy", "covered"),
    [
        ({}, [HOME]),
        ({"regions": {"exclude": [AWAY]}}, [HOME]),
        ({"regions": {"exclude": [HOME]}}, []),
        ({"regions": {"include": [AWAY]}}, [AWAY]),
        ({"regions": {"include": [HOME, AWAY]}}, [HOME, AWAY]),
    ],
)
def test_if_the_list_of_regions_is_denied_the_policys_regions_count(
    app: App, clients: FakeClients, home: FakeEc2, policy: dict[str, Any], covered: list[str], failure: Failure
) -> None:
    """If it names none, only the home region counts. A warning says so, and does not call the names misspelt."""
    clients.ec2(AWAY).launch(an_instance(1))
    home.launch(an_instance(2))
    home.regions_error = failure
    clients.ssm.put(POLICY_PARAMETER, json.dumps(policy))
    answer = app.invoke(SCHEDULE)
    assert [*answer["regions"]] == sorted(covered)
    assert {name for name, fake in clients.fakes.items() if fake.modified} == set(covered)
    named = ", ".join(policy.get("regions", {}).get("include", [HOME]))
    denied = f"EC2 does not list the account's regions ({failure})."
    assert answer["warnings"] == [f"{denied} This covers only {named}; name others in the policy's regions.include."]
    home.regions_error = None
    assert app.invoke(SCHEDULE)["warnings"] == []


def test_a_denied_list_of_regions_is_mailed_once_a_day(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """The inventory mails it. After a change of the policy there are still two sweeps."""
    home.regions_error = DENIED_BY_SCP
    app.invoke(SCHEDULE)
    assert clients.topic.mails == []
    app.invoke(POLICY_CHANGE)
    app.invoke(INVENTORY)
    changed, (_, text) = clients.topic.mails
    assert changed[0] == "imds-enforcer: The policy was changed"
    assert text.splitlines()[1].startswith("EC2 does not list the account's regions (UnauthorizedOperation: ")


def test_a_mail_that_cannot_be_sent_does_not_delay_the_sweep(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """The failure is logged after the sweep: a topic that does not answer must not hold up the fleet."""
    home.launch(an_instance())
    clients.topic.failure = UNAUTHORIZED
    assert app.invoke(POLICY_CHANGE)["outcomes"] == {"REMEDIATED": 1}
    messages = [line["message"] for line in log_lines()]
    assert messages.index("run finished") < messages.index("a notification could not be sent")


def test_a_change_of_the_policy_is_mailed_even_if_its_sweep_cannot_begin(
    app: App, clients: FakeClients, home: FakeEc2
) -> None:
    """Operators who watch the toggle must hear of it."""
    home.regions_error = THROTTLED
    with pytest.raises(AwsError):
        app.invoke(POLICY_CHANGE)
    assert [subject for subject, _ in clients.topic.mails] == ["imds-enforcer: The policy was changed"]


def test_an_inventory_without_findings_is_not_mailed(
    app: App, clients: FakeClients, home: FakeEc2, metrics: Documents
) -> None:
    """Its numbers are published all the same."""
    home.launch(an_instance(1, V2_ONLY))
    assert app.invoke(INVENTORY)["instances"] == 1
    assert clients.topic.mails == []
    assert metric_names(metrics()) == {"COMPLIANT", "SweepCompleted", "Instances", "CompliantInstances"}


def test_an_inventory_with_failures_or_expired_exemptions_is_mailed_once(
    app: App, clients: FakeClients, home: FakeEc2
) -> None:
    """One daily digest has both."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [UNAUTHORIZED]
    exemption = '{"match": {"region": "ap-*"}, "reason": "old SDK", "expires": "2026-01-31"}'
    clients.ssm.put(POLICY_PARAMETER, f'{{"exemptions": [{exemption}]}}')
    app.invoke(INVENTORY)
    ((subject, text),) = clients.topic.mails
    assert subject == "imds-enforcer: Instances that need attention"
    assert text.splitlines()[1:] == [
        f"{an_id()} in eu-west-1 failed: UnauthorizedOperation: EC2 said so",
        "Exemption expired, remove or renew it: (region ap-*) old SDK, until 2026-01-31",
    ]


def test_a_warning_of_an_inventory_is_mailed(app: App, clients: FakeClients, metrics: Documents) -> None:
    """For example, a region that the policy misspells; the counts are still complete."""
    clients.ssm.put(POLICY_PARAMETER, '{"regions": {"exclude": ["eu-wset-1"]}}')
    app.invoke(INVENTORY)
    ((subject, text),) = clients.topic.mails
    assert subject == "imds-enforcer: Instances that need attention"
    assert text.splitlines()[1:] == ["The policy names the region eu-wset-1, which is not enabled in this account."]
    assert metric_names(metrics()) == {"SweepCompleted", "Instances", "CompliantInstances"}
