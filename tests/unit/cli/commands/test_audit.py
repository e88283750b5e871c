from __future__ import annotations

import io
import json
import threading
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from imds_enforcer.decision.legacy_calls import REJECTED, SERVED
from imds_enforcer.ledger.holds import Standing
from imds_enforcer.model import InstanceState
from imds_enforcer.model.instance import AUTO_SCALING_GROUP_TAG
from imds_enforcer_cli.audit.fleet import Fleet
from imds_enforcer_cli.audit.judge import Judge
from imds_enforcer_cli.audit.progress import region_progress
from tests.fakes.audited_fleet import CLOSED, audited_fleet
from tests.fakes.clock import START
from tests.fakes.command import Command, lines
from tests.fakes.examples import (
    AWAY,
    DENIED_BY_SCP,
    HOME,
    POLICY_PARAMETER,
    SERVER_FAULT,
    THROTTLED,
    TOKENS_PARAMETER,
    UNAUTHORIZED,
    V2_ONLY,
    a_policy,
    an_id,
    an_instance,
)

if TYPE_CHECKING:
    from pathlib import Path

    from imds_enforcer.aws.cloudwatch import Points
    from imds_enforcer.decision.legacy_calls import Counted
    from imds_enforcer.model import Failure
    from tests.fakes.clients import FakeClients
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2

FIRST = f"{an_id(1)}; {HOME} DRIFT HttpTokens is optional, not required tokens optional; hop limit 1"
MIDNIGHT = START.replace(hour=0)


