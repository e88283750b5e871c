"""Credentials that AWS does not accept: one sentence, exit code 2, and no other call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from imds_enforcer.limits.cancellation import Cancellation
from imds_enforcer.model import HttpTokens, Kind
from tests.fakes.command import undeployed
from tests.fakes.examples import AWAY, EXPIRED, HOME, V2_ONLY, a_failure, an_id, an_instance
from tests.fakes.in_turn import without_threads

if TYPE_CHECKING:
    from pathlib import Path

    from imds_enforcer.model import Failure
    from tests.fakes.clients import FakeClients
    from tests.fakes.command import Command
    from tests.fakes.ec2 import FakeEc2

LAST_WORDS = f"imds-enforcer: {EXPIRED}"
MODIFY = "ModifyInstanceMetadataOptions"
SET = ("set", "--version-2-state", "required")


@pytest.fixture(autouse=True)
def _in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call after the other."""
    without_threads(monkeypatch)


@pytest.fixture
def fleet(home: FakeEc2, away: FakeEc2) -> None:
    """Forty instances that differ in one region, ten in the other."""
    home.launch(*map(an_instance, range(40)))
    away.launch(*(an_instance(number) for number in range(40, 50)))


@pytest.fixture
def at_refusal(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls to EC2 and the table had been made whenever a run met refused credentials."""
    seen: list[int] = []
    heed = Cancellation.heed

    def watched(cancellation: Cancellation, failure: Failure) -> None:
        if failure.kind is Kind.CREDENTIALS:
            seen.append(_calls(clients))
        heed(cancellation, failure)

    monkeypatch.setattr(Cancellation, "heed", watched)
    return seen


def _calls(clients: FakeClients) -> int:
    return len(clients.ec2_calls) + len(clients.table.requests)


@pytest.mark.usefixtures("fleet")
def test_enforce_reports_what_it_did_before(
    clients: FakeClients, home: FakeEc2, command: Command, monkeypatch: pytest.MonkeyPatch, at_refusal: list[int]
) -> None:
    """What was sent, what was refused, and how many wait; nothing more is sent in any region."""
    rehearse = home.rehearse

    def then_expire(*asked: object) -> None:
        rehearse(*asked)  # type: ignore[arg-type]  # as it is called
        home.modify_errors[an_id(2)] = [EXPIRED]

    monkeypatch.setattr(home, "rehearse", then_expire)
    monkeypatch.setattr("random.shuffle", lambda ids: ids.sort())
    result = command("enforce", "--yes", "--output", "json")
    report = json.loads(result.stdout)["report"]
    assert result.exit_code == 2
    assert report["outcomes"] == {"PENDING": 2, "DEFERRED": 37, "FAILED": 1}
    assert report["stopped"] == f"AWS does not accept the credentials ({EXPIRED})"
    assert report["regions"][AWAY]["error"] == str(EXPIRED)
    assert home.calls.count(MODIFY) == 3
    assert _calls(clients) == at_refusal[0]
    assert result.stderr.splitlines()[-1] == LAST_WORDS
    assert result.stderr.count("ExpiredToken") == 1


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("call", ["listing", "holds", "rehearsal", "open entries"])
def test_enforce_changes_nothing_where_it_cannot_begin(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, command: Command, call: str
) -> None:
    """In the plan, before the question, and before the first change."""

    def fail(request: str) -> None:
        if request.startswith("Scan"):
            clients.table.read_failure = EXPIRED

    if call == "listing":
        home.find_errors = {1: EXPIRED}
    elif call == "holds":
        clients.table.read_failure = EXPIRED
    elif call == "rehearsal":
        home.modify_errors = {an_id(n): [EXPIRED] for n in range(40)}
    else:
        clients.table.before_read = fail
    result = command("enforce", "--yes")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == LAST_WORDS
    assert result.stderr.count("ExpiredToken") == 1
    assert "ExpiredToken" not in result.stdout
    assert (home.sent, away.sent) == ([], [])
    if call == "rehearsal":
        assert len(home.rehearsed) == 1


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("region", [HOME, AWAY])
def test_an_audit_is_no_report_of_errors_by_region(clients: FakeClients, command: Command, region: str) -> None:
    """One line in place of one for each region, and no table."""
    clients.ec2(region).find_errors = {1: EXPIRED}
    assert command.refusal("audit") == LAST_WORDS


@pytest.mark.usefixtures("fleet")
def test_an_audit_without_its_metrics(clients: FakeClients, command: Command) -> None:
    """CloudWatch's answer ends it like EC2's."""
    for metrics in clients.metrics.values():
        metrics.failure = EXPIRED
    assert command.refusal("audit") == LAST_WORDS


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("call", ["read", "table", "metrics"])
def test_the_why_of_one_instance_is_no_list_of_errors(clients: FakeClients, command: Command, call: str) -> None:
    """Whichever call meets it."""
    if call == "read":
        clients.ec2(HOME).read_errors = {1: EXPIRED}
    elif call == "table":
        clients.table.read_failure = EXPIRED
    else:
        clients.metrics[HOME].failure = EXPIRED
    assert command.refusal("audit", "--instance", an_id(1)) == LAST_WORDS


@pytest.mark.usefixtures("fleet")
def test_an_audit_without_its_launches(command: Command) -> None:
    """And so does what is asked about launches."""
    command.launches[HOME].refused["get_instance_metadata_defaults"] = "ExpiredToken"
    assert command.refusal("audit", "--group-by", "source").startswith("imds-enforcer: ExpiredToken")


def test_a_region_that_does_not_accept_the_credentials_is_one_of_the_audit(
    home: FakeEc2, away: FakeEc2, command: Command
) -> None:
    """The others are shown; nothing else is asked of that one."""
    home.launch(an_instance(1))
    away.find_errors = {1: a_failure("AuthFailure", "not here")}
    command.launches[AWAY].refused["get_instance_metadata_defaults"] = "InvalidClientTokenId"
    result = command("audit", "--group-by", "source")
    assert result.exit_code == 1
    assert f"{AWAY}: AuthFailure: not here" in result.stderr
    assert command.launches[AWAY].requests == []


def test_set_ends_with_the_first_refusal(
    clients: FakeClients, home: FakeEc2, monkeypatch: pytest.MonkeyPatch, at_refusal: list[int]
) -> None:
    """The others wait, each with that reason."""
    command = undeployed(clients, monkeypatch)
    home.launch(*map(an_instance, range(3, 12)))
    ids = [an_id(number) for number in (1, *range(3, 12))]
    home.modify_errors[an_id(4)] = [EXPIRED]
    result = command(*SET, "--instance-id", *ids, "--output", "csv")
    assert result.exit_code == 2
    assert len(home.sent) == 3
    assert _calls(clients) == at_refusal[0]
    assert result.stdout.count("DEFERRED") == 7
    assert result.stderr.splitlines()[-1] == LAST_WORDS


def test_a_rehearsed_set_asks_once(clients: FakeClients, home: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not once for each instance."""
    command = undeployed(clients, monkeypatch)
    home.launch(*map(an_instance, range(3, 12)))
    ids = [an_id(number) for number in range(3, 12)]
    for each in ids:
        home.modify_errors[each] = [EXPIRED]
    result = command(*SET, "--dry-run", "--instance-id", *ids, "--output", "csv")
    assert (result.exit_code, len(home.rehearsed)) == (2, 1)
    assert result.stderr.splitlines()[-1] == LAST_WORDS


@pytest.mark.parametrize("call", ["holds", "policy"])
def test_no_policy_does_not_go_on_without_credentials(
    clients: FakeClients, home: FakeEc2, deployed: Command, call: str
) -> None:
    """It is for a role that may not read them."""
    home.launch(an_instance(1))
    if call == "holds":
        clients.table.read_failure = EXPIRED
    else:
        clients.ssm.error = _expired()
    result = deployed(*SET, "--no-policy")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{LAST_WORDS}\n")
    assert home.sent == []


def test_verify_assumes_nothing_without_credentials(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """Where the policy merely cannot be read, it looks for required."""
    home.launch(an_instance(1))
    clients.ssm.error = _expired()
    assert command.refusal("verify", "--instance-id", an_id(1)) == LAST_WORDS


def test_instances_are_not_looked_for_in_further_regions(home: FakeEc2, away: FakeEc2, command: Command) -> None:
    """It is not that one region could not be asked."""
    home.launch(an_instance(1))
    away.read_errors = {1: EXPIRED}
    assert command.refusal("verify", "--instance-id", an_id(2)) == LAST_WORDS


def test_a_policy_file_is_not_compared_without_credentials(
    clients: FakeClients, home: FakeEc2, command: Command, tmp_path: Path
) -> None:
    """It would be the first of many calls that fail."""
    home.launch(an_instance(1))
    path = tmp_path / "policy.json"
    path.write_text('{"http_tokens": "required"}')
    clients.ssm.error = _expired()
    assert command.refusal("enforce", "--policy", str(path), "--yes") == LAST_WORDS
    assert home.calls == []


def test_revert_ends_with_the_first_refusal(
    clients: FakeClients, home: FakeEc2, command: Command, at_refusal: list[int]
) -> None:
    """What was set back is told."""
    home.launch(*map(an_instance, range(9)))
    command.sweep("run-1")
    home.modify_errors[an_id(2)] = [EXPIRED]
    result = command("revert", "--run", "run-1", "--yes", "--output", "json")
    outcomes = [each["outcome"] for each in json.loads(result.stdout)["instances"]]
    assert [outcomes.count(each) for each in ("PENDING", "FAILED", "DEFERRED")] == [2, 1, 6]
    assert result.exit_code == 2
    assert _calls(clients) == at_refusal[0]
    assert result.stderr.splitlines()[-1] == LAST_WORDS
    assert result.stderr.count("ExpiredToken") == 1
    assert command.options(HOME, an_id(1)).http_tokens is HttpTokens.OPTIONAL


def test_revert_plans_nothing_without_credentials(home: FakeEc2, command: Command) -> None:
    """It is not the problem of each instance."""
    home.launch(an_instance(1), an_instance(2))
    command.sweep("run-1")
    home.reads.clear()
    home.read_errors = {1: EXPIRED}
    assert command.refusal("revert", "--run", "run-1", "--yes") == LAST_WORDS
    assert command.options(HOME, an_id(1)) == V2_ONLY


def _expired() -> ClientError:
    return ClientError({"Error": {"Code": EXPIRED.code, "Message": EXPIRED.message}}, "GetParameters")
