"""A refused launch, from its event to the digest: it counts once, and never changes an instance."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.ledger.refused_launches import KEPT, Cause, Launcher, RefusedLaunch
from imds_enforcer.model import LaunchTemplate, Source
from imds_enforcer.runs.events import parse_event
from tests.fakes import example_events as events
from tests.fakes.clock import START
from tests.fakes.example_events import a_message
from tests.fakes.examples import ACCOUNT, AWAY, EXPIRED, HOME, POLICY_PARAMETER, THROTTLED, an_id, an_instance

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2
    from tests.fakes.runs import App, Documents

INVENTORY = {"inventory": True}
ALICE = events.ALICE["arn"]
SCP: Any = {
    "code": "Client.UnauthorizedOperation",
    "message": "x is not authorized to perform: ec2:RunInstances with an explicit deny in a service control policy",
}


def _parsed(event: dict[str, Any]) -> RefusedLaunch:
    parsed = parse_event(json.dumps(event), ACCOUNT)
    assert isinstance(parsed, RefusedLaunch)
    return parsed


def _at(hours: float) -> str:
    return (START - timedelta(hours=hours)).isoformat()


def test_a_launch_by_a_group_is_parsed() -> None:
    """CloudTrail's record has the role of the session, the group in its tag, and the template's version."""
    launch = _parsed(events.refused_launch("e-7", identity=events.BY_AUTO_SCALING, request=events.of_group()))
    assert launch == RefusedLaunch(
        event_id="e-7",
        at=START,
        launcher=Launcher(
            region=HOME,
            principal=events.AUTO_SCALING_ROLE,
            invoked_by="autoscaling.amazonaws.com",
            source=Source("web", LaunchTemplate("lt-1", "3")),
            asked_optional=False,
            cause=Cause.TOKENS_ENFORCED,
        ),
    )


@pytest.mark.parametrize(
    ("request_parameters", "source"),
    [
        (events.of_group(template=None), Source("web")),
        ({"launchTemplate": {"launchTemplateName": "base"}}, Source(None, LaunchTemplate("base", "$Default"))),
        ({"instancesSet": {"items": [{}, {"imageId": "ami-2"}]}}, Source(image_id="ami-2")),
        ({"instancesSet": {"items": [{"imageId": "ami\n2"}]}}, Source()),
        ({"instancesSet": {"items": "ami-2"}, "tagSpecificationSet": {"items": [{"tags": None}, 5]}}, Source()),
        ({"tagSpecificationSet": {"items": [{"tags": ["web", {"key": "Name", "value": "web"}]}]}}, Source()),
        ({"launchTemplate": "lt-1", "metadataOptions": []}, Source()),
        (None, Source(image_id="ami-1")),
        ({}, Source()),
    ],
)
def test_the_source_of_a_refused_launch(request_parameters: dict[str, Any] | None, source: Source) -> None:
    """The image counts only without group and template. Any field may be missing, or contain line breaks."""
    assert _parsed(events.refused_launch(request=request_parameters)).launcher.source == source


@pytest.mark.parametrize(
    ("identity", "principal"),
    [
        (events.ALICE, ALICE),
        ({"type": "Root", "arn": "arn:aws:iam::111122223333:root"}, "arn:aws:iam::111122223333:root"),
        ({"type": "AWSService", "invokedBy": "ec2fleet.amazonaws.com"}, "an unknown principal"),
        ({"arn": "x\ny"}, "an unknown principal"),
        ({}, "an unknown principal"),
    ],
)
def test_the_principal_of_a_refused_launch(identity: dict[str, Any], principal: str) -> None:
    """The principal is a user, root, or only a service."""
    launcher = _parsed(events.refused_launch(identity=identity)).launcher
    assert (launcher.principal, launcher.invoked_by) == (principal, identity.get("invokedBy"))


def test_an_explicit_optional_differs_from_one_in_a_template() -> None:
    """An explicit `optional` has to change in the request itself."""
    assert not _parsed(events.refused_launch()).launcher.asked_optional
    request = {"metadataOptions": {"httpTokens": "optional"}}
    assert _parsed(events.refused_launch(request=request)).launcher.asked_optional


@pytest.mark.parametrize(
    "event",
    [
        events.refused_launch(request={"dryRun": True}),
        events.refused_launch(request={"dryRun": "true"}),
        events.refused_launch(code="Client.DryRunOperation", message="Request would have succeeded"),
        events.refused_launch(code="Client.InstanceLimitExceeded", message="You have requested more"),
        events.refused_launch(**SCP, request={"metadataOptions": {"httpTokens": "required"}}),
    ],
)
def test_dry_runs_and_other_failures_are_no_refused_launches(event: dict[str, Any]) -> None:
    """Such an event is dropped."""
    assert parse_event(json.dumps(event), ACCOUNT) is None


def test_the_digest_counts_a_refused_launch_once_however_often_it_is_delivered(app: App, clients: FakeClients) -> None:
    """It has one line for each launcher, across regions."""
    by_group: Any = {"identity": events.BY_AUTO_SCALING, "request": events.of_group()}
    launches = [
        events.refused_launch("e-1", time=_at(20), **by_group),
        events.refused_launch("e-2", time=_at(10), **by_group),
        events.refused_launch("e-3", time=_at(2), region=AWAY, **SCP),
    ]
    messages = [a_message(event, f"m-{number}") for number, event in enumerate(launches)]
    assert app.batch(*messages, a_message(launches[0], "again")) == []
    assert app.batch(*messages) == []
    report = app.invoke(INVENTORY)
    assert [(each["principal"], each["launches"]) for each in report["refused_launchers"]] == [
        (ALICE, 1),
        (events.AUTO_SCALING_ROLE, 2),
    ]
    [(subject, text)] = clients.topic.mails
    assert subject == "imds-enforcer: Instances that need attention"
    assert text.splitlines()[1:] == [f"Launches refused: {each['line']}" for each in report["refused_launchers"]]
    assert "possibly" in text.splitlines()[1]
    assert "refused 2 times since 2026-11-21 16:00 UTC, last at 2026-11-22 02:00 UTC" in text.splitlines()[2]


def test_a_refused_launch_causes_no_call_to_ec2(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """EC2 is not asked even if an instance differs, or if the policy cannot be read."""
    home.launch(an_instance())
    assert app.batch(a_message(events.refused_launch())) == []
    clients.ssm.put(POLICY_PARAMETER, "no policy")
    assert app.batch(a_message(events.refused_launch("e-2", region="eu-north-9"))) == []
    assert (home.reads, home.finds, home.sent) == ([], [], [])
    assert len(clients.table.items) == 2
    expiries = {item["expires_at"] for item in clients.table.items.values()}
    assert expiries == {int((START + KEPT).timestamp())}


def test_a_launch_that_failed_for_another_reason_is_acknowledged(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """The batch does not even ask EC2 whether the region is enabled."""
    home.regions_error = THROTTLED
    dry_run = events.refused_launch(request={"dryRun": "true"}, region="eu-north-9")
    assert app.batch(a_message(dry_run)) == []
    assert clients.table.items == {}


def test_other_events_of_the_batch_are_enforced(app: App, home: FakeEc2) -> None:
    """A refused launch does not hold them up."""
    home.launch(an_instance())
    assert app.batch(a_message(events.refused_launch(), "m-1"), a_message(events.running(), "m-2")) == []
    assert home.modified_ids == [an_id()]


def test_with_refused_credentials_the_ledger_gets_no_call(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """The refused launch comes back with the batch."""
    home.launch(an_instance())
    home.modify_errors[an_id()] = [EXPIRED]
    again = app.batch(a_message(events.refused_launch(), "m-1"), a_message(events.running(), "m-2"))
    assert sorted(again) == ["m-1", "m-2"]
    assert [item for item in clients.table.written if item["pk"] == "refused-launch"] == []


def test_a_refused_launch_that_cannot_be_recorded_comes_back(
    app: App, clients: FakeClients, log_lines: Documents, metrics: Documents
) -> None:
    """It comes back after the usual delay, and counts once it is recorded."""
    clients.table.write_failure = THROTTLED
    assert app.batch(a_message(events.refused_launch(), receives=2)) == ["m-1"]
    assert clients.fake_queue.delays == {"m-1": 10}
    assert log_lines()[0]["message"] == "refused launches could not be recorded"
    assert [list(document["_aws"]["CloudWatchMetrics"][0]["Metrics"]) for document in metrics()] == [
        [{"Name": "LedgerUnavailable", "Unit": "Count"}]
    ]


def test_without_the_ledger_the_inventory_goes_on(app: App, clients: FakeClients, log_lines: Documents) -> None:
    """It still counts the fleet."""
    app.batch(a_message(events.refused_launch()))
    clients.table.read_failure = THROTTLED
    assert app.invoke(INVENTORY)["refused_launchers"] == []
    assert "refused launches could not be read" in [line["message"] for line in log_lines()]


def test_only_the_inventory_reports_refused_launches(app: App, clients: FakeClients) -> None:
    """Once a day is enough, and a sweep that finds nothing should read little."""
    app.batch(a_message(events.refused_launch()))
    assert app.invoke({"trigger": "schedule"})["refused_launchers"] == []
    assert clients.topic.mails == []
    assert not [each for each in clients.table.requests if "refused-launch" in each]


def test_old_refused_launches_are_forgotten(app: App, clients: FakeClients, clock: FakeClock) -> None:
    """It does not matter whether DynamoDB has deleted them yet."""
    app.batch(a_message(events.refused_launch()))
    clock.advance(KEPT.total_seconds())
    app.batch(a_message(events.refused_launch("e-2", time=clock.now().isoformat())))
    [launcher] = clients.ledger_table.notes.refused_launchers()
    assert launcher.times == 2
    clock.advance(1)
    [launcher] = clients.ledger_table.notes.refused_launchers()
    assert launcher.times == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("launcher", "{"),
        ("launcher", "[]"),
        ("launcher", '{"source": []}'),
        ("launcher", None),
        ("sk", "yesterday#e-1"),
        ("sk", f"{START.replace(tzinfo=None).isoformat()}#e-1"),
        ("cause", "magic"),
        ("source", ["web", ["lt-1"], ""]),
        ("principal", ["alice"]),
    ],
)
def test_a_malformed_item_hides_no_other(app: App, clients: FakeClients, name: str, value: Any) -> None:
    """The digest has the others, and the log names the malformed item."""
    app.batch(a_message(events.refused_launch()))
    [written] = clients.table.items.values()
    foreign = {**written, "sk": f"{written['sk']}-2", name: value}
    if name not in written:
        foreign["launcher"] = json.dumps({**json.loads(written["launcher"]), name: value})
    clients.table.items[foreign["pk"], foreign["sk"]] = foreign
    [launcher] = clients.ledger_table.notes.refused_launchers()
    assert launcher.times == 1
    assert clients.ledger_table.unreadable() == {("refused-launch", foreign["sk"])}


@pytest.mark.parametrize("event_id", [None, 5, "", "e 1", "e" * 65])
def test_a_refused_launch_without_event_id_is_malformed(app: App, log_lines: Documents, event_id: Any) -> None:
    """Its second delivery would count as a second launch."""
    assert app.batch(a_message(events.refused_launch(event_id))) == ["m-1"]
    [line] = [line for line in log_lines() if line["level"] == "ERROR"]
    assert line["message"] == "a message cannot be handled"
    assert line["error"].startswith("eventID is ")