@pytest.fixture
def command(clients: FakeClients, home: FakeEc2, away: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, an instance that allows IMDSv1 in one region, and one that does not in the other."""
    home.launch(an_instance(1))
    away.launch(an_instance(2, V2_ONLY))
    return Command(clients, monkeypatch)


def statuses(command: Command, *arguments: str, exit_code: int = 1) -> dict[str, str]:
    """The status of each instance."""
    document = command.json("audit", *arguments, exit_code=exit_code)
    return {each["instance_id"]: each["status"] for each in document["instances"]}


def test_what_does_not_follow_the_policy_is_shown(command: Command) -> None:
    """On standard output; the counts by region and of all beside it."""
    result = command("audit")
    assert result.exit_code == 1
    assert lines(result.stdout) == [
        "INSTANCE STATUS REASON OPTIONS FROM AGE IMDSv1 CALLS",
        f"{FIRST} no data",
    ]
    assert lines(result.stderr) == [
        "REGION INSTANCES COMPLIANT DRIFT HELD EXEMPT MANAGED UNREADABLE",
        "eu-west-1 1 0 (0.0 %) 1 0 0 0 0",
        "us-east-1 1 1 (100.0 %) 0 0 0 0 0",
        "2 instances in 2 regions, 50.0 % compliant with HttpTokens required: 1 COMPLIANT, 1 DRIFT.",
    ]


def test_ended_instances_are_not_there(command: Command, home: FakeEc2) -> None:
    """Nothing can be said of them any more."""
    home.launch(an_instance(3), an_instance(4))
    home.set_state(an_id(3), InstanceState.TERMINATED)
    home.set_state(an_id(4), InstanceState.STOPPED)
    assert sorted(statuses(command)) == [an_id(1), an_id(2), an_id(4)]


def test_it_changes_nothing(command: Command, clients: FakeClients) -> None:
    """Neither instances nor the table."""
    command("audit")
    assert set(clients.ec2_calls) == {"DescribeRegions", "DescribeInstances"}
    assert clients.table.writes == 0


def test_only_some_regions(command: Command, clients: FakeClients) -> None:
    """Nothing is asked of the others."""
    document = command.json("audit", "--regions", AWAY)
    assert [each["region"] for each in document["regions"]] == [AWAY]
    assert {name for name, fake in clients.fakes.items() if fake.finds} == {AWAY}


# Exit codes.


@pytest.mark.parametrize(
    ("fail_on", "exit_code"),
    [
        ((), 1),
        (("--fail-on", "drift"), 1),
        (("--fail-on", "held"), 0),
        (("--fail-on", "held,exempt-expired"), 0),
        (("--fail-on", "held", "--fail-on", "drift"), 1),
        (("--fail-on", "held, drift"), 1),
    ],
)
def test_what_fails(command: Command, fail_on: tuple[str, ...], exit_code: int) -> None:
    """Drift, unless told otherwise."""
    assert command("audit", *fail_on).exit_code == exit_code


def test_a_hold_may_fail(command: Command) -> None:
    """A pipeline may want to have none of them."""
    command("hold", an_id(1), "--reason", "vendor agent")
    assert command("audit").exit_code == 0
    assert command("audit", "--fail-on", "held").exit_code == 1


def test_what_ec2_refused_does_not_fail_for_ever(command: Command, clients: FakeClients, away: FakeEc2) -> None:
    """The enforcer has done what it can; it is not compliant either. Only a policy that names such an option asks."""
    clients.ssm.put(POLICY_PARAMETER, '{"instance_metadata_tags": "enabled"}')
    away.set_tags(an_id(2), **{"Patch Group": "linux"})
    command.sweep()
    clients.table.requests.clear()
    assert statuses(command, exit_code=0) == {an_id(1): "COMPLIANT", an_id(2): "HELD"}
    assert command("audit", "--fail-on", "held").exit_code == 1
    [why] = command.json("audit", "--instance", an_id(2))["instances"]
    assert (why["status"], why["by"]) == ("HELD", "EC2")
    asked = [request for request in clients.table.requests if "refused#" in request]
    assert len(asked) == 5
    clients.ssm.put(POLICY_PARAMETER, "{}")
    command("audit")
    assert [request for request in clients.table.requests if "refused#" in request] == asked


def test_an_expired_exemption_may_fail(command: Command, clients: FakeClients) -> None:
    """Before it is drift that somebody has to explain."""
    exemption = {"match": {"instance_id": "*"}, "reason": "legacy SDK", "expires": "2026-11-21"}
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": [exemption]}))
    assert command("audit", "--fail-on", "exempt-expired").exit_code == 1
    assert command("audit", "--fail-on", "exempt-expired", "--regions", AWAY).exit_code == 0


def test_nothing_to_find(command: Command) -> None:
    """No table, and the exit code says so."""
    result = command("audit", "--regions", AWAY)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "1 instance in 1 region, 100.0 % compliant" in result.stderr


def test_a_share_is_not_rounded_to_all(command: Command, home: FakeEc2) -> None:
    """One of 2,002 is one that does not comply."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(100, 2100)))
    result = command("audit")
    assert "eu-west-1 2001 2000 (99.9 %) 1 " in lines(result.stderr)[1]
    assert "2002 instances in 2 regions, 99.9 % compliant" in result.stderr


def test_an_account_without_instances(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of none, none differs."""
    result = Command(clients, monkeypatch)("audit")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "0 instances in 2 regions, 100.0 % compliant with HttpTokens required.\n"


# The policy.


def test_without_a_policy_tokens_are_required(command: Command, clients: FakeClients) -> None:
    """And it is said: nobody has decided that."""
    clients.ssm.values.clear()
    result = command("audit", "--output", "json")
    document = json.loads(result.stdout)
    assert document["policy"] == {
        "source": "none: HttpTokens required is assumed",
        "http_tokens": "required",
        "versions": {"http_tokens": 0, "policy": 0},
    }
    assert result.stderr.startswith("There is no policy in eu-west-1, so HttpTokens required is assumed; name the ")
    assert document["summary"]["statuses"]["DRIFT"] == 1


@pytest.mark.parametrize("missing", [TOKENS_PARAMETER, POLICY_PARAMETER])
def test_half_a_policy_is_none(command: Command, clients: FakeClients, missing: str) -> None:
    """Somebody meant to have one: nothing is assumed."""
    del clients.ssm.values[missing]
    assert "is missing; allowed: " in command.refusal("audit")


def test_what_is_no_policy(command: Command, clients: FakeClients) -> None:
    """In the words of whoever wrote it."""
    clients.ssm.put(POLICY_PARAMETER, '{"mode": "of"}')
    assert command.refusal("audit").startswith('imds-enforcer: mode is "of"; allowed: enforce, audit (parameters')


def test_a_policy_that_may_not_be_read(command: Command, clients: FakeClients) -> None:
    """It may say anything."""
    clients.ssm.error = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetParameters")
    assert command.refusal("audit") == "imds-enforcer: AccessDeniedException: no"


def test_a_policy_in_a_file(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """In place of the account's, which is not read."""
    path = tmp_path / "policy.json"
    path.write_text('{"http_tokens": "optional"}')
    document = command.json("audit", "--policy", str(path), exit_code=1)
    assert document["policy"]["source"] == str(path)
    assert [each["status"] for each in document["instances"]] == ["COMPLIANT", "DRIFT"]
    assert clients.ssm.requests == []
    path.write_text("{}")
    refusal = f"imds-enforcer: {path}: http_tokens is missing; allowed: required or optional"
    assert command.refusal("audit", "--policy", str(path)) == refusal


def test_holds_that_cannot_be_read(command: Command, clients: FakeClients) -> None:
    """What is held would look like drift."""
    clients.table.read_failure = SERVER_FAULT
    assert command.refusal("audit") == f"imds-enforcer: {SERVER_FAULT}"


# Notes.

NOTES = [
    "no instance fits the exemption (tag Team=*) legacy",
    'the exemption (tag Team=*) legacy: the tag key is "Team", instances have "team"; case and spaces matter',
]


def test_patterns_that_fit_nothing_are_noted(command: Command, clients: FakeClients, home: FakeEc2) -> None:
    """On standard error, in the document, and in the report; they change no exit code."""
    home.launch(an_instance(3, V2_ONLY, tags={"team": "web"}))
    clients.ssm.put(POLICY_PARAMETER, '{"exemptions": [{"match": {"tag": {"key": "Team"}}, "reason": "legacy"}]}')
    result = command("audit", "--fail-on", "held")
    assert result.exit_code == 0
    assert result.stderr.startswith("".join(f"Note: {note}.\n" for note in NOTES))
    assert command.json("audit", exit_code=1)["notes"] == NOTES
    assert "Note: no instance fits the exemption (tag Team=*) legacy." in command("audit", "--output", "html").stdout


@pytest.mark.parametrize("regions", [HOME, f"{HOME},{AWAY}"])
def test_no_exemption_is_idle_where_not_every_region_was_asked_for(
    command: Command, clients: FakeClients, regions: str
) -> None:
    """Its instances may be elsewhere."""
    clients.ssm.put(POLICY_PARAMETER, '{"exemptions": [{"match": {"image_id": "ami-9"}, "reason": "legacy"}]}')
    assert command.json("audit", "--regions", regions, exit_code=1)["notes"] == []
    assert command.json("audit", "--regions", " all", exit_code=1)["notes"] != []


def test_no_exemption_is_idle_where_a_region_was_not_read_to_its_end(
    command: Command, clients: FakeClients, home: FakeEc2
) -> None:
    """Its instances may be on the next page. That calls are not known does not matter."""
    clients.ssm.put(POLICY_PARAMETER, '{"exemptions": [{"match": {"image_id": "ami-9"}, "reason": "legacy"}]}')
    clients.metrics[HOME].failure = UNAUTHORIZED
    assert command.json("audit", exit_code=1)["notes"] == ["no instance fits the exemption (image_id ami-9) legacy"]
    home.page_size, home.find_errors = 1, {3: SERVER_FAULT}
    home.launch(an_instance(3))
    assert command.json("audit", exit_code=1)["notes"] == []


# IMDSv1 calls.


def test_calls_are_counted_in_the_lookback(command: Command, clients: FakeClients) -> None:
    """From the beginning of a day, only of what serves them."""
    clients.metrics[HOME].data = {
        (SERVED, an_id(1)): [(MIDNIGHT - timedelta(days=20), 5.0), (MIDNIGHT - timedelta(days=3), 2.0)]
    }
    document = command.json("audit", exit_code=1)
    assert document["lookback_days"] == 14
    assert [each["imdsv1_calls"] for each in document["instances"]] == [{"total": 2, "last": "2026-11-19"}, None]
    (longer, _) = command.json("audit", "--lookback-days", "20", exit_code=1)["instances"]
    assert longer["imdsv1_calls"] == {"total": 7, "last": "2026-11-19"}
    assert clients.metrics[HOME].requests == [(SERVED, [an_id(1)], 86_400)] * 2
    assert clients.metrics[AWAY].requests == []


def test_calls_cost_money(command: Command, clients: FakeClients) -> None:
    """Nobody has to ask for them."""
    (first, _) = command.json("audit", "--no-calls", exit_code=1)["instances"]
    assert first["imdsv1_calls"] is None
    assert clients.metrics[HOME].requests == []


@pytest.mark.parametrize(("days", "requests"), [("14", [500, 100]), ("455", [220, 220, 160])])
def test_as_many_as_a_request_takes(
    command: Command, clients: FakeClients, home: FakeEc2, days: str, requests: list[int]
) -> None:
    """500 metrics and 100,800 points."""
    home.launch(*(an_instance(number) for number in range(100, 699)))
    command("audit", "--lookback-days", days)
    assert [len(ids) for _, ids, _ in clients.metrics[HOME].requests] == requests


def test_the_gate_counts_its_own_days(command: Command, clients: FakeClients) -> None:
    """However many are shown."""
    clients.ssm.put(POLICY_PARAMETER, '{"legacy_calls": {"lookback_days": 30}}')
    clients.metrics[HOME].data = {(SERVED, an_id(1)): [(MIDNIGHT - timedelta(days=20), 5.0)]}
    document = command.json("audit", "--lookback-days", "7")
    (held, _) = document["instances"]
    assert (held["status"], held["by"], held["imdsv1_calls"]["total"]) == ("HELD", "the policy's legacy_calls", None)
    assert held["reason"].startswith("5 IMDSv1 calls in 30 days, the last on 2026-11-02; gated until the calls stop; ")
    assert command.json("audit")["lookback_days"] == 30


def test_the_gate_by_group_shows_what_the_group_was_called(
    command: Command, clients: FakeClients, home: FakeEc2
) -> None:
    """In the reason; the instance's own calls stand beside it. Where to look for the caller is said once."""
    web, quiet = {AUTO_SCALING_GROUP_TAG: "web"}, {AUTO_SCALING_GROUP_TAG: "quiet"}
    home.page_size = 2
    home.launch(
        an_instance(3, tags=web),
        an_instance(4, tags=web, attached_at=START),
        an_instance(5, tags=quiet),
        an_instance(6, tags={AUTO_SCALING_GROUP_TAG: "new"}),
    )
    clients.ssm.put(POLICY_PARAMETER, '{"legacy_calls": {"by": "group"}}')
    metrics = clients.metrics[HOME]
    metrics.groups = {
        (SERVED, "web"): [(MIDNIGHT, 2.0)],
        (REJECTED, "web"): [(MIDNIGHT, 3.0)],
        (SERVED, "quiet"): [(MIDNIGHT, 0.0)],
    }
    metrics.data = {(SERVED, an_id(number)): [(MIDNIGHT, 9.0)] for number in (5, 6)}
    result = command("audit", "--output", "json", "--fail-on", "held")
    found = {each["instance_id"]: each for each in json.loads(result.stdout)["instances"]}
    counted = "Auto Scaling group web: 5 IMDSv1 calls in 14 days, the last on 2026-11-22; gated until the calls stop; "
    for number in (3, 4):
        assert found[an_id(number)]["status"] == "HELD"
        assert found[an_id(number)]["reason"].startswith(counted)
        assert found[an_id(number)]["imdsv1_calls"]["total"] is None
    assert (found[an_id(5)]["status"], found[an_id(5)]["imdsv1_calls"]["total"]) == ("DRIFT", 9)
    assert found[an_id(6)]["reason"].startswith("9 IMDSv1 calls in 14 days")
    asked = [names for metric, names, _ in metrics.requests if metric == f"{SERVED}+{REJECTED}"]
    assert sorted(chain(*asked)) == ["new", "quiet", "web"]
    assert result.stderr.count("sudo python3 src/imds_snoop.py") == 1


def test_a_group_whose_calls_cannot_be_read_is_not_judged_by_its_instances(
    command: Command, clients: FakeClients, home: FakeEc2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls are not known, as the enforcer would say."""
    home.launch(an_instance(3, tags={AUTO_SCALING_GROUP_TAG: "web"}))
    clients.ssm.put(POLICY_PARAMETER, '{"legacy_calls": {"by": "group"}}')
    metrics = clients.metrics[HOME]
    metrics.data = {(SERVED, an_id(3)): [(MIDNIGHT, 9.0)]}
    points = metrics.points

    def of_instances_only(counted: Counted, *args: Any, **kwargs: Any) -> Points:
        metrics.failure = THROTTLED if counted.dimension == "AutoScalingGroupName" else None
        return points(counted, *args, **kwargs)

    monkeypatch.setattr(metrics, "points", of_instances_only)
    document = command.json("audit", exit_code=1)
    assert [each["status"] for each in document["instances"] if each["instance_id"] == an_id(3)] == ["DRIFT"]
    assert document["regions"][0]["error"] == f"the IMDSv1 calls are not known: {THROTTLED}"


def test_calls_that_cannot_be_read(command: Command, clients: FakeClients, home: FakeEc2) -> None:
    """The instances are told of all the same; it is not tried again, and the exit code says that something failed."""
    clients.metrics[HOME].failure = UNAUTHORIZED
    home.page_size = 1
    home.launch(an_instance(3))
    result = command("audit", "--output", "json", "--fail-on", "held")
    document, error = json.loads(result.stdout), f"the IMDSv1 calls are not known: {UNAUTHORIZED}"
    assert (result.exit_code, document["regions"][0]["error"]) == (1, error)
    assert f"{HOME}: {error}\n" in result.stderr
    assert [each["imdsv1_calls"] for each in document["instances"]] == [None, None, None]
    assert len(clients.metrics[HOME].requests) == 1


# Regions that fail.


def test_a_region_that_cannot_be_read_stops_no_other(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and the exit code says so whatever the findings are."""
    result = audited_fleet(clock, monkeypatch)("audit", "--fail-on", "exempt-expired", "--regions", f"{AWAY},{CLOSED}")
    assert result.exit_code == 1
    assert f"{CLOSED}: {UNAUTHORIZED}\n" in result.stderr
    assert result.stderr.endswith(f" Not read in full: {CLOSED}.\n")
    assert an_id(8) in result.stdout


def test_what_was_read_of_a_region_counts(command: Command, home: FakeEc2) -> None:
    """The rest is not made up."""
    home.page_size, home.find_errors = 1, {2: SERVER_FAULT}
    home.launch(an_instance(3))
    document = command.json("audit", exit_code=1)
    assert [each["instance_id"] for each in document["instances"]] == [an_id(1), an_id(2)]
    assert document["regions"][0]["error"] == str(SERVER_FAULT)


def test_where_no_region_can_be_read(command: Command, home: FakeEc2, away: FakeEc2) -> None:
    """There is nothing to show."""
    home.find_errors = away.find_errors = {1: UNAUTHORIZED}
    refusal = f"no region could be read; {HOME}: {UNAUTHORIZED}; {AWAY}: {UNAUTHORIZED}"
    assert command.refusal("audit") == f"imds-enforcer: {refusal}"


def test_regions_that_cannot_be_listed(command: Command, home: FakeEc2) -> None:
    """Nobody could tell what was left out."""
    home.regions_error = THROTTLED
    assert command.refusal("audit") == f"imds-enforcer: {THROTTLED}"


@pytest.mark.parametrize("failure", [UNAUTHORIZED, DENIED_BY_SCP])
@pytest.mark.parametrize(
    ("regions", "audited"),
    [(None, [HOME]), ({"exclude": [AWAY]}, [HOME]), ({"include": [AWAY]}, [AWAY]), ({"include": [HOME, AWAY]}, None)],
)
def test_regions_that_may_not_be_listed(
    command: Command, clients: FakeClients, regions: dict[str, Any] | None, audited: list[str] | None, failure: Failure
) -> None:
    """Those of the policy, else the home region; a line says so. Who names some gets these."""
    clients.ec2(HOME).regions_error = failure
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"regions": regions} if regions else {}))
    result = command("audit", "--output", "json", "--fail-on", "held")
    audited = audited or [HOME, AWAY]
    assert result.exit_code == 0
    assert [each["region"] for each in json.loads(result.stdout)["regions"]] == audited
    assert result.stderr.splitlines()[0] == (
        f"EC2 does not list the account's regions ({failure}). This covers only {', '.join(audited)}; "
        "name others in the policy's regions.include."
    )
    named = command("audit", "--output", "json", "--fail-on", "held", "--regions", AWAY)
    assert [each["region"] for each in json.loads(named.stdout)["regions"]] == [AWAY]
    assert "EC2 does not list" not in named.stderr


