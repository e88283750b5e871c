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
    """The command, with an instance that allows IMDSv1 in one region and one that does not in the other."""
    home.launch(an_instance(1))
    away.launch(an_instance(2, V2_ONLY))
    return Command(clients, monkeypatch)


def statuses(command: Command, *arguments: str, exit_code: int = 1) -> dict[str, str]:
    """The status of each instance."""
    document = command.json("audit", *arguments, exit_code=exit_code)
    return {each["instance_id"]: each["status"] for each in document["instances"]}


def test_instances_that_differ_from_the_policy_are_shown(command: Command) -> None:
    """They are on standard output; the counts by region and in all are on standard error."""
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


def test_ended_instances_are_not_listed(command: Command, home: FakeEc2) -> None:
    """Their options no longer matter."""
    home.launch(an_instance(3), an_instance(4))
    home.set_state(an_id(3), InstanceState.TERMINATED)
    home.set_state(an_id(4), InstanceState.STOPPED)
    assert sorted(statuses(command)) == [an_id(1), an_id(2), an_id(4)]


def test_an_audit_changes_nothing(command: Command, clients: FakeClients) -> None:
    """It writes neither to instances nor to the table."""
    command("audit")
    assert set(clients.ec2_calls) == {"DescribeRegions", "DescribeInstances"}
    assert clients.table.writes == 0


def test_only_some_regions(command: Command, clients: FakeClients) -> None:
    """The audit does not call AWS in the other regions."""
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
def test_what_makes_the_exit_code_1(command: Command, fail_on: tuple[str, ...], exit_code: int) -> None:
    """By default it is drift; `--fail-on` names other states."""
    assert command("audit", *fail_on).exit_code == exit_code


def test_a_hold_may_make_the_exit_code_1(command: Command) -> None:
    """A pipeline may require that there are no holds."""
    command("hold", an_id(1), "--reason", "vendor agent")
    assert command("audit").exit_code == 0
    assert command("audit", "--fail-on", "held").exit_code == 1


def test_an_option_that_ec2_refuses_is_held_and_not_drift(
    command: Command, clients: FakeClients, away: FakeEc2
) -> None:
    """The enforcer has done what it can. The audit reads the refusals only if the policy sets one of these options."""
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


def test_an_expired_exemption_may_make_the_exit_code_1(command: Command, clients: FakeClients) -> None:
    """A pipeline notices it before the enforcer changes the instance."""
    exemption = {"match": {"instance_id": "*"}, "reason": "legacy SDK", "expires": "2026-11-21"}
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": [exemption]}))
    assert command("audit", "--fail-on", "exempt-expired").exit_code == 1
    assert command("audit", "--fail-on", "exempt-expired", "--regions", AWAY).exit_code == 0


def test_without_findings_there_is_no_table(command: Command) -> None:
    """The exit code is 0."""
    result = command("audit", "--regions", AWAY)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "1 instance in 1 region, 100.0 % compliant" in result.stderr


def test_a_share_is_not_rounded_to_all(command: Command, home: FakeEc2) -> None:
    """With one finding in 2,002 instances, 100 % would be wrong."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(100, 2100)))
    result = command("audit")
    assert "eu-west-1 2001 2000 (99.9 %) 1 " in lines(result.stderr)[1]
    assert "2002 instances in 2 regions, 99.9 % compliant" in result.stderr


def test_an_account_without_instances(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as compliant."""
    result = Command(clients, monkeypatch)("audit")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "0 instances in 2 regions, 100.0 % compliant with HttpTokens required.\n"


# The policy.


def test_without_a_policy_tokens_are_required(command: Command, clients: FakeClients) -> None:
    """The command says so, because it is an assumption."""
    clients.ssm.values.clear()
    result = command("audit", "--output", "json")
    document = json.loads(result.stdout)
    assert document["policy"] == {
        "source": "the default, as there is no policy",
        "http_tokens": "required",
        "versions": {"http_tokens": 0, "policy": 0},
    }
    assert result.stderr.startswith("There is no policy in eu-west-1, so HttpTokens required is assumed; name the ")
    assert document["summary"]["statuses"]["DRIFT"] == 1


