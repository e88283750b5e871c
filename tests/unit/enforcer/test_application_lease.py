"""One sweep at a time: what an invocation does while another sweeps."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.aws.ledger_items import lease_item, lease_of
from imds_enforcer.ledger.lease import LONGEST, RELEASED, Lease
from imds_enforcer.model import AwsError
from imds_enforcer.policy import PolicyVersions
from tests.fakes import example_events as events
from tests.fakes.clock import START
from tests.fakes.example_events import a_message
from tests.fakes.examples import (
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
    from collections.abc import Callable

    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

SCHEDULE = {"trigger": "schedule"}
INVENTORY = {"inventory": True}
POLICY_CHANGE = {"source": "aws.ssm", "detail-type": "Parameter Store Change", "detail": {"operation": "Update"}}
KEY = ("lease", "sweep")
VERSIONS = PolicyVersions(1, 1)


@pytest.fixture
def other(clients: FakeClients) -> App:
    """A second process, whose runs are `other-1` and so on."""
    return App(clients.in_another_process(), "other")


def hold_lease(clients: FakeClients, versions: PolicyVersions = VERSIONS, minutes: float = 10) -> None:
    """Let a run hold the lease for this many more minutes."""
    ends_at = clients.clock.now() + timedelta(minutes=minutes)
    clients.table.items[KEY] = lease_item(Lease(run_id="run-0", versions=versions, expires_at=ends_at))


def lease_in(clients: FakeClients) -> Lease:
    """The lease in the table."""
    return lease_of(clients.table.items[KEY])


def during(clients: FakeClients, action: Callable[[], object]) -> list[Any]:
    """Do something in the middle of the next sweep that changes an instance; the list has its answer."""
    answers: list[Any] = []

    def once(_: object) -> None:
        clients.table.before_write = None
        answers.append(action())

    clients.table.before_write = once
    return answers


def test_while_a_run_sweeps_others_end_at_once(
    app: App, other: App, clients: FakeClients, home: FakeEc2, log_lines: Documents, metrics: Documents
) -> None:
    """They name the run, and do not count as completed: an alarm watches completed sweeps."""
    home.launch(an_instance())
    answers = during(clients, lambda: (metrics(), other.invoke(SCHEDULE), metrics(), len(home.finds)))
    assert app.invoke(SCHEDULE)["outcomes"] == {"REMEDIATED": 1}
    [(_, answer, published, finds)] = answers
    assert answer == {"run_id": "other-1", "trigger": "schedule", "already_running": "run-1"}
    assert metric_names(published) == set()
    assert finds == len(home.finds) == 1
    [line] = [line for line in log_lines() if line["message"] == "already running"]
    assert (line["run_id"], line["sweeping_run"], line["level"]) == ("other-1", "run-1", "INFO")


@pytest.mark.parametrize("event", [SCHEDULE, INVENTORY, POLICY_CHANGE, {}])
def test_a_sweep_holds_the_lease_until_its_deadline_and_releases_it(
    app: App, clients: FakeClients, home: FakeEc2, event: dict[str, Any]
) -> None:
    """The deadline is that of its own invocation: by then the sweep is over in any case."""
    home.launch(an_instance())
    leases = during(clients, lambda: lease_in(clients))
    app.invoke(event, seconds_left=600)
    assert leases == [Lease(run_id="run-1", versions=VERSIONS, expires_at=START + timedelta(seconds=600))]
    assert lease_in(clients) == Lease(run_id="run-1", versions=VERSIONS, expires_at=RELEASED)


def test_consecutive_sweeps_do_not_block_each_other(app: App, other: App, home: FakeEc2) -> None:
    """It does not matter in which processes they run."""
    for number, each in enumerate((app, other, app)):
        home.launch(an_instance(number))
        assert each.invoke(SCHEDULE)["outcomes"] == {"REMEDIATED": 1}


@pytest.mark.parametrize("event", [SCHEDULE, INVENTORY, POLICY_CHANGE])
def test_in_audit_mode_no_lease_is_taken(app: App, clients: FakeClients, home: FakeEc2, event: dict[str, Any]) -> None:
    """Audit mode writes nothing, the lease included; another run's lease does not matter either."""
    home.launch(an_instance())
    clients.ssm.put(POLICY_PARAMETER, '{"mode": "audit"}')
    assert app.invoke(event)["outcomes"] == {"WOULD_REMEDIATE": 1}
    assert KEY not in clients.table.items
    hold_lease(clients, PolicyVersions(1, 2))
    assert app.invoke(event)["outcomes"] == {"WOULD_REMEDIATE": 1}


