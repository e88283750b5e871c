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

UNWRITTEN = "Nothing is written down, and `imds-enforcer revert` cannot undo this: the enforcer is not deployed here."


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command where nothing is deployed, and an instance in each of two regions."""
    return undeployed(clients, monkeypatch)


def test_instances_of_several_regions_are_set(clients: FakeClients, command: Command) -> None:
    """EC2's answer to each is data, a line of JSON; how they were before and are now is told aside."""
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
    """From what to what."""
    result = command(*REQUIRED, "--instance-id", an_id(1), "--output", "table")
    assert lines(result.stdout) == [
        "INSTANCE OUTCOME CHANGE REASON",
        f"{an_id(1)}; {HOME} REMEDIATED HttpTokens: optional → required HttpTokens is optional, not required",
    ]
    assert result.stderr == f"{UNWRITTEN}\n"


def test_the_change_as_csv(command: Command) -> None:
    """Every option before and after."""
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
    """Nobody can say yet that it is done."""
    home.applied_after = 1_000
    result = command(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 1
    assert "EC2 accepted the change but has not applied it yet" in result.stderr


def test_a_stopped_instance_gets_it_at_its_next_start(home: FakeEc2, command: Command) -> None:
    """There is nothing to wait for."""
    home.set_state(an_id(1), InstanceState.STOPPED)
    result = command(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 0
    assert "the instance is stopped: the change applies at its next start" in result.stderr


def test_the_hop_limit_is_sent_only_if_it_is_named(home: FakeEc2, command: Command) -> None:
    """And may then be lowered, too."""
    home.set_options(an_id(1), http_put_response_hop_limit=5)
    command(*REQUIRED, "--instance-id", an_id(1))
    command(*OPTIONAL, "--instance-id", an_id(1), "--http-put-response-hop-limit", "3")
    sent = [(change.http_tokens, change.http_put_response_hop_limit) for _, change in home.modified]
    assert sent == [(HttpTokens.REQUIRED, None), (HttpTokens.OPTIONAL, 3)]


def test_what_is_so_already_is_not_sent(clients: FakeClients, command: Command) -> None:
    """So it may run at every start of an instance."""
    command(*REQUIRED, "--instance-id", an_id(1))
    result = command(*REQUIRED, "--instance-id", an_id(1), "--http-put-response-hop-limit", "1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert UNWRITTEN not in result.stderr
    assert result.stderr.splitlines()[-1] == f"{an_id(1)} in {HOME}: it is so already, and nothing was sent"
    assert clients.ec2(HOME).modified_ids == [an_id(1)]


def test_a_rehearsal_asks_ec2_and_changes_nothing(home: FakeEc2, command: Command) -> None:
    """What would change, and whether the caller may."""
    result = command(*REQUIRED, *BOTH, "--dry-run")
    assert result.exit_code == 0
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"InstanceId": each, "DryRun": True, "WouldChange": {"HttpTokens": {"now": "optional", "then": "required"}}}
        for each in (an_id(1), an_id(2))
    ]
    assert result.stderr.splitlines()[-1] == (
        f"{an_id(2)} in {AWAY} would change, and EC2 would let it: HttpTokens: optional → required"
    )
    assert UNWRITTEN not in result.stderr
    assert (home.modified, len(home.rehearsed)) == ([], 1)
    assert command.options(HOME, an_id(1)) == V1_ALLOWED


def test_a_rehearsal_that_ec2_would_refuse(home: FakeEc2, command: Command) -> None:
    """With its code; the other instance is looked at all the same."""
    home.modify_errors[an_id(1)] = [UNAUTHORIZED]
    result = command(*REQUIRED, *BOTH, "--dry-run")
    assert result.exit_code == 1
    assert f"{an_id(1)} in {HOME} failed: {UNAUTHORIZED}" in result.stderr
    assert [json.loads(line)["InstanceId"] for line in result.stdout.splitlines()] == [an_id(2)]


def test_a_rehearsal_of_what_nobody_may_change(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """A hold, and what EC2 shows no more or not at all."""
    clients.ledger_table.holds.write([Hold(instance_id=an_id(1), reason="vendor agent", by="ben", at=START)])
    result = deployed(*REQUIRED, "--instance-id", an_id(1), "--dry-run")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{an_id(1)} in {HOME} was left as it is (HELD)" in result.stderr
    assert home.rehearsed == []


def test_a_rehearsal_of_what_is_not_changed_anyway(home: FakeEc2, command: Command) -> None:
    """EC2 is not asked about it."""
    home.launch(an_instance(1, managed_by="eks.amazonaws.com"))
    result = command(*REQUIRED, "--instance-id", an_id(1), "--dry-run")
    assert result.exit_code == 1
    assert "was left as it is (SKIPPED): managed by eks.amazonaws.com" in result.stderr
    assert home.rehearsed == []


def test_a_rehearsal_while_holds_become_unreadable(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """As the change itself would be left then."""

    def fail_from_now_on(_: str) -> None:
        clients.table.before_read = lambda _: setattr(clients.table, "read_failure", UNAUTHORIZED)

    clients.table.before_read = fail_from_now_on
    result = deployed(*REQUIRED, "--instance-id", an_id(1), "--dry-run")
    assert result.exit_code == 1
    assert "was left as it is (DEFERRED): the ledger is out of reach" in result.stderr
    assert home.rehearsed == []


def test_one_that_fails_does_not_stop_the_others(home: FakeEc2, command: Command) -> None:
    """EC2's code is named."""
    home.modify_errors[an_id(1)] = [UNAUTHORIZED]
    result = command(*REQUIRED, *BOTH)
    assert result.exit_code == 1
    assert f"{an_id(1)} in {HOME} failed: {UNAUTHORIZED}" in result.stderr
    assert (command.options(HOME, an_id(1)), command.options(AWAY, an_id(2))) == (V1_ALLOWED, V2_ONLY)


def test_an_answer_that_is_lost(home: FakeEc2, command: Command) -> None:
    """What EC2 shows afterwards stands in its place."""
    home.unanswered.add(an_id(1))
    document = json.loads(command(*REQUIRED, "--instance-id", an_id(1)).stdout)
    assert document == {"InstanceId": an_id(1), "InstanceMetadataOptions": V2_ONLY.as_log()}
    assert home.sent_ids == [an_id(1)]


@pytest.mark.parametrize("wish", [REQUIRED, OPTIONAL])
def test_a_service_that_is_off_stays_off(home: FakeEc2, command: Command, wish: tuple[str, ...]) -> None:
    """Any change would have to switch it on."""
    off = replace(IMDS_OFF, http_tokens=HttpTokens.REQUIRED if wish is OPTIONAL else HttpTokens.OPTIONAL)
    home.launch(an_instance(1, off))
    result = command(*wish, "--instance-id", an_id(1), "--http-put-response-hop-limit", "2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        f"{an_id(1)} in {HOME} was left as it is (SKIPPED): "
        "its metadata service is off, and any change would switch it on"
    )
    assert home.sent == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"managed_by": "eks.amazonaws.com"}, "was left as it is (SKIPPED): managed by eks.amazonaws.com"),
        ({"options": None}, "failed: UnreadableOptions: EC2 returned unrecognized metadata options"),
    ],
)
def test_what_cannot_be_changed(home: FakeEc2, command: Command, fields: dict[str, Any], said: str) -> None:
    """Nothing is sent."""
    home.launch(an_instance(1, **fields))
    result = command(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 1
    assert f"{an_id(1)} in {HOME} {said}" in result.stderr
    assert home.sent == []


def test_what_the_policy_exempts_is_left(clients: FakeClients, home: FakeEc2, deployed: Command) -> None:
    """The message says on whose word."""
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
        f"{an_id(1)} in {HOME} was left as it is (EXEMPT): exempt: legacy SDK, owner billing, until 2027-06-30"
    )
    assert home.sent == []