def test_no_exemption_is_idle_where_the_regions_are_not_known(command: Command, clients: FakeClients) -> None:
    """Another region may have the instance that it is for."""
    exemption = {"match": {"image_id": "ami-1"}, "reason": "old SDK"}
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": [exemption]}))
    assert len(command.json("audit", exit_code=1)["notes"]) == 1
    clients.ec2(HOME).regions_error = DENIED_BY_SCP
    assert command.json("audit", exit_code=1)["notes"] == []


def test_a_region_that_the_policy_leaves_out(command: Command, clients: FakeClients, home: FakeEc2) -> None:
    """Is asked only if it is named; what differs there is exempt."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"regions": {"exclude": [HOME]}}))
    document = command.json("audit")
    assert [each["region"] for each in document["regions"]] == [AWAY]
    assert home.finds == []
    assert statuses(command, "--regions", HOME, exit_code=0) == {an_id(1): "EXEMPT"}


def test_a_policy_that_leaves_out_every_region(command: Command, clients: FakeClients) -> None:
    """There is nothing to ask."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"regions": {"exclude": [HOME, AWAY]}}))
    refusal = f"the policy leaves out every region: {HOME}, {AWAY}; name one with --regions"
    assert command.refusal("audit") == f"imds-enforcer: {refusal}"


