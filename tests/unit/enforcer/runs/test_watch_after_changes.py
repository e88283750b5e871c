"""After a change: one mail names instances whose calls are rejected, with the command that reverts them."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.decision.legacy_calls import REJECTED
from imds_enforcer.model import AwsError, InstanceState, Outcome
from imds_enforcer.model.instance import AUTO_SCALING_GROUP_TAG, LAUNCH_TEMPLATE_TAG, LAUNCH_TEMPLATE_VERSION_TAG
from imds_enforcer.runs.revert import Revert
from tests.fakes.command import Command
from tests.fakes.examples import (
    AWAY,
    HOME,
    POLICY_PARAMETER,
    THROTTLED,
    TOKENS_PARAMETER,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)
from tests.fakes.runs import App, Documents, metric_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imds_enforcer.aws.dynamodb import Item
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

SCHEDULE = {"trigger": "schedule"}
SUBJECT = "imds-enforcer: Instances still call IMDSv1 after it was switched off"
QUARTER, HOUR = 900, 3_600
TAGS = {AUTO_SCALING_GROUP_TAG: "web", LAUNCH_TEMPLATE_TAG: "lt-1", LAUNCH_TEMPLATE_VERSION_TAG: "7"}


def _policy(clients: FakeClients, **watch: Any) -> None:
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"watch": watch}))


def _reject(clients: FakeClients, number: int, calls: float = 3, region: str = HOME) -> None:
    """Let CloudWatch have counted this many rejected calls in these five minutes."""
    now = clients.clock.now()
    point = now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0)
    clients.metrics[region].data.setdefault((REJECTED, an_id(number)), []).append((point, calls))


def _mails(clients: FakeClients) -> list[str]:
    return [text for subject, text in clients.topic.mails if subject == SUBJECT]


def _sweep(app: App, clients: FakeClients, seconds: float = QUARTER) -> None:
    clients.clock.advance(seconds)
    app.invoke(SCHEDULE)


@pytest.fixture
def changed(app: App, clients: FakeClients, home: FakeEc2) -> App:
    """An enforcer that has just changed three instances."""
    home.launch(an_instance(1, tags=TAGS, image_id="ami-1"), an_instance(2), an_instance(3))
    app.invoke(SCHEDULE)
    assert len(home.modified) == 3
    assert _mails(clients) == []
    return app


def test_one_mail_names_rejected_calls_and_what_launched_the_instances(
    changed: App, clients: FakeClients, home: FakeEc2, metrics: Documents
) -> None:
    """It names all instances, which stay as they are."""
    _reject(clients, 1)
    _reject(clients, 2, calls=1)
    metrics()
    _sweep(changed, clients)
    (text,) = _mails(clients)
    since = "since 2026-11-22 12:00 UTC"
    origin = "Auto Scaling group web, launch template lt-1 version 7, image ami-1"
    unknown = "Auto Scaling group none, launch template none, image none"
    *rejected, follows, _, _, command = text.splitlines()
    assert sorted(rejected) == [
        f"{an_id(1)} in {HOME}: 3 calls without a token rejected {since} ({origin})",
        f"{an_id(2)} in {HOME}: 1 calls without a token rejected {since} ({unknown})",
    ]
    assert follows == "The enforcer left them as they are."
    assert command == f"imds-enforcer revert {an_id(1)} {an_id(2)} --run run-1"
    published = metrics()
    assert [document["RejectedCalls"] for document in published if "RejectedCalls" in document] == [[2.0]]
    assert home.actual(an_id(1)).options == V2_ONLY


def test_an_instance_is_mailed_once(changed: App, clients: FakeClients, metrics: Documents) -> None:
    """However long the calls go on; the metric is published each time, for the alarm."""
    _reject(clients, 1)
    for _ in range(9):
        _sweep(changed, clients)
        assert "RejectedCalls" in metric_names(metrics())
    assert len(_mails(clients)) == 1
    _reject(clients, 3)
    _sweep(changed, clients, HOUR)
    first, second = _mails(clients)
    assert an_id(3) not in first
    assert second.startswith(an_id(3))
    assert an_id(1) not in second


def test_below_the_limit_no_mail_is_sent(changed: App, clients: FakeClients, metrics: Documents) -> None:
    """The policy sets how many calls are worth a mail."""
    _policy(clients, rejected_calls=4)
    _reject(clients, 1, calls=3)
    _sweep(changed, clients)
    assert _mails(clients) == []
    assert "RejectedCalls" not in metric_names(metrics())
    _reject(clients, 1, calls=1)
    _sweep(changed, clients, HOUR + 1)
    assert len(_mails(clients)) == 1


def test_cloudwatch_is_asked_once_an_hour_about_each_instance(changed: App, clients: FakeClients) -> None:
    """In one request, whichever process asks; and no more once the watch has ended."""
    for _ in range(8):
        _sweep(changed, clients)
        App(clients.in_another_process()).invoke(SCHEDULE)
    requests = clients.metrics[HOME].requests
    assert [(metric, sorted(asked)) for metric, asked, _ in requests] == [
        (REJECTED, [an_id(1), an_id(2), an_id(3)]),
        (REJECTED, [an_id(1), an_id(2), an_id(3)]),
    ]
    assert clients.metrics[AWAY].requests == []
    clients.clock.advance(24 * HOUR)
    App(clients).invoke(SCHEDULE)
    assert len(requests) == 2


def test_an_instance_that_was_never_changed_is_not_watched(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """The enforcer did not cause its rejected calls."""
    home.launch(an_instance(1, V2_ONLY))
    _reject(clients, 1)
    _sweep(app, clients)
    assert clients.metrics[HOME].requests == []


@pytest.mark.parametrize("watch", ["null", '{"hours": 1}'])
def test_instances_outside_the_watch_are_not_asked_about(changed: App, clients: FakeClients, watch: str) -> None:
    """With null, no instance is; with a watch of one hour, none is three hours after its change."""
    clients.ssm.put(POLICY_PARAMETER, f'{{"watch": {watch}}}')
    _reject(clients, 1)
    _sweep(changed, clients, 3 * HOUR)
    assert clients.metrics[HOME].requests == []


def test_an_inventory_does_not_watch(changed: App, clients: FakeClients) -> None:
    """The sweeps in between do."""
    _reject(clients, 1)
    clients.clock.advance(HOUR)
    changed.invoke({"inventory": True})
    assert clients.metrics[HOME].requests == []


def test_an_instance_whose_tokens_are_optional_again_is_not_watched(changed: App, clients: FakeClients) -> None:
    """The policy has changed back."""
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    _sweep(changed, clients, 60)
    _reject(clients, 1)
    _sweep(changed, clients)
    assert clients.metrics[HOME].requests == []


def test_each_run_has_a_command_of_its_own(changed: App, clients: FakeClients, home: FakeEc2) -> None:
    """A revert undoes one run's change and what followed."""
    clients.clock.advance(60)
    home.launch(an_instance(4), an_instance(5))
    changed.invoke(SCHEDULE)
    for number in (4, 1, 5):
        _reject(clients, number)
    _sweep(changed, clients)
    (text,) = _mails(clients)
    _, commands = text.split("\nTo revert and hold them, run:\n")
    first, second = (clients.ledger_table.entries.of(an_id(number))[0].run_id for number in (1, 4))
    assert first != second
    assert sorted(commands.splitlines()) == sorted(
        [
            f"imds-enforcer revert {an_id(1)} --run {first}",
            f"imds-enforcer revert {an_id(4)} {an_id(5)} --run {second}",
        ]
    )


