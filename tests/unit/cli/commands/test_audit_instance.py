"""`audit --instance`: everything about single instances."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.decision.legacy_calls import FIND_CALLER, HOW_TO_FIND_CALLERS, REJECTED, SERVED
from imds_enforcer.ledger.holds import Contest, Hold
from imds_enforcer.model import InstanceState
from tests.fakes.clients import FakeClients
from tests.fakes.clock import START
from tests.fakes.command import ANN, Command, lines, undeployed
from tests.fakes.examples import (
    AWAY,
    HOME,
    POLICY_PARAMETER,
    SERVER_FAULT,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)

if TYPE_CHECKING:
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2

MIDNIGHT = START.replace(hour=0)
POLICY = {
    "legacy_calls": {"lookback_days": 14},
    "rollout_percent": 5,
    "launch_grace_seconds": 600,
    "exemptions": [{"match": {"instance_id": an_id(1)}, "reason": "old appliance", "expires": "2026-11-21"}],
}
GATE = "rule: hold back instances with more than 0 IMDSv1 calls in 14 days"
TEMPLATE, IMAGE = "lt-0aaaaaaaaaaaaaaa1", "ami-0bbbbbbbbbbbbbbb1"
TAGS = {
    "Name": "web-1",
    "aws:autoscaling:groupName": "web",
    "aws:ec2launchtemplate:id": TEMPLATE,
    "aws:ec2launchtemplate:version": "3",
    "eks:cluster-name": "shop",
}
CLOSED = "us-west-2"


@pytest.fixture
def command(clients: FakeClients, home: FakeEc2, away: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, with a group's instance that still calls IMDSv1, and a compliant instance in another region."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps(POLICY))
    home.launch(an_instance(1, tags=TAGS, image_id=IMAGE, attached_at=START - timedelta(days=2, hours=1)))
    away.launch(an_instance(2, V2_ONLY))
    clients.metrics[HOME].data = {
        (SERVED, an_id(1)): [(MIDNIGHT - timedelta(days=2), 12.0), (MIDNIGHT, 5.0)],
    }
    return Command(clients, monkeypatch)


def why(command: Command, *arguments: str, number: int = 1, exit_code: int = 0) -> dict[str, Any]:
    """One instance in the JSON document."""
    document = command.json("audit", "--instance", an_id(number), *arguments, exit_code=exit_code)
    [instance] = document["instances"]
    return dict(instance)


def rows(command: Command, *arguments: str, number: int = 1) -> dict[str, str]:
    """The rows of one instance's table, by their first column."""
    [_, *table] = command("audit", "--instance", an_id(number), *arguments).stdout.splitlines()
    return {line[:14].strip(): line[14:].strip() for line in table}


def test_everything_about_one_instance(command: Command) -> None:
    """The rows go from its current state to what launched it."""
    result = command("audit", "--instance", an_id(1))
    assert (result.exit_code, result.stderr) == (0, f"{HOW_TO_FIND_CALLERS}\n")
    drift = "HttpTokens is optional, not required, HttpPutResponseHopLimit is 1, not 2"
    calls = "17 IMDSv1 calls in 14 days, the last on 2026-11-22"
    appliance = "old appliance, until 2026-11-21"
    lapsed = f"a container host, which needs 2 hops; its exemption ({appliance}) has expired"
    options = (
        "HttpTokens optional; HttpEndpoint enabled; HttpPutResponseHopLimit 1; HttpProtocolIpv6 disabled; "
        "InstanceMetadataTags disabled"
    )
    assert lines(result.stdout) == [
        "WHAT STATE",
        f"instance {an_id(1)}; {HOME}; web-1; running",
        (
            f"status HELD; {calls}; gated until the calls stop; {FIND_CALLER}; {drift}; {lapsed}; "
            "by the policy's legacy_calls"
        ),
        f"options {options}; applied",
        "policy HttpTokens required, mode enforce; from Parameter Store; versions 1 (HttpTokens) and 2 (policy)",
        "decision NOT_REACHED; outside the current rollout (5 % of existing instances)",
        f"exemption none matches; nearly: (instance_id {an_id(1)}) {appliance}: it expired on 2026-11-21",
        f"gate holds the instance back; {calls}; gated until the calls stop; {FIND_CALLER}; {GATE}",
        "IMDSv1 calls served: 17 in 14 days, the last on 2026-11-22; rejected: no data in 14 days",
        "hold none",
        "contest none",
        "rollout included once rollout_percent is 18 or more; it is 5",
        "container host yes, by the tag eks:cluster-name=shop",
        "first launched 2026-11-20T11:00:00+00:00; an existing instance",
        "managed by the account",
        f"launched by Auto Scaling group web; launch template {TEMPLATE} version 3; image {IMAGE}",
        "ledger none",
    ]