def test_a_region_that_the_organization_denies_is_no_finding(command: Command, home: FakeEc2) -> None:
    """It keeps its line, and its instances are not taken for compliant."""
    home.find_errors = dict.fromkeys((1, 2, 3), DENIED_BY_SCP)
    result = command("audit")
    assert (result.exit_code, result.stdout) == (0, "")
    assert lines(result.stderr) == [
        f"{HOME}: denied by the organization: {DENIED_BY_SCP}",
        "REGION INSTANCES COMPLIANT DRIFT HELD EXEMPT MANAGED UNREADABLE",
        "eu-west-1 0 not read 0 0 0 0 0",
        "us-east-1 1 1 (100.0 %) 0 0 0 0 0",
        f"1 instance in 2 regions, 99.9 % compliant with HttpTokens required: 1 COMPLIANT. Not read in full: {HOME}.",
    ]
    document = command.json("audit")
    assert document["summary"]["compliant_percent"] == 99.9
    denied, read = document["regions"]
    assert (denied["compliant_percent"], denied["error"]) == (0.0, f"denied by the organization: {DENIED_BY_SCP}")
    assert (read["compliant_percent"], read["error"]) == (100.0, None)
    page = command("audit", "--output", "html")
    assert page.exit_code == 0
    assert "100\N{NO-BREAK SPACE}%" not in page.stdout.partition('id="regions"')[0]