@pytest.mark.parametrize("missing", [TOKENS_PARAMETER, POLICY_PARAMETER])
def test_half_a_policy_is_an_error(command: Command, clients: FakeClients, missing: str) -> None:
    """The account is meant to have a policy, so the audit assumes nothing."""
    del clients.ssm.values[missing]
    assert "is missing; allowed: " in command.refusal("audit")


def test_an_invalid_policy(command: Command, clients: FakeClients) -> None:
    """The error is the parser's."""
    clients.ssm.put(POLICY_PARAMETER, '{"mode": "of"}')
    assert command.refusal("audit").startswith('imds-enforcer: mode is "of"; allowed: enforce, audit (parameters')


def test_a_policy_that_may_not_be_read(command: Command, clients: FakeClients) -> None:
    """The audit assumes nothing about it."""
    clients.ssm.error = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetParameters")
    assert command.refusal("audit") == "imds-enforcer: AccessDeniedException: no"


def test_a_policy_in_a_file(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """The audit uses it instead of the account's policy, which it does not read."""
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
    """Held instances would look like drift."""
    clients.table.read_failure = SERVER_FAULT
    assert command.refusal("audit") == f"imds-enforcer: {SERVER_FAULT}"


# Notes.

NOTES = [
    "no instance matches the exemption (tag Team=*) legacy",
    'the exemption (tag Team=*) legacy: the tag key is "Team", instances have "team"; case and spaces matter',
]


def test_patterns_that_match_nothing_are_noted(command: Command, clients: FakeClients, home: FakeEc2) -> None:
    """The notes are on standard error, in the document and in the report; they do not change the exit code."""
    home.launch(an_instance(3, V2_ONLY, tags={"team": "web"}))
    clients.ssm.put(POLICY_PARAMETER, '{"exemptions": [{"match": {"tag": {"key": "Team"}}, "reason": "legacy"}]}')
    result = command("audit", "--fail-on", "held")
    assert result.exit_code == 0
    assert result.stderr.startswith("".join(f"Note: {note}.\n" for note in NOTES))
    assert command.json("audit", exit_code=1)["notes"] == NOTES
    assert "Note: no instance matches the exemption (tag Team=*) legacy." in command("audit", "--output", "html").stdout


@pytest.mark.parametrize("regions", [HOME, f"{HOME},{AWAY}"])
def test_no_exemption_is_idle_unless_every_region_is_audited(
    command: Command, clients: FakeClients, regions: str
) -> None:
    """Its instances may be in another region."""
    clients.ssm.put(POLICY_PARAMETER, '{"exemptions": [{"match": {"image_id": "ami-9"}, "reason": "legacy"}]}')
    assert command.json("audit", "--regions", regions, exit_code=1)["notes"] == []
    assert command.json("audit", "--regions", " all", exit_code=1)["notes"] != []


def test_no_exemption_is_idle_if_a_region_was_not_read_completely(
    command: Command, clients: FakeClients, home: FakeEc2
) -> None:
    """Its instances may be on the next page. Unknown IMDSv1 calls do not matter."""
    clients.ssm.put(POLICY_PARAMETER, '{"exemptions": [{"match": {"image_id": "ami-9"}, "reason": "legacy"}]}')
    clients.metrics[HOME].failure = UNAUTHORIZED
    assert command.json("audit", exit_code=1)["notes"] == ["no instance matches the exemption (image_id ami-9) legacy"]
    home.page_size, home.find_errors = 1, {3: SERVER_FAULT}
    home.launch(an_instance(3))
    assert command.json("audit", exit_code=1)["notes"] == []


# IMDSv1 calls.


def test_calls_are_counted_in_the_lookback(command: Command, clients: FakeClients) -> None:
    """The count begins at the start of a day, and covers only instances that allow IMDSv1."""
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


def test_no_calls_avoids_the_cost_of_metrics(command: Command, clients: FakeClients) -> None:
    """CloudWatch charges for each metric."""
    (first, _) = command.json("audit", "--no-calls", exit_code=1)["instances"]
    assert first["imdsv1_calls"] is None
    assert clients.metrics[HOME].requests == []


@pytest.mark.parametrize(("days", "requests"), [("14", [500, 100]), ("455", [220, 220, 160])])
def test_requests_to_cloudwatch_are_as_large_as_allowed(
    command: Command, clients: FakeClients, home: FakeEc2, days: str, requests: list[int]
) -> None:
    """The limits are 500 metrics and 100,800 data points."""
    home.launch(*(an_instance(number) for number in range(100, 699)))
    command("audit", "--lookback-days", days)
    assert [len(ids) for _, ids, _ in clients.metrics[HOME].requests] == requests


def test_the_gate_counts_its_own_days(command: Command, clients: FakeClients) -> None:
    """`--lookback-days` affects only the calls that are shown."""
    clients.ssm.put(POLICY_PARAMETER, '{"legacy_calls": {"lookback_days": 30}}')
    clients.metrics[HOME].data = {(SERVED, an_id(1)): [(MIDNIGHT - timedelta(days=20), 5.0)]}
    document = command.json("audit", "--lookback-days", "7")
    (held, _) = document["instances"]
    assert (held["status"], held["by"], held["imdsv1_calls"]["total"]) == ("HELD", "the policy's legacy_calls", None)
    assert held["reason"].startswith("5 IMDSv1 calls in 30 days, the last on 2026-11-02; gated until the calls stop; ")
    assert command.json("audit")["lookback_days"] == 30


def test_the_gate_by_group_shows_the_calls_of_the_group(command: Command, clients: FakeClients, home: FakeEc2) -> None:
    """They are in the reason, beside the instance's own calls. The command says once how to find callers."""
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
    """Its calls are unknown, as for the enforcer."""
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
    """The audit shows the instances all the same, does not try again, and ends with exit code 1."""
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
    """The audit names it and ends with exit code 1, whatever the findings are."""
    result = audited_fleet(clock, monkeypatch)("audit", "--fail-on", "exempt-expired", "--regions", f"{AWAY},{CLOSED}")
    assert result.exit_code == 1
    assert f"{CLOSED}: {UNAUTHORIZED}\n" in result.stderr
    assert result.stderr.endswith(f" Not read in full: {CLOSED}.\n")
    assert an_id(8) in result.stdout


def test_the_part_of_a_region_that_was_read_counts(command: Command, home: FakeEc2) -> None:
    """The audit makes no assumption about the rest."""
    home.page_size, home.find_errors = 1, {2: SERVER_FAULT}
    home.launch(an_instance(3))
    document = command.json("audit", exit_code=1)
    assert [each["instance_id"] for each in document["instances"]] == [an_id(1), an_id(2)]
    assert document["regions"][0]["error"] == str(SERVER_FAULT)


def test_if_no_region_can_be_read_it_is_an_error(command: Command, home: FakeEc2, away: FakeEc2) -> None:
    """The error names every region with its reason."""
    home.find_errors = away.find_errors = {1: UNAUTHORIZED}
    refusal = f"no region could be read; {HOME}: {UNAUTHORIZED}; {AWAY}: {UNAUTHORIZED}"
    assert command.refusal("audit") == f"imds-enforcer: {refusal}"


def test_a_list_of_regions_that_fails_is_an_error(command: Command, home: FakeEc2) -> None:
    """The audit could not say which regions are missing."""
    home.regions_error = THROTTLED
    assert command.refusal("audit") == f"imds-enforcer: {THROTTLED}"


@pytest.mark.parametrize("failure", [UNAUTHORIZED, DENIED_BY_SCP])
@pytest.mark.parametrize(
    ("regions", "audited"),
    [(None, [HOME]), ({"exclude": [AWAY]}, [HOME]), ({"include": [AWAY]}, [AWAY]), ({"include": [HOME, AWAY]}, None)],
)
def test_without_permission_to_list_regions(
    command: Command, clients: FakeClients, regions: dict[str, Any] | None, audited: list[str] | None, failure: Failure
) -> None:
    """It audits the policy's regions, else the home region, and says so. Regions that the user names need no list."""
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


def test_no_exemption_is_idle_if_the_regions_are_unknown(command: Command, clients: FakeClients) -> None:
    """Another region may have its instance."""
    exemption = {"match": {"image_id": "ami-1"}, "reason": "old SDK"}
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": [exemption]}))
    assert len(command.json("audit", exit_code=1)["notes"]) == 1
    clients.ec2(HOME).regions_error = DENIED_BY_SCP
    assert command.json("audit", exit_code=1)["notes"] == []


def test_a_region_that_the_policy_leaves_out(command: Command, clients: FakeClients, home: FakeEc2) -> None:
    """The audit reads it only if the user names it; instances that differ are exempt there."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"regions": {"exclude": [HOME]}}))
    document = command.json("audit")
    assert [each["region"] for each in document["regions"]] == [AWAY]
    assert home.finds == []
    assert statuses(command, "--regions", HOME, exit_code=0) == {an_id(1): "EXEMPT"}


def test_a_policy_that_leaves_out_every_region(command: Command, clients: FakeClients) -> None:
    """The error says how to name a region."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"regions": {"exclude": [HOME, AWAY]}}))
    refusal = f"the policy leaves out every region: {HOME}, {AWAY}; name one with --regions"
    assert command.refusal("audit") == f"imds-enforcer: {refusal}"


def test_a_region_that_the_organization_denies_is_no_finding(command: Command, home: FakeEc2) -> None:
    """It keeps its row, and its instances do not count as compliant."""
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
def test_a_region_that_is_denied_otherwise_is_a_failure(command: Command, home: FakeEc2, failure: Failure) -> None:
    """Otherwise a missing permission would pass for the organization's decision."""
    home.find_errors = {1: failure}
    result = command("audit")
    assert result.exit_code == 1
    assert f"{HOME}: {failure}\n" in result.stderr
    assert "100.0 % compliant with" not in result.stderr


def test_a_region_that_is_denied_halfway_is_a_failure(command: Command, home: FakeEc2) -> None:
    """No organization denies only the second page."""
    home.launch(an_instance(3, V2_ONLY), an_instance(4))
    home.page_size, home.find_errors = 1, {3: DENIED_BY_SCP}
    assert command("audit", "--fail-on", "held").exit_code == 1


def test_no_instances_and_a_region_that_is_denied(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary claims no percentage."""
    clients.ec2(AWAY).find_errors = {1: DENIED_BY_SCP}
    result = Command(clients, monkeypatch)("audit")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == f"0 instances in 2 regions. Not read in full: {AWAY}."


def test_an_interrupt_waits_for_one_page_at_most(clients: FakeClients, home: FakeEc2) -> None:
    """It does not wait for the remaining pages."""
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


def test_sources_are_read_only_for_formats_that_show_them(command: Command) -> None:
    """The other formats save these requests."""
    for output in ("table", "csv", "asff", "sarif"):
        command("audit", "--output", output)
    assert not any(launches.requests for launches in command.launches.values())
    command.launches[HOME].defaults = {"HttpTokens": "optional"}
    assert [each["launches_imdsv1"] for each in command.json("audit", exit_code=1)["sources"]] == [True, None]


def test_the_worst_source_comes_first(command: Command, home: FakeEc2) -> None:
    """It is the first to fix."""
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
    """The error names the value received and the values allowed, before any call to AWS."""
    assert command.refusal("audit", *arguments).startswith(f"imds-enforcer: {refusal}")
    assert command.profiles == []


def test_profile_and_region_lead_to_the_account(command: Command) -> None:
    """The command passes both on as given."""
    command("audit", "--profile", "ops", "--region", AWAY)
    assert command.profiles == [("ops", AWAY)]


def test_progress_is_shown_only_on_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a line for each region that is under way."""
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