def test_an_audit_of_one_instance_writes_nothing(command: Command, clients: FakeClients) -> None:
    """It does not store CloudWatch's answers either, as a run's gate does."""
    command("audit", "--instance", an_id(1))
    assert set(clients.ec2_calls) == {"DescribeRegions", "DescribeInstances"}
    assert clients.table.writes == 0
    assert clients.metrics[HOME].requests == [(SERVED, [an_id(1)], 86_400), (REJECTED, [an_id(1)], 86_400)]


def test_it_is_searched_by_id_in_every_region(clients: FakeClients, command: Command) -> None:
    """That includes regions that the policy leaves out. A listing would omit instances that a service manages."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"regions": {"exclude": [HOME]}}))
    found = why(command)
    assert (found["region_left_out"], found["status"]) == (True, "EXEMPT")
    assert found["decision"]["verdict"] == "REGION_LEFT_OUT"
    assert rows(command)["decision"] == "REGION_LEFT_OUT; the policy leaves this region out"
    assert all(fake.finds == [] for fake in clients.fakes.values())
    assert why(command, number=2)["region_left_out"] is False


def test_a_compliant_instance(command: Command, clients: FakeClients) -> None:
    """Its calls are counted all the same, served and rejected."""
    clients.metrics[AWAY].data = {(REJECTED, an_id(2)): [(MIDNIGHT, 3.0)]}
    found = why(command, number=2)
    assert (found["status"], found["decision"]["verdict"], found["decision"]["wanted"]) == (
        "COMPLIANT",
        "COMPLIANT",
        None,
    )
    assert found["gate"] == {
        "policy": "more than 0 IMDSv1 calls in 14 days",
        "in_force": True,
        "asked": False,
        "held_back": None,
        "days": 14,
        "served": {"total": None, "last": None},
        "rejected": {"total": 3, "last": "2026-11-22"},
        "error": None,
    }
    table = rows(command, number=2)
    assert table["gate"].startswith("does not apply: no change is due that would take IMDSv1")
    assert table["IMDSv1 calls"] == "served: no data in 14 days; rejected: 3 in 14 days, the last on 2026-11-22"


@pytest.mark.parametrize(
    ("gate", "shown", "verdict"),
    [
        (None, "off: the policy has no legacy_calls", "DRIFT"),
        (
            {"tolerate": 17},
            "lets the change through; rule: hold back instances with more than 17 IMDSv1 calls in 14 days",
            "DRIFT",
        ),
        (
            {"enforce_after": "2026-11-21"},
            "no longer in force; rule: hold back instances with more than 0 IMDSv1 calls in 14 days, until 2026-11-21",
            "DRIFT",
        ),
        (
            {"lookback_days": 1},
            (
                "holds the instance back; 5 IMDSv1 calls in 1 days, the last on 2026-11-22; gated until the calls "
                f"stop; {FIND_CALLER}; rule: hold back instances with more than 0 IMDSv1 calls in 1 days"
            ),
            "HELD",
        ),
        (
            {"by": "group", "tolerate": 17},
            (
                "holds the instance back; Auto Scaling group web: 40 IMDSv1 calls in 14 days, the last on 2026-11-22; "
                f"gated until the calls stop; {FIND_CALLER}; rule: hold back instances with more than 17 IMDSv1 calls "
                "in 14 days, counted by Auto Scaling group"
            ),
            "HELD",
        ),
    ],
)
def test_the_gate(
    command: Command, clients: FakeClients, gate: dict[str, Any] | None, shown: str, verdict: str
) -> None:
    """The row says whether the gate is in force and how it judges the calls; the calls are shown in any case."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"legacy_calls": gate} if gate else {}))
    clients.metrics[HOME].groups = {(REJECTED, "web"): [(MIDNIGHT, 40.0)]}
    table = rows(command, "--lookback-days", "14")
    assert table["gate"] == shown
    assert table["IMDSv1 calls"].startswith("served: 17 in 14 days")
    assert table["status"].startswith(f"{verdict};")


def test_a_hold_and_a_contest(command: Command, clients: FakeClients) -> None:
    """Each row says until when it lasts and by whom it is."""
    until = START + timedelta(days=1)
    hold = Hold(instance_id=an_id(1), reason="vendor agent", by=ANN, at=START, until=until)
    clients.ledger_table.holds.write([hold])
    clients.ledger_table.holds.contest(Contest(instance_id=an_id(1), principal="user/bob", until=until))
    table = rows(command)
    assert table["hold"] == f"held until 2026-11-23T12:00+00:00 by {ANN}: vendor agent"
    assert (
        table["contest"] == "repeatedly changed back by someone else, last by user/bob, until 2026-11-23T12:00:00+00:00"
    )
    assert table["status"].startswith("HELD; vendor agent; ")