def test_what_is_held_is_left(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """The message says who holds it, and how the hold ends."""
    clients.ledger_table.holds.write([Hold(instance_id=an_id(1), reason="vendor agent", by="ben", at=START)])
    result = deployed(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 1
    assert "held until it is released by ben: vendor agent" in result.stderr
    assert f"`imds-enforcer release {an_id(1)}` ends the hold" in result.stderr
    assert home.sent == []
    deployed("release", an_id(1))
    assert deployed(*REQUIRED, "--instance-id", an_id(1)).exit_code == 0


def test_a_hold_that_comes_at_the_last_moment_counts(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """Holds are read after the instance was looked at, and not only before."""
    held = Hold(instance_id=an_id(1), reason="vendor agent", by="ben", at=START)
    reads: list[str] = []

    def hold_at_the_second_look(request: str) -> None:
        reads.append(request)
        if len(reads) == 2:
            clients.ledger_table.holds.write([held])

    clients.table.before_read = hold_at_the_second_look
    assert deployed(*REQUIRED, "--instance-id", an_id(1)).exit_code == 1
    assert home.sent == []


def test_a_contest_binds_nobody_but_the_enforcer(deployed: Command, clients: FakeClients) -> None:
    """A person may end it."""
    clients.ledger_table.holds.contest(Contest(instance_id=an_id(1), principal="ben", until=START.replace(year=2027)))
    assert deployed(*REQUIRED, "--instance-id", an_id(1)).exit_code == 0


def test_what_the_policy_will_turn_back(deployed: Command) -> None:
    """A person may do it, and should know."""
    result = deployed(*OPTIONAL, "--instance-id", an_id(1), "--http-put-response-hop-limit", "2")
    assert result.exit_code == 0
    assert (
        f"{an_id(1)} in {HOME}: the policy in force wants it otherwise (HttpTokens is optional, not required): "
        "the event of this change, or the next sweep, turns it back, unless it is held as soon as it is set "
        "(imds-enforcer hold)"
    ) in result.stderr
    assert "turns it back" not in deployed(*REQUIRED, "--instance-id", an_id(1)).stderr


@pytest.mark.parametrize(
    ("arguments", "turned_back"),
    [((), False), (("--http-put-response-hop-limit", "2"), True), (("--http-put-response-hop-limit", "3"), False)],
)
def test_what_was_not_set_is_not_turned_back(
    deployed: Command, clients: FakeClients, arguments: tuple[str, ...], *, turned_back: bool
) -> None:
    """Other options may differ from the policy before and after, as one that EC2 refuses the instance."""
    clients.ssm.put(POLICY_PARAMETER, '{"instance_metadata_tags": "enabled", "http_put_response_hop_limit": 3}')
    said = deployed(*REQUIRED, "--instance-id", an_id(1), "--dry-run", *arguments).stderr
    assert ("turns it back" in said) is turned_back


def test_what_the_enforcer_turned_back_already(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """Before it could be read back: it is not done, and it is said why."""
    home.set_options(an_id(1), http_tokens=HttpTokens.REQUIRED)
    home.modify_seconds = 2

    def turn_back() -> None:
        home.set_options(an_id(1), http_tokens=HttpTokens.REQUIRED)

    home.visible_after = 1
    clients.clock.at(2.5, turn_back)
    result = deployed(*OPTIONAL, "--instance-id", an_id(1))
    assert result.exit_code == 1
    assert "failed: ReadBackDiffers: EC2 accepted" in result.stderr
    assert result.stderr.endswith("; the enforcer has turned it back, most likely\n")


@pytest.mark.parametrize("policy", ['{"mode": "audit"}', '{"regions": {"exclude": ["eu-west-1"]}}'])
def test_what_the_policy_will_not_turn_back(clients: FakeClients, deployed: Command, policy: str) -> None:
    """Of an audit, or of a region that is left out, there is nothing to warn of."""
    clients.ssm.put(POLICY_PARAMETER, policy)
    result = deployed(*OPTIONAL, "--instance-id", an_id(1), "--http-put-response-hop-limit", "2")
    assert "turns it back" not in result.stderr


def test_containers_get_no_token_within_one_hop(home: FakeEc2, command: Command) -> None:
    """The hop limit is not changed by itself, so whoever requires tokens is told."""
    home.set_tags(an_id(1), AmazonECSManaged="true")
    warning = f"{an_id(1)} in {HOME} runs containers, which get no token with a hop limit of 1"
    assert warning in command(*REQUIRED, "--instance-id", an_id(1), "--dry-run").stderr
    enough = command(*REQUIRED, "--instance-id", an_id(1), "--http-put-response-hop-limit", "2")
    assert "containers" not in enough.stderr


def test_the_ledger_has_what_a_person_sets(deployed: Command, clients: FakeClients, home: FakeEc2) -> None:
    """Who it was and how it went, as any change; the intent is there before EC2 is asked."""
    intents: list[list[Entry]] = []
    home.judge = lambda *_: intents.append(clients.ledger_table.entries.of(an_id(1)))
    result = deployed(*REQUIRED, *BOTH)
    assert "Nothing is written down" not in result.stderr
    [[intent]] = intents
    assert (intent.outcome, intent.wanted) == (None, V2_ONLY)
    entries = [*clients.ledger_table.entries.of(an_id(1)), *clients.ledger_table.entries.of(an_id(2))]
    assert [(each.trigger, each.by, each.outcome) for each in entries] == [("command", ANN, "REMEDIATED")] * 2
    assert len({each.run_id for each in entries}) == 1
    assert entries[0].versions.as_log() == {"http_tokens": 1, "policy": 1}
    [shown] = deployed.json("history", an_id(1))
    assert (shown["trigger"], shown["by"], shown["after"]) == ("command", ANN, V2_ONLY.as_log())


def test_what_a_person_set_can_be_reverted(deployed: Command) -> None:
    """As it was before, and held so."""
    deployed(*REQUIRED, *BOTH)
    result = deployed("revert", an_id(1), "--yes")
    assert result.exit_code == 0, result.output
    assert (deployed.options(HOME, an_id(1)), deployed.options(AWAY, an_id(2))) == (V1_ALLOWED, V2_ONLY)
    assert deployed(*REQUIRED, "--instance-id", an_id(1)).exit_code == 1


def test_what_ec2_refuses_has_an_entry_and_nothing_to_undo(home: FakeEc2, deployed: Command) -> None:
    """With EC2's code."""
    home.modify_errors[an_id(1)] = [UNAUTHORIZED]
    deployed(*REQUIRED, "--instance-id", an_id(1))
    [entry] = deployed.json("history", an_id(1))
    assert (entry["outcome"], entry["code"], entry["after"]) == ("FAILED", UNAUTHORIZED.code, None)
    assert deployed("revert", an_id(1), "--yes").exit_code == 0


def test_a_ledger_that_cannot_be_written(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """Nothing is changed that nobody could find again."""
    clients.table.write_failure = UNAUTHORIZED
    result = deployed(*REQUIRED, "--instance-id", an_id(1))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        f"{an_id(1)} in {HOME} was left as it is (DEFERRED): the ledger is out of reach ({UNAUTHORIZED}), "
        "and changes are not made without it; HttpTokens is optional, not required"
    )
    assert home.sent == []
    assert clients.clock.elapsed < 1


def test_an_outcome_that_cannot_be_written(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """The change is made: its entry stays open until the next sweep."""

    def cut_off(*_: object) -> None:
        clients.table.write_failure = UNAUTHORIZED

    home.judge = cut_off
    result = deployed(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == (
        f"The ledger does not have everything about {HOME} ({UNAUTHORIZED}); the next sweep completes it."
    )
    assert [entry.instance_id for entry in clients.ledger_table.entries.open_intents()] == [an_id(1)]


def test_an_interrupt_leaves_an_intent_that_revert_completes(
    home: FakeEc2, deployed: Command, clients: FakeClients
) -> None:
    """What was sent is not lost: the entry is open until the run is over, and then read off the instance."""

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
    """It may exempt the instance now."""
    home.read_seconds = 3
    clients.clock.at(4, lambda: clients.ssm.put(POLICY_PARAMETER, '{"mode": "audit"}'))
    result = deployed(*REQUIRED, "--instance-id", an_id(1))
    assert result.exit_code == 1
    assert "the policy has changed" in result.stderr
    assert home.sent == []


def test_a_policy_that_cannot_be_used(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """It may have meant to exempt the instance."""
    clients.ssm.put(POLICY_PARAMETER, "{")
    refusal = deployed.refusal(*REQUIRED, "--instance-id", an_id(1))
    assert "the policy cannot be read, so nothing is changed: policy is not JSON" in refusal
    assert home.sent == []


def test_holds_that_cannot_be_read(home: FakeEc2, deployed: Command, clients: FakeClients) -> None:
    """One of them may be the instance's."""
    clients.table.read_failure = UNAUTHORIZED
    assert deployed.refusal(*REQUIRED, "--instance-id", an_id(1)) == f"imds-enforcer: {UNAUTHORIZED}"
    assert home.sent == []


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("--instance-id", "web-1"), "'web-1' is no instance id; allowed: i- and 17 (or 8) hexadecimal digits"),
        (("--instance-id", an_id(1), "web-1"), "'web-1' is no instance id; allowed: i- and 17 (or 8) hexadecimal"),
        (("--instance-id", an_id(1), an_id(8)), f"no instance of this account: {an_id(8)}"),
        (("--instance-id", an_id(1), "--no-policy"), "--no-policy with --instance-id; allowed: only for the instance"),
        (("--http-put-response-hop-limit", "65"), "Invalid value for '--http-put-response-hop-limit': 65 is not in"),
    ],
)
def test_what_it_cannot_use(clients: FakeClients, command: Command, arguments: tuple[str, ...], refusal: str) -> None:
    """One line, and none of the instances is changed."""
    assert command.refusal(*REQUIRED, *arguments).startswith(f"imds-enforcer: {refusal}")
    assert clients.ec2(HOME).sent == []


def test_a_state_that_is_none(command: Command) -> None:
    """And none at all."""
    assert "'off' is not one of 'required', 'optional'" in command.refusal("set", "--version-2-state", "off")
    assert "Missing option '--version-2-state'" in command.refusal("set")
