from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.ledger.holds import Contest, Hold
from imds_enforcer.model import HttpTokens, InstanceState
from tests.fakes.clock import START
from tests.fakes.command import ANN, Command, lines, undeployed
from tests.fakes.examples import (
    AWAY,
    HOME,
    IMDS_OFF,
    POLICY_PARAMETER,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)

if TYPE_CHECKING:
    from imds_enforcer.ledger.entry import Entry
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

REQUIRED = ("set", "--version-2-state", "required")
OPTIONAL = ("set", "--version-2-state", "optional")
BOTH = ("--instance-id", an_id(1), an_id(2))
SHOWN = (
    "HttpTokens {}, HttpEndpoint enabled, HttpPutResponseHopLimit 1, HttpProtocolIpv6 disabled, "
    "InstanceMetadataTags disabled, State applied"
)

UNWRITTEN = "The ledger gets no entry, so `imds-enforcer revert` cannot undo this: the enforcer is not deployed here."


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command without a deployed enforcer, with an instance in each of two regions."""
    return undeployed(clients, monkeypatch)


def test_instances_of_several_regions_are_set(clients: FakeClients, command: Command) -> None:
    """EC2's answers are data, one line of JSON each; standard error has the options before and after."""
    result = command(*REQUIRED, *BOTH)
    assert result.exit_code == 0
    answered = {**V2_ONLY.as_log(), "State": "pending"}
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert documents == [{"InstanceId": each, "InstanceMetadataOptions": answered} for each in (an_id(1), an_id(2))]
    assert result.stderr.splitlines() == [
        f"{an_id(1)} in {HOME} before: {SHOWN.format('optional')}",
        f"{an_id(2)} in {AWAY} before: {SHOWN.format('optional')}",
        UNWRITTEN,
        f"{an_id(1)} in {HOME} after: {SHOWN.format('required')}",
        f"{an_id(2)} in {AWAY} after: {SHOWN.format('required')}",
    ]
    assert (command.options(HOME, an_id(1)), command.options(AWAY, an_id(2))) == (V2_ONLY, V2_ONLY)
    assert clients.table.items == {}


def test_the_change_as_a_table(command: Command) -> None:
    """It has the old and the new value of each option."""
    result = command(*REQUIRED, "--instance-id", an_id(1), "--output", "table")
    assert lines(result.stdout) == [
        "INSTANCE OUTCOME CHANGE REASON",
        f"{an_id(1)}; {HOME} REMEDIATED HttpTokens: optional → required HttpTokens is optional, not required",
    ]
    assert result.stderr == f"{UNWRITTEN}\n"


def test_the_change_as_csv(command: Command) -> None:
    """It has every option before and after."""
    header, row = command(*REQUIRED, "--instance-id", an_id(1), "--output", "csv").stdout.splitlines()
    fields = dict(
        zip(header.split(","), row.replace('"HttpTokens is optional, not required"', "why").split(","), strict=True)
    )
    assert (fields["instance_id"], fields["region"], fields["outcome"]) == (an_id(1), HOME, "REMEDIATED")
    assert (fields["before.HttpTokens"], fields["after.HttpTokens"], fields["after.State"]) == (
        "optional",
        "required",
        "applied",
    )