def test_the_operator_can_paste_the_command(
    changed: App, clients: FakeClients, home: FakeEc2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reverts and holds these instances, and no others."""
    _reject(clients, 1)
    _reject(clients, 2)
    _sweep(changed, clients)
    name, *arguments = shlex.split(_mails(clients)[0].splitlines()[-1])
    assert name == "imds-enforcer"
    reverted = Command(clients, monkeypatch).json(*arguments, "--yes")
    assert {each["instance_id"]: each["outcome"] for each in reverted["instances"]} == {
        an_id(1): "REMEDIATED",
        an_id(2): "REMEDIATED",
    }
    assert [home.actual(an_id(number)).options for number in (1, 2, 3)] == [V1_ALLOWED, V1_ALLOWED, V2_ONLY]
    assert {*clients.ledger_table.holds.standing().holds} == {an_id(1), an_id(2)}


@pytest.mark.parametrize("policy", ["{}", '{"mode": "audit"}'])
def test_the_watch_changes_nothing_and_holds_nothing(
    changed: App, clients: FakeClients, home: FakeEc2, policy: str
) -> None:
    """Otherwise anything that makes an instance call IMDSv1 could switch it back on."""
    clients.ssm.put(POLICY_PARAMETER, policy)
    _reject(clients, 1)
    _sweep(changed, clients)
    assert len(_mails(clients)) == 1
    assert len(home.sent) == 3
    assert clients.ledger_table.holds.standing().holds == {}


def test_a_mail_that_failed_is_sent_by_the_next_sweep(changed: App, clients: FakeClients) -> None:
    """And then only once."""
    _reject(clients, 1)
    clients.topic.failure = THROTTLED
    _sweep(changed, clients)
    clients.topic.failure = None
    for _ in range(3):
        _sweep(changed, clients)
    (text,) = _mails(clients)
    assert text.startswith(an_id(1))


def test_a_region_whose_cloudwatch_is_out_of_reach_stops_no_other(
    changed: App, clients: FakeClients, away: FakeEc2, log_lines: Documents
) -> None:
    """The failure is logged, and the next sweep asks again."""
    away.launch(an_instance(9))
    changed.invoke(SCHEDULE)
    _reject(clients, 1)
    _reject(clients, 9, region=AWAY)
    clients.metrics[HOME].failure = THROTTLED
    _sweep(changed, clients)
    assert [text.split()[0] for text in _mails(clients)] == [an_id(9)]
    assert f"the watch could not check the changed instances in {HOME}" in [line["message"] for line in log_lines()]
    clients.metrics[HOME].failure = None
    _sweep(changed, clients)
    assert [text.split()[0] for text in _mails(clients)] == [an_id(9), an_id(1)]


def test_an_instance_that_is_gone_is_mailed_without_its_source(
    changed: App, clients: FakeClients, home: FakeEc2
) -> None:
    """EC2 no longer shows what launched it, and there is nothing to revert."""
    _reject(clients, 1)
    home.forget(an_id(1))
    _sweep(changed, clients)
    (text,) = _mails(clients)
    assert text.startswith(f"{an_id(1)} in {HOME}: 3 calls")
    assert text.endswith("\nThe enforcer left them as they are.")


def test_a_terminated_instance_is_in_no_command(changed: App, clients: FakeClients, home: FakeEc2) -> None:
    """EC2 still shows it for a while, but would refuse the change."""
    _reject(clients, 1)
    _reject(clients, 2)
    home.launch(an_instance(1, V2_ONLY, state=InstanceState.TERMINATED))
    _sweep(changed, clients)
    (text,) = _mails(clients)
    assert f"{an_id(1)} in {HOME}: 3 calls" in text
    assert text.endswith(f"\nimds-enforcer revert {an_id(2)} --run run-1")


def test_if_the_mail_cannot_be_recorded_the_instance_is_mailed_again(
    changed: App, clients: FakeClients, metrics: Documents
) -> None:
    """Twice is better than never; the ledger's alarm fires."""
    _reject(clients, 1)

    def refuse(items: Sequence[Item]) -> None:
        if any(item["pk"] == "told" for item in items):
            raise AwsError(THROTTLED)

    clients.table.before_write = refuse
    metrics()
    _sweep(changed, clients)
    assert len(_mails(clients)) == 1
    assert "LedgerUnavailable" in metric_names(metrics())
    clients.table.before_write = None
    for _ in range(2):
        _sweep(changed, clients)
    assert len(_mails(clients)) == 2


def _revert(clients: FakeClients, number: int) -> None:
    revert = Revert(clients, clients.clock, run_id="revert-1", by="ana")
    (result,) = revert.carry_out(revert.plan([an_id(number)]), reason="an old SDK")
    assert result.outcome is Outcome.REMEDIATED


def test_a_change_after_a_revert_is_watched_anew(changed: App, clients: FakeClients, home: FakeEc2) -> None:
    """After a release it is enforced again, and mailed again if it still calls IMDSv1."""
    _reject(clients, 1)
    _sweep(changed, clients)
    _revert(clients, 1)
    clients.ledger_table.holds.release([an_id(1)])
    clients.clock.advance(HOUR)
    changed.invoke(SCHEDULE)
    assert home.actual(an_id(1)).options == V2_ONLY
    _reject(clients, 1)
    _sweep(changed, clients)
    first, _, again = clients.ledger_table.entries.of(an_id(1))
    assert [text.splitlines()[-1] for text in _mails(clients)] == [
        f"imds-enforcer revert {an_id(1)} --run {entry.run_id}" for entry in (first, again)
    ]


def test_calls_counted_after_one_change_do_not_count_for_the_next(
    changed: App, clients: FakeClients, home: FakeEc2
) -> None:
    """Reverted, released and changed again within the hour for which CloudWatch's answer is kept."""
    _reject(clients, 1)
    _sweep(changed, clients)
    assert len(_mails(clients)) == 1
    _revert(clients, 1)
    clients.ledger_table.holds.release([an_id(1)])
    for _ in range(3):
        _sweep(changed, clients)
    assert home.actual(an_id(1)).options == V2_ONLY
    assert len(_mails(clients)) == 1


def test_calls_count_from_the_start_of_the_period_around_the_change(
    app: App, clients: FakeClients, home: FakeEc2
) -> None:
    """CloudWatch names a point by its start; earlier calls in that period were served, not rejected."""
    clients.clock.advance(120)
    home.launch(an_instance(1))
    app.invoke(SCHEDULE)
    _reject(clients, 1)
    _sweep(app, clients)
    assert len(_mails(clients)) == 1


def test_the_last_hour_of_the_watch_is_checked_too(changed: App, clients: FakeClients) -> None:
    """A program that calls once a day may only show in the last minutes."""
    _policy(clients, hours=2)
    for _ in range(7):
        _sweep(changed, clients)
    clients.clock.advance(600)
    _reject(clients, 1)
    for _ in range(6):
        _sweep(changed, clients)
    assert len(_mails(clients)) == 1