def test_the_latest_entries_of_the_ledger(command: Command, clients: FakeClients) -> None:
    """The row also has the number of all entries."""
    clients.ssm.put(POLICY_PARAMETER, "{}")
    for number in range(6):
        command.sweep(f"run-{number}")
        clients.ec2(HOME).set_options(an_id(1), http_tokens=V1_ALLOWED.http_tokens)
    ledger = why(command, exit_code=1)["ledger"]
    assert (ledger["entries"], [each["run_id"] for each in ledger["latest"]]) == (
        6,
        ["run-1", "run-2", "run-3", "run-4", "run-5"],
    )
    shown = rows(command)["ledger"].split("; ")
    assert shown[0] == "6 in all, the latest first"
    assert shown[1] == ("2026-11-22T12:05:00+00:00 REMEDIATED: HttpTokens: optional → required (schedule, run run-5)")
    assert len(shown) == 6


def test_an_instance_that_a_service_manages(command: Command, home: FakeEc2) -> None:
    """It is found, and the table names the service."""
    home.launch(an_instance(3, managed_by="eks.amazonaws.com", attached_at=START - timedelta(minutes=5)))
    table = rows(command, number=3)
    assert table["managed by"] == "eks.amazonaws.com"
    assert table["decision"] == "MANAGED; managed by eks.amazonaws.com: the account cannot change it"
    assert table["first launched"] == (
        "2026-11-22T11:55:00+00:00; counts as new until 2026-11-22T12:55:00+00:00: neither rollout nor the gate by "
        "instance applies; in its launch grace period until 2026-11-22T12:05:00+00:00"
    )


def test_an_ended_instance(command: Command, home: FakeEc2) -> None:
    """EC2 shows it for an hour; an audit of the fleet does not list it."""
    home.set_state(an_id(1), InstanceState.TERMINATED)
    found = why(command)
    assert (found["status"], found["reason"], found["decision"]["verdict"]) == (
        None,
        "the instance is terminated",
        "ENDED",
    )
    assert rows(command)["status"] == "the instance is terminated"


def test_an_instance_with_unrecognized_options(command: Command, home: FakeEc2) -> None:
    """The audit assumes nothing about it."""
    home.make_unreadable(an_id(1))
    assert why(command)["options"] is None
    assert (rows(command)["options"], rows(command)["status"].split(";")[0]) == ("not recognized", "UNREADABLE")


def test_in_audit_mode(command: Command, clients: FakeClients) -> None:
    """The table shows the change, and that the enforcer does not make it."""
    clients.ssm.put(POLICY_PARAMETER, '{"mode": "audit"}')
    change = "HttpTokens: optional → required; HttpPutResponseHopLimit: 1 → 2"
    assert rows(command)["decision"].endswith(f"; {change}; the policy's mode is audit: the enforcer changes nothing")
    assert why(command, exit_code=1)["decision"]["wanted"] == V2_ONLY.as_log() | {"HttpPutResponseHopLimit": 2}


# What is missing or cannot be read.