def test_a_change_that_is_not_applied_in_time(home: FakeEc2, command: Command) -> None:
    """The change is not done yet, so the exit code is 1."""
    home.applied_after = 1_000
    result = command(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 1
    assert "EC2 accepted the change but has not applied it yet" in result.stderr


def test_a_stopped_instance_applies_the_change_at_its_next_start(home: FakeEc2, command: Command) -> None:
    """The command does not wait for it."""
    home.set_state(an_id(1), InstanceState.STOPPED)
    result = command(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 0
    assert "the instance is stopped: the change applies at its next start" in result.stderr


def test_the_hop_limit_is_sent_only_if_it_is_named(home: FakeEc2, command: Command) -> None:
    """It may then be lowered too."""
    home.set_options(an_id(1), http_put_response_hop_limit=5)
    command(*REQUIRED, "--instance-id", an_id(1))
    command(*OPTIONAL, "--instance-id", an_id(1), "--http-put-response-hop-limit", "3")
    sent = [(change.http_tokens, change.http_put_response_hop_limit) for _, change in home.modified]
    assert sent == [(HttpTokens.REQUIRED, None), (HttpTokens.OPTIONAL, 3)]


def test_an_instance_that_has_the_options_already_is_not_changed(clients: FakeClients, command: Command) -> None:
    """The command may therefore run at every start of an instance."""
    command(*REQUIRED, "--instance-id", an_id(1))
    result = command(*REQUIRED, "--instance-id", an_id(1), "--http-put-response-hop-limit", "1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert UNWRITTEN not in result.stderr
    assert result.stderr.splitlines()[-1] == f"{an_id(1)} in {HOME}: it already has these options; nothing was sent"
    assert clients.ec2(HOME).modified_ids == [an_id(1)]


def test_a_rehearsal_asks_ec2_and_changes_nothing(home: FakeEc2, command: Command) -> None:
    """It shows what would change, and whether the caller is allowed to."""
    result = command(*REQUIRED, *BOTH, "--dry-run")
    assert result.exit_code == 0
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"InstanceId": each, "DryRun": True, "WouldChange": {"HttpTokens": {"now": "optional", "then": "required"}}}
        for each in (an_id(1), an_id(2))
    ]
    assert result.stderr.splitlines()[-1] == (
        f"{an_id(2)} in {AWAY} would change, and EC2 would allow it: HttpTokens: optional → required"
    )
    assert UNWRITTEN not in result.stderr
    assert (home.modified, len(home.rehearsed)) == ([], 1)
    assert command.options(HOME, an_id(1)) == V1_ALLOWED


def test_a_rehearsal_that_ec2_would_refuse(home: FakeEc2, command: Command) -> None:
    """The error has EC2's code; the other instance is rehearsed all the same."""
    home.modify_errors[an_id(1)] = [UNAUTHORIZED]
    result = command(*REQUIRED, *BOTH, "--dry-run")
    assert result.exit_code == 1
    assert f"{an_id(1)} in {HOME} failed: {UNAUTHORIZED}" in result.stderr
    assert [json.loads(line)["InstanceId"] for line in result.stdout.splitlines()] == [an_id(2)]


def test_a_rehearsal_of_a_held_instance(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """The command does not ask EC2 about it."""
    clients.ledger_table.holds.write([Hold(instance_id=an_id(1), reason="vendor agent", by="ben", at=START)])
    result = deployed(*REQUIRED, "--instance-id", an_id(1), "--dry-run")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{an_id(1)} in {HOME} was not changed (HELD)" in result.stderr
    assert home.rehearsed == []


def test_a_rehearsal_of_an_instance_that_a_service_manages(home: FakeEc2, command: Command) -> None:
    """The command does not ask EC2 about it."""
    home.launch(an_instance(1, managed_by="eks.amazonaws.com"))
    result = command(*REQUIRED, "--instance-id", an_id(1), "--dry-run")
    assert result.exit_code == 1
    assert "was not changed (SKIPPED): managed by eks.amazonaws.com" in result.stderr
    assert home.rehearsed == []


def test_a_rehearsal_while_holds_become_unreadable(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """The change itself would be deferred too."""

    def fail_from_now_on(_: str) -> None:
        clients.table.before_read = lambda _: setattr(clients.table, "read_failure", UNAUTHORIZED)

    clients.table.before_read = fail_from_now_on
    result = deployed(*REQUIRED, "--instance-id", an_id(1), "--dry-run")
    assert result.exit_code == 1
    assert "was not changed (DEFERRED): the ledger is out of reach" in result.stderr
    assert home.rehearsed == []


def test_an_instance_that_fails_stops_no_other(home: FakeEc2, command: Command) -> None:
    """The error has EC2's code."""
    home.modify_errors[an_id(1)] = [UNAUTHORIZED]
    result = command(*REQUIRED, *BOTH)
    assert result.exit_code == 1
    assert f"{an_id(1)} in {HOME} failed: {UNAUTHORIZED}" in result.stderr
    assert (command.options(HOME, an_id(1)), command.options(AWAY, an_id(2))) == (V1_ALLOWED, V2_ONLY)


def test_an_answer_that_is_lost(home: FakeEc2, command: Command) -> None:
    """The command writes the options that EC2 shows afterwards instead."""
    home.unanswered.add(an_id(1))
    document = json.loads(command(*REQUIRED, "--instance-id", an_id(1)).stdout)
    assert document == {"InstanceId": an_id(1), "InstanceMetadataOptions": V2_ONLY.as_log()}
    assert home.sent_ids == [an_id(1)]


@pytest.mark.parametrize("wish", [REQUIRED, OPTIONAL])
def test_a_service_that_is_off_stays_off(home: FakeEc2, command: Command, wish: tuple[str, ...]) -> None:
    """Any change would switch it on."""
    off = replace(IMDS_OFF, http_tokens=HttpTokens.REQUIRED if wish is OPTIONAL else HttpTokens.OPTIONAL)
    home.launch(an_instance(1, off))
    result = command(*wish, "--instance-id", an_id(1), "--http-put-response-hop-limit", "2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        f"{an_id(1)} in {HOME} was not changed (SKIPPED): its metadata service is off, and any change would turn it on"
    )
    assert home.sent == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"managed_by": "eks.amazonaws.com"}, "was not changed (SKIPPED): managed by eks.amazonaws.com"),
        ({"options": None}, "failed: UnreadableOptions: EC2 returned unrecognized metadata options"),
    ],
)
def test_an_instance_that_cannot_be_changed(home: FakeEc2, command: Command, fields: dict[str, Any], said: str) -> None:
    """Nothing is sent."""
    home.launch(an_instance(1, **fields))
    result = command(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 1
    assert f"{an_id(1)} in {HOME} {said}" in result.stderr
    assert home.sent == []


def test_an_exempt_instance_is_left(clients: FakeClients, home: FakeEc2, deployed: Command) -> None:
    """The message has the exemption's reason and owner."""
    exemption = {
        "match": {"instance_id": an_id(1)},
        "reason": "legacy SDK",
        "owner": "billing",
        "expires": "2027-06-30",
    }
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": [exemption]}))
    result = deployed(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"{an_id(1)} in {HOME} was not changed (EXEMPT): exempt: legacy SDK, owner billing, until 2027-06-30"
    )
    assert home.sent == []


def test_a_held_instance_is_left(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """The message says who holds it, and how the hold ends."""
    clients.ledger_table.holds.write([Hold(instance_id=an_id(1), reason="vendor agent", by="ben", at=START)])
    result = deployed(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 1
    assert "held until it is released by ben: vendor agent" in result.stderr
    assert f"`imds-enforcer release {an_id(1)}` ends the hold" in result.stderr
    assert home.sent == []
    deployed("release", an_id(1))
    assert deployed(*REQUIRED, "--instance-id", an_id(1)).exit_code == 0


def test_a_hold_at_the_last_moment_counts(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """Holds are read again after the latest observation of the instance."""
    held = Hold(instance_id=an_id(1), reason="vendor agent", by="ben", at=START)
    reads: list[str] = []

    def hold_at_the_second_look(request: str) -> None:
        reads.append(request)
        if len(reads) == 2:
            clients.ledger_table.holds.write([held])

    clients.table.before_read = hold_at_the_second_look
    assert deployed(*REQUIRED, "--instance-id", an_id(1)).exit_code == 1
    assert home.sent == []


def test_a_contest_binds_only_the_enforcer(deployed: Command, clients: FakeClients) -> None:
    """A person may set the instance all the same."""
    clients.ledger_table.holds.contest(Contest(instance_id=an_id(1), principal="ben", until=START.replace(year=2027)))
    assert deployed(*REQUIRED, "--instance-id", an_id(1)).exit_code == 0


def test_a_warning_that_the_enforcer_will_change_it_back(deployed: Command) -> None:
    """The operator may make the change, but should know."""
    result = deployed(*OPTIONAL, "--instance-id", an_id(1), "--http-put-response-hop-limit", "2")
    assert result.exit_code == 0
    assert (
        f"{an_id(1)} in {HOME} will differ from the policy in force (HttpTokens is optional, not required): the "
        "enforcer changes it back at the event of this change or in the next sweep, unless you hold it right away "
        "(imds-enforcer hold)"
    ) in result.stderr
    assert "the enforcer changes it back" not in deployed(*REQUIRED, "--instance-id", an_id(1)).stderr


@pytest.mark.parametrize(
    ("arguments", "turned_back"),
    [((), False), (("--http-put-response-hop-limit", "2"), True), (("--http-put-response-hop-limit", "3"), False)],
)
def test_the_warning_is_only_about_options_that_were_set(
    deployed: Command, clients: FakeClients, arguments: tuple[str, ...], *, turned_back: bool
) -> None:
    """Other options may differ from the policy before and after, for example one that EC2 refuses."""
    clients.ssm.put(POLICY_PARAMETER, '{"instance_metadata_tags": "enabled", "http_put_response_hop_limit": 3}')
    said = deployed(*REQUIRED, "--instance-id", an_id(1), "--dry-run", *arguments).stderr
    assert ("the enforcer changes it back" in said) is turned_back


def test_a_change_that_the_enforcer_has_already_changed_back(
    home: FakeEc2, deployed: Command, clients: FakeClients
) -> None:
    """It happened before the read-back: the change is not done, and the message says why."""
    home.set_options(an_id(1), http_tokens=HttpTokens.REQUIRED)
    home.modify_seconds = 2

    def turn_back() -> None:
        home.set_options(an_id(1), http_tokens=HttpTokens.REQUIRED)

    home.visible_after = 1
    clients.clock.at(2.5, turn_back)
    result = deployed(*OPTIONAL, "--instance-id", an_id(1))
    assert result.exit_code == 1
    assert "failed: ReadBackDiffers: EC2 accepted" in result.stderr
    assert result.stderr.endswith("; the enforcer has probably changed it back\n")


@pytest.mark.parametrize("policy", ['{"mode": "audit"}', '{"regions": {"exclude": ["eu-west-1"]}}'])
def test_no_warning_if_the_enforcer_will_not_change_it_back(
    clients: FakeClients, deployed: Command, policy: str
) -> None:
    """It changes nothing in audit mode, or in a region that the policy leaves out."""
    clients.ssm.put(POLICY_PARAMETER, policy)
    result = deployed(*OPTIONAL, "--instance-id", an_id(1), "--http-put-response-hop-limit", "2")
    assert "the enforcer changes it back" not in result.stderr


def test_a_warning_that_containers_get_no_token_within_one_hop(home: FakeEc2, command: Command) -> None:
    """The command does not change the hop limit by itself, so it warns the operator."""
    home.set_tags(an_id(1), AmazonECSManaged="true")
    warning = f"{an_id(1)} in {HOME} runs containers, which get no token with a hop limit of 1"
    assert warning in command(*REQUIRED, "--instance-id", an_id(1), "--dry-run").stderr
    enough = command(*REQUIRED, "--instance-id", an_id(1), "--http-put-response-hop-limit", "2")
    assert "containers" not in enough.stderr


def test_the_ledger_has_the_changes_of_a_person(deployed: Command, clients: FakeClients, home: FakeEc2) -> None:
    """The entry has the caller and the outcome; the intent is written before the call to EC2."""
    intents: list[list[Entry]] = []
    home.judge = lambda *_: intents.append(clients.ledger_table.entries.of(an_id(1)))
    result = deployed(*REQUIRED, *BOTH)
    assert "The ledger gets no entry" not in result.stderr
    [[intent]] = intents
    assert (intent.outcome, intent.wanted) == (None, V2_ONLY)
    entries = [*clients.ledger_table.entries.of(an_id(1)), *clients.ledger_table.entries.of(an_id(2))]
    assert [(each.trigger, each.by, each.outcome) for each in entries] == [("command", ANN, "REMEDIATED")] * 2
    assert len({each.run_id for each in entries}) == 1
    assert entries[0].versions.as_log() == {"http_tokens": 1, "policy": 1}
    [shown] = deployed.json("history", an_id(1))
    assert (shown["trigger"], shown["by"], shown["after"]) == ("command", ANN, V2_ONLY.as_log())


def test_the_change_of_a_person_can_be_reverted(deployed: Command) -> None:
    """The options from before are restored and held."""
    deployed(*REQUIRED, *BOTH)
    result = deployed("revert", an_id(1), "--yes")
    assert result.exit_code == 0, result.output
    assert (deployed.options(HOME, an_id(1)), deployed.options(AWAY, an_id(2))) == (V1_ALLOWED, V2_ONLY)
    assert deployed(*REQUIRED, "--instance-id", an_id(1)).exit_code == 1


def test_a_refused_change_has_an_entry_and_nothing_to_revert(home: FakeEc2, deployed: Command) -> None:
    """The entry has EC2's code."""
    home.modify_errors[an_id(1)] = [UNAUTHORIZED]
    deployed(*REQUIRED, "--instance-id", an_id(1))
    [entry] = deployed.json("history", an_id(1))
    assert (entry["outcome"], entry["code"], entry["after"]) == ("FAILED", UNAUTHORIZED.code, None)
    assert deployed("revert", an_id(1), "--yes").exit_code == 0


def test_a_ledger_that_cannot_be_written(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """A change without an entry could not be found again, so it is not made."""
    clients.table.write_failure = UNAUTHORIZED
    result = deployed(*REQUIRED, "--instance-id", an_id(1))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        f"{an_id(1)} in {HOME} was not changed (DEFERRED): the ledger is out of reach ({UNAUTHORIZED}), "
        "and no change is made without an entry in it; HttpTokens is optional, not required"
    )
    assert home.sent == []
    assert clients.clock.elapsed < 1


def test_an_outcome_that_cannot_be_written(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """The change is made, and its entry stays open until the next sweep."""

    def cut_off(*_: object) -> None:
        clients.table.write_failure = UNAUTHORIZED

    home.judge = cut_off
    result = deployed(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == (
        f"The ledger is incomplete for {HOME} ({UNAUTHORIZED}); the next sweep completes it."
    )
    assert [entry.instance_id for entry in clients.ledger_table.entries.open_intents()] == [an_id(1)]


def test_an_interrupt_leaves_an_intent_that_revert_completes(
    home: FakeEc2, deployed: Command, clients: FakeClients
) -> None:
    """The entry stays open until the run's end time; after that the instance shows whether the change was made."""

    def interrupt(_ec2: FakeEc2, instance_id: str, _change: object) -> None:
        home.set_options(instance_id, http_tokens=HttpTokens.REQUIRED)
        raise KeyboardInterrupt

    home.judge = interrupt
    assert deployed(*REQUIRED, "--instance-id", an_id(1)).exit_code == 130
    home.judge = None
    assert deployed("revert", an_id(1), "--yes").exit_code == 1
    clients.clock.advance(180)
    assert deployed("revert", an_id(1), "--yes").exit_code == 0
    assert deployed.options(HOME, an_id(1)) == V1_ALLOWED


def test_a_policy_that_changes_meanwhile(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """The new policy may exempt the instance."""
    home.read_seconds = 3
    clients.clock.at(4, lambda: clients.ssm.put(POLICY_PARAMETER, '{"mode": "audit"}'))
    result = deployed(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 1
    assert "the policy has changed" in result.stderr
    assert home.sent == []


def test_an_invalid_policy(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """It may be meant to exempt the instance."""
    clients.ssm.put(POLICY_PARAMETER, "{")
    refusal = deployed.refusal(*REQUIRED, "--instance-id", an_id(1))
    assert "the policy cannot be read, so nothing is changed: policy is not JSON" in refusal
    assert home.sent == []


def test_holds_that_cannot_be_read(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """The instance may be held."""
    clients.table.read_failure = UNAUTHORIZED
    assert deployed.refusal(*REQUIRED, "--instance-id", an_id(1)) == f"imds-enforcer: {UNAUTHORIZED}"
    assert home.sent == []


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("--instance-id", "web-1"), "'web-1' is not an instance id; allowed: i- and 17 (or 8) hexadecimal digits"),
        (("--instance-id", an_id(1), "web-1"), "'web-1' is not an instance id; allowed: i- and 17 (or 8) hexadecimal"),
        (("--instance-id", an_id(1), an_id(8)), f"not found in this account: {an_id(8)}"),
        (("--instance-id", an_id(1), "--no-policy"), "--no-policy is used with instance ids; allowed: without ids"),
        (("--http-put-response-hop-limit", "65"), "Invalid value for '--http-put-response-hop-limit': 65 is not in"),
    ],
)
def test_what_it_cannot_use(clients: FakeClients, command: Command, arguments: tuple[str, ...], refusal: str) -> None:
    """The error is one line, and no instance is changed."""
    assert command.refusal(*REQUIRED, *arguments).startswith(f"imds-enforcer: {refusal}")
    assert clients.ec2(HOME).sent == []


def test_an_invalid_or_missing_state(command: Command) -> None:
    """The error names the values allowed, or the missing option."""
    assert "'off' is not one of 'required', 'optional'" in command.refusal("set", "--version-2-state", "off")
    assert "Missing option '--version-2-state'" in command.refusal("set")