@pytest.mark.parametrize("failure", [UNAUTHORIZED, SERVER_FAULT])
def test_a_region_that_is_denied_for_another_reason_is_a_failure(
    command: Command, home: FakeEc2, failure: Failure
) -> None:
    """Or a permission that is missing would pass for the organization's will."""
    home.find_errors = {1: failure}
    result = command("audit")
    assert result.exit_code == 1
    assert f"{HOME}: {failure}\n" in result.stderr
    assert "100.0 % compliant with" not in result.stderr


def test_what_is_denied_after_a_part_was_read_is_a_failure(command: Command, home: FakeEc2) -> None:
    """No organization intends that."""
    home.launch(an_instance(3, V2_ONLY), an_instance(4))
    home.page_size, home.find_errors = 1, {3: DENIED_BY_SCP}
    assert command("audit", "--fail-on", "held").exit_code == 1


def test_no_instances_and_a_region_that_is_denied(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """No share of nothing is claimed."""
    clients.ec2(AWAY).find_errors = {1: DENIED_BY_SCP}
    result = Command(clients, monkeypatch)("audit")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == f"0 instances in 2 regions. Not read in full: {AWAY}."


def test_who_interrupts_waits_for_a_page_at_most(clients: FakeClients, home: FakeEc2) -> None:
    """Not for all the pages of the regions that are under way."""
    home.page_size = 1
    home.launch(an_instance(1), an_instance(2))
    stopped = threading.Event()
    fleet = Fleet(
        clients=clients,
        judge=Judge(a_policy(), Standing(), START),
        now=START,
        lookback=None,
        readers={},
        progress=lambda *_, **__: stopped.set(),
        stopped=stopped,
    )
    (region,) = fleet.audit([HOME])
    assert [each.instance_id for each in region.instances] == [an_id(1)]


# Sources.


def test_sources_are_asked_about_where_they_are_shown(command: Command) -> None:
    """The other formats do without the requests."""
    for output in ("table", "csv", "asff", "sarif"):
        command("audit", "--output", output)
    assert not any(launches.requests for launches in command.launches.values())
    command.launches[HOME].defaults = {"HttpTokens": "optional"}
    assert [each["launches_imdsv1"] for each in command.json("audit", exit_code=1)["sources"]] == [True, None]


def test_the_worst_source_comes_first(command: Command, home: FakeEc2) -> None:
    """It is to be mended first."""
    home.launch(*(an_instance(number, image_id="ami-1") for number in (5, 6)))
    table = lines(command("audit", "--group-by", "source").stdout)
    assert [line.split(";")[0] for line in table[1:]] == [
        "ami-1",
        "eu-west-1 1 1 not known no launch template, the region has no default",
        "us-east-1 1 0 not known no launch template, the region has no default",
    ]


# What it cannot use.


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("--fail-on", "drift,x"), "--fail-on has 'x'; allowed: drift, held, exempt-expired"),
        (("--lookback-days", "0"), "Invalid value for '--lookback-days': 0 is not in the range 1<=x<=455."),
        (("--group-by", "tag"), "Invalid value for '--group-by': 'tag' is not one of 'source'."),
        (("--output", "xml"), "Invalid value for '--output': 'xml' is not one of 'table', 'json', 'csv', 'html', "),
        (
            ("--group-by", "source", "--output", "asff"),
            "--group-by with --output asff; allowed: with table, json, csv, html",
        ),
        (("--policy", "/nonexistent"), "/nonexistent cannot be read: No such file or directory"),
    ],
)
def test_what_it_cannot_use(command: Command, arguments: tuple[str, ...], refusal: str) -> None:
    """One line says what was received and what is allowed, before AWS is asked for anything."""
    assert command.refusal("audit", *arguments).startswith(f"imds-enforcer: {refusal}")
    assert command.profiles == []


def test_profile_and_region_lead_to_the_account(command: Command) -> None:
    """As given."""
    command("audit", "--profile", "ops", "--region", AWAY)
    assert command.profiles == [("ops", AWAY)]


def test_progress_is_for_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """How far each region is, and nothing of it elsewhere."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    with region_progress([HOME, AWAY]) as tell:
        tell(AWAY, pages=1, instances=7, done=True)
        tell(HOME, pages=2, instances=1_500)
    assert "2 regions" in terminal.getvalue()
    assert "1/2" in terminal.getvalue()
    assert f"{HOME}: 2 pages, 1500 instances" in terminal.getvalue()
    assert AWAY not in terminal.getvalue()
    assert "page" not in command("audit").stderr
