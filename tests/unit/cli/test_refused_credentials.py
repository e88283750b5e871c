"""Credentials that AWS does not accept: one message, exit code 2, and no further call."""

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
    """Calls are made one after the other."""
    without_threads(monkeypatch)


@pytest.fixture
def fleet(home: FakeEc2, away: FakeEc2) -> None:
    """Forty instances that differ in one region, ten in the other."""
    home.launch(*map(an_instance, range(40)))
    away.launch(*(an_instance(number) for number in range(40, 50)))


@pytest.fixture
def at_refusal(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of calls to EC2 and the table each time a run met refused credentials."""
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
def test_enforce_reports_what_it_did_before_the_refusal(
    clients: FakeClients, home: FakeEc2, command: Command, monkeypatch: pytest.MonkeyPatch, at_refusal: list[int]
) -> None:
    """It counts changes sent, refused and deferred, and sends nothing more in any region."""
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
def test_enforce_changes_nothing_if_it_cannot_begin(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, command: Command, call: str
) -> None:
    """The refusal comes in the plan, before the question, or before the first change."""

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
def test_an_audit_reports_the_refusal_once(clients: FakeClients, command: Command, region: str) -> None:
    """It writes one line instead of one for each region, and no table."""
    clients.ec2(region).find_errors = {1: EXPIRED}
    assert command.refusal("audit") == LAST_WORDS


@pytest.mark.usefixtures("fleet")
def test_a_refusal_by_cloudwatch_ends_an_audit(clients: FakeClients, command: Command) -> None:
    """It ends the audit as a refusal by EC2 does."""
    for metrics in clients.metrics.values():
        metrics.failure = EXPIRED
    assert command.refusal("audit") == LAST_WORDS


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("call", ["read", "table", "metrics"])
def test_an_audit_of_one_instance_reports_the_refusal_once(clients: FakeClients, command: Command, call: str) -> None:
    """It does so whichever call is refused."""
    if call == "read":
        clients.ec2(HOME).read_errors = {1: EXPIRED}
    elif call == "table":
        clients.table.read_failure = EXPIRED
    else:
        clients.metrics[HOME].failure = EXPIRED
    assert command.refusal("audit", "--instance", an_id(1)) == LAST_WORDS


@pytest.mark.usefixtures("fleet")
def test_a_refusal_while_reading_launchers_ends_an_audit(command: Command) -> None:
    """It ends the audit as a refusal by EC2 does."""
    command.launches[HOME].refused["get_instance_metadata_defaults"] = "ExpiredToken"
    assert command.refusal("audit", "--group-by", "source").startswith("imds-enforcer: ExpiredToken")


def test_one_region_that_does_not_accept_the_credentials_does_not_end_an_audit(
    home: FakeEc2, away: FakeEc2, command: Command
) -> None:
    """The audit shows the other regions, and makes no further call in this one."""
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
    """The remaining instances are deferred with that reason."""
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


def test_a_rehearsed_set_ends_with_the_first_refusal(
    clients: FakeClients, home: FakeEc2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes one call, not one for each instance."""
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
    """The option is for a role that may not read the policy or the holds."""
    home.launch(an_instance(1))
    if call == "holds":
        clients.table.read_failure = EXPIRED
    else:
        clients.ssm.error = _expired()
    result = deployed(*SET, "--no-policy")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{LAST_WORDS}\n")
    assert home.sent == []


def test_verify_assumes_no_policy_without_credentials(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """It expects required only if the policy itself cannot be read."""
    home.launch(an_instance(1))
    clients.ssm.error = _expired()
    assert command.refusal("verify", "--instance-id", an_id(1)) == LAST_WORDS


def test_no_further_region_is_searched_without_credentials(home: FakeEc2, away: FakeEc2, command: Command) -> None:
    """The refusal is not the error of one region."""
    home.launch(an_instance(1))
    away.read_errors = {1: EXPIRED}
    assert command.refusal("verify", "--instance-id", an_id(2)) == LAST_WORDS


def test_a_policy_file_is_not_compared_without_credentials(
    clients: FakeClients, home: FakeEc2, command: Command, tmp_path: Path
) -> None:
    """The comparison would be the first of many failing calls."""
    home.launch(an_instance(1))
    path = tmp_path / "policy.json"
    path.write_text('{"http_tokens": "required"}')
    clients.ssm.error = _expired()
    assert command.refusal("enforce", "--policy", str(path), "--yes") == LAST_WORDS
    assert home.calls == []


def test_revert_ends_with_the_first_refusal(
    clients: FakeClients, home: FakeEc2, command: Command, at_refusal: list[int]
) -> None:
    """It reports what it has reverted."""
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
    """The refusal is not reported as each instance's problem."""
    home.launch(an_instance(1), an_instance(2))
    command.sweep("run-1")
    home.reads.clear()
    home.read_errors = {1: EXPIRED}
    assert command.refusal("revert", "--run", "run-1", "--yes") == LAST_WORDS
    assert command.options(HOME, an_id(1)) == V2_ONLY


def _expired() -> ClientError:
    return ClientError({"Error": {"Code": EXPIRED.code, "Message": EXPIRED.message}}, "GetParameters")