def test_an_exemption_that_matches(command: Command, clients: FakeClients) -> None:
    """It is named even if the instance is compliant. An expired exemption is shown as expired, not as a reason."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": POLICY["exemptions"]}))
    table = rows(command)
    assert table["status"].endswith("; its exemption (old appliance, until 2026-11-21) has expired")
    exemption = {"match": {"region": AWAY}, "reason": "vendor", "owner": "payments", "expires": "2027-06-30"}
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": [exemption]}))
    table = rows(command, number=2)
    assert table["exemption"] == f"(region {AWAY}) vendor, owner payments, until 2027-06-30"
    assert table["status"].startswith("COMPLIANT; ")
    exemption["match"] = {"region": HOME}
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": [exemption]}))
    assert rows(command)["status"] == "EXEMPT; exempt: vendor, owner payments, until 2027-06-30"


def test_several_instances(command: Command) -> None:
    """Each appears once, in the order in which the user named them."""
    ids = (an_id(2), an_id(1), an_id(2))
    document = command.json("audit", *(word for each in ids for word in ("--instance", each)))
    assert [each["instance_id"] for each in document["instances"]] == [an_id(2), an_id(1)]
    assert (document["unknown"], document["errors"], document["regions"]) == ([], {}, [HOME, AWAY])
    table = lines(command("audit", "--instance", an_id(2), "--instance", an_id(1)).stdout)
    assert table.count("WHAT STATE") == 2


def test_an_unknown_instance(command: Command) -> None:
    """The error names it and the regions that were searched."""
    refused = f"imds-enforcer: no instance {an_id(8)}, {an_id(9)} in {HOME}, {AWAY}"
    assert command.refusal("audit", "--instance", an_id(8), "--instance", an_id(9)) == refused
    elsewhere = f"imds-enforcer: no instance {an_id(1)} in {AWAY}"
    assert command.refusal("audit", "--instance", an_id(1), "--regions", AWAY) == elsewhere


def test_an_unknown_instance_beside_a_known_one(command: Command) -> None:
    """The audit shows the other one and ends with exit code 1."""
    result = command("audit", "--instance", an_id(1), "--instance", an_id(9), "--output", "json")
    assert (result.exit_code, result.stderr) == (
        1,
        f"no instance {an_id(9)} in {HOME}, {AWAY}\n{HOW_TO_FIND_CALLERS}\n",
    )
    assert json.loads(result.stdout)["unknown"] == [an_id(9)]


def test_a_region_that_cannot_be_searched(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it only if an instance was not found, because the instance may be there."""
    clients = FakeClients(clock, HOME, AWAY, CLOSED)
    clients.ec2(HOME).launch(an_instance(1))
    clients.ec2(CLOSED).read_errors = dict.fromkeys(range(1, 9), UNAUTHORIZED)
    command = Command(clients, monkeypatch)
    refused = f"no instance {an_id(9)} in {HOME}, {AWAY}; {CLOSED} could not be searched: {UNAUTHORIZED}"
    assert command.refusal("audit", "--instance", an_id(9)) == f"imds-enforcer: {refused}"
    everywhere = command.refusal("audit", "--instance", an_id(9), "--regions", CLOSED)
    assert everywhere.startswith(
        f"imds-enforcer: no instance {an_id(9)} in any region that could be searched; {CLOSED} "
    )
    result = command("audit", "--instance", an_id(1), "--fail-on", "held", "--output", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["errors"] == {CLOSED: str(UNAUTHORIZED)}


def test_without_access_to_the_table(command: Command, clients: FakeClients) -> None:
    """The rest is shown, and the exit code is 1."""
    clients.table.read_failure = SERVER_FAULT
    result = command("audit", "--instance", an_id(1))
    assert result.exit_code == 1
    table = rows(command)
    said = f"could not be read: {SERVER_FAULT}"
    assert (table["hold"], table["contest"], table["ledger"]) == (said, said, said)
    assert table["gate"].startswith("holds the instance back; 17 IMDSv1 calls")


def test_without_access_to_cloudwatch(command: Command, clients: FakeClients) -> None:
    """The audit does not guess whether the gate holds it back."""
    clients.metrics[HOME].failure = UNAUTHORIZED
    assert command("audit", "--instance", an_id(1), "--fail-on", "held").exit_code == 1
    table = rows(command)
    assert table["IMDSv1 calls"] == f"could not be read: {UNAUTHORIZED}"
    assert table["gate"] == f"unknown: the IMDSv1 calls were not read; {GATE}"
    assert table["status"].startswith("DRIFT; ")


def test_no_calls_avoids_the_cost_of_metrics(command: Command, clients: FakeClients) -> None:
    """The table says that CloudWatch was not asked."""
    assert rows(command, "--no-calls")["IMDSv1 calls"] == "CloudWatch was not asked"
    assert clients.metrics[HOME].requests == []
    assert command("audit", "--instance", an_id(1), "--no-calls").exit_code == 1


def test_where_nothing_is_deployed(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no ledger, no hold and no policy."""
    result = undeployed(clients, monkeypatch)("audit", "--instance", an_id(1))
    assert result.exit_code == 1
    assert "policy HttpTokens required, mode enforce; from the default, as there is no policy" in lines(result.stdout)
    assert result.stderr.endswith("The enforcer is not deployed here, so there is no ledger and no hold.\n")


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("--instance", "i-1"), "'i-1' is not an instance id; allowed: i- and 17 (or 8) hexadecimal digits"),
        (("--instance", an_id(1), "--output", "csv"), "--instance with --output csv; allowed: with table, json"),
        (("--instance", an_id(1), "--output", "sarif"), "--instance with --output sarif; allowed: with table, json"),
        (("--instance", an_id(1), "--group-by", "source"), "--instance with --group-by; allowed: one of them"),
        (("--instance", an_id(1), "--all"), "--instance with --all; allowed: one of them"),
    ],
)
def test_what_it_cannot_use(command: Command, arguments: tuple[str, ...], refusal: str) -> None:
    """The error comes before any call to AWS."""
    assert command.refusal("audit", *arguments) == f"imds-enforcer: {refusal}"
    assert command.profiles == []


def test_what_makes_the_exit_code_1(command: Command) -> None:
    """The rules are those of an audit of the fleet."""
    assert command("audit", "--instance", an_id(1)).exit_code == 0
    assert command("audit", "--instance", an_id(1), "--fail-on", "held").exit_code == 1
    assert command("audit", "--instance", an_id(1), "--fail-on", "exempt-expired").exit_code == 1
    assert command("audit", "--instance", an_id(2), "--fail-on", "exempt-expired").exit_code == 0