def test_a_sweep_that_fails_releases_the_lease(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """The next sweep is the retry."""
    home.regions_error = THROTTLED
    with pytest.raises(AwsError):
        app.invoke(SCHEDULE)
    assert lease_in(clients).expires_at == RELEASED


def test_a_run_that_was_killed_holds_the_lease_until_its_deadline(
    app: App, clients: FakeClients, home: FakeEc2
) -> None:
    """The next sweep after the deadline takes it."""
    home.launch(an_instance())
    hold_lease(clients, minutes=15)
    assert app.invoke(SCHEDULE)["already_running"] == "run-0"
    clients.clock.advance(15 * 60)
    assert app.invoke(SCHEDULE)["outcomes"] == {"REMEDIATED": 1}


def test_a_lease_that_a_wrong_clock_wrote_blocks_nothing(app: App, clients: FakeClients) -> None:
    """The next sweep overwrites it."""
    hold_lease(clients, minutes=LONGEST.total_seconds() / 60 + 1)
    assert "outcomes" in app.invoke(SCHEDULE)
    assert lease_in(clients).run_id == "run-1"


def test_a_newer_policy_takes_the_lease_over_at_once(app: App, other: App, clients: FakeClients, home: FakeEc2) -> None:
    """The older run stops by itself and does not touch the newer one's lease when it ends."""
    home.launch(an_instance(1), an_instance(2, V2_ONLY))
    leases: list[Lease] = []

    def change() -> dict[str, Any]:
        clients.ssm.put(TOKENS_PARAMETER, "optional")
        clients.clock.at(clients.clock.elapsed + 1, lambda: leases.append(lease_in(clients)))
        return other.invoke(POLICY_CHANGE)

    answers = during(clients, change)
    stopped = app.invoke(SCHEDULE)
    assert "the policy has changed" in stopped["stopped"]
    assert [answer["outcomes"] for answer in answers] == [{"REMEDIATED": 1}]
    assert home.actual(an_id(2)).options == V1_ALLOWED
    [lease] = leases
    assert (lease.run_id, lease.versions) == ("other-1", PolicyVersions(2, 1))
    assert (lease_in(clients).run_id, lease_in(clients).expires_at) == ("other-1", RELEASED)


def test_an_older_run_does_not_release_the_lease_of_a_newer_one(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """The newer one is still sweeping."""
    home.launch(an_instance())
    during(clients, lambda: hold_lease(clients, PolicyVersions(2, 1)))
    app.invoke(SCHEDULE)
    assert lease_in(clients).run_id == "run-0"
    assert lease_in(clients).expires_at > clients.clock.now()


def test_the_second_look_belongs_to_the_same_lease(app: App, other: App, clients: FakeClients, home: FakeEc2) -> None:
    """No other sweep begins between the two looks either."""
    answers: list[dict[str, Any]] = []
    clients.clock.at(2, lambda: answers.append(other.invoke(SCHEDULE)))
    app.invoke(POLICY_CHANGE)
    assert [answer["already_running"] for answer in answers] == ["run-1"]
    assert len(home.finds) == 2


def test_a_change_of_the_policy_is_mailed_even_if_another_run_is_sweeping(app: App, clients: FakeClients) -> None:
    """A scheduled sweep that runs just then sends no mail about it."""
    hold_lease(clients)
    assert app.invoke(POLICY_CHANGE)["already_running"] == "run-0"
    assert [subject for subject, _ in clients.topic.mails] == ["imds-enforcer: The policy was changed"]
    assert clients.clock.elapsed == 0


@pytest.mark.parametrize("event", [SCHEDULE, INVENTORY])
def test_the_first_sweep_under_a_policy_looks_twice(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents, event: dict[str, Any]
) -> None:
    """It may block the sweep that the policy's change starts, so it does that sweep's work too."""
    app.invoke(SCHEDULE)
    clients.ssm.put(POLICY_PARAMETER, '{"mode": "enforce"}')
    home.finds.clear()
    app.invoke(event)
    assert len(home.finds) == 2
    app.invoke(event)
    assert len(home.finds) == 3
    reports = [line["report"]["trigger"] for line in log_lines() if line["message"] == "run finished"]
    assert reports[2] == "second-look"


def test_an_inventory_counts_while_another_run_sweeps_and_changes_nothing(
    app: App, clients: FakeClients, home: FakeEc2, metrics: Documents
) -> None:
    """Its report names the sweeping run, which keeps the lease."""
    home.launch(an_instance(1), an_instance(2, V2_ONLY))
    hold_lease(clients)
    answer = app.invoke(INVENTORY)
    assert answer["outcomes"] == {"COMPLIANT": 1, "DEFERRED": 1}
    assert answer["stopped"] == "the run run-0 is sweeping, so this one changes nothing"
    assert home.sent == []
    assert clients.table.written == []
    assert metric_names(metrics()) == {"COMPLIANT", "DEFERRED", "Instances", "CompliantInstances"}
    assert (lease_in(clients).run_id, len(home.finds)) == ("run-0", 1)


def test_an_inventory_mails_while_another_run_sweeps(app: App, clients: FakeClients) -> None:
    """The mail has what needs attention, and says that the inventory changed nothing."""
    exemption = '{"match": {"region": "ap-*"}, "reason": "old SDK", "expires": "2026-01-31"}'
    clients.ssm.put(POLICY_PARAMETER, f'{{"exemptions": [{exemption}]}}')
    hold_lease(clients, PolicyVersions(1, 2))
    app.invoke(INVENTORY)
    [(subject, text)] = clients.topic.mails
    assert subject == "imds-enforcer: Instances that need attention"
    assert "The run was cut short: the run run-0 is sweeping, so this one changes nothing.\n" in text


@pytest.mark.parametrize("refused", ["reads", "writes"])
@pytest.mark.parametrize("failure", [THROTTLED, UNAUTHORIZED])
def test_without_the_table_a_sweep_begins_anyway(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents, refused: str, failure: Any
) -> None:
    """Two sweeps at once are safe; no sweep at all would not be."""
    home.launch(an_instance(1, V2_ONLY))
    setattr(clients.table, f"{refused.removesuffix('s')}_failure", failure)
    assert app.invoke(INVENTORY)["outcomes"] == {"COMPLIANT": 1}
    lines = [line for line in log_lines() if line["message"].startswith("the lease")]
    assert [(line["message"], line["code"]) for line in lines] == [
        ("the lease could not be taken: this sweep begins without it", failure.code)
    ]


def test_a_lease_that_cannot_be_released_is_logged(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """The log line has the time from which other sweeps begin."""
    home.launch(an_instance(1, V2_ONLY))
    clients.table.before_swap = lambda: setattr(clients.table, "before_swap", fail)

    def fail() -> None:
        raise AwsError(THROTTLED)

    assert app.invoke(SCHEDULE)["regions"]
    [line] = [line for line in log_lines() if line["level"] == "ERROR"]
    assert line["message"] == (
        "the lease could not be released: no other sweep begins under this policy until 12:15:00 UTC"
    )


def test_of_two_simultaneous_runs_only_one_sweeps(app: App, other: App, clients: FakeClients, home: FakeEc2) -> None:
    """Both read that the lease is free; the second writer finds the first one's lease and reads again."""
    home.launch(an_instance())
    answers: list[dict[str, Any]] = []

    def meanwhile() -> None:
        clients.table.before_swap = None
        hold_lease(clients)
        answers.append(other.invoke(SCHEDULE))

    clients.table.before_swap = meanwhile
    assert app.invoke(SCHEDULE)["already_running"] == "run-0"
    assert [answer["already_running"] for answer in answers] == ["run-0"]


def test_a_lease_that_others_take_again_and_again_stops_no_sweep(
    app: App, clients: FakeClients, log_lines: Documents
) -> None:
    """After some attempts the sweep begins without it."""
    minutes = iter(range(1, 100))
    clients.table.before_swap = lambda: hold_lease(clients, PolicyVersions(9, 9), next(minutes))
    assert "outcomes" in app.invoke(SCHEDULE)
    [line] = [line for line in log_lines() if line["level"] == "ERROR"]
    assert (line["code"], line["error"]) == (
        "LeaseContended",
        "LeaseContended: other runs took the lease 5 times meanwhile",
    )


def test_another_item_in_the_partition_is_no_lease(app: App, clients: FakeClients) -> None:
    """Only the item with the lease's key counts."""
    clients.table.items["lease", "other"] = {"pk": "lease", "sk": "other"}
    for _ in range(2):
        assert "outcomes" in app.invoke(SCHEDULE)
        assert lease_in(clients).expires_at == RELEASED


def test_a_batch_takes_no_lease_and_waits_for_none(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """This includes its sweep of a region for a launch without ids."""
    home.launch(an_instance())
    hold_lease(clients)
    lease = lease_in(clients)
    assert app.batch(a_message(events.launch_without_ids(), "m-1"), a_message(events.running(an_id()), "m-2")) == []
    assert home.modified_ids == [an_id()]
    assert lease_in(clients) == lease
    assert "PutItem" not in clients.table.requests
