from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.model import HttpTokens, InstanceState, Outcome, Switch
from imds_enforcer.runs.revert import Revert
from tests.fakes.command import ANN, FIRST_REVERT, Command, lines
from tests.fakes.entries import an_entry, an_intent
from tests.fakes.examples import (
    AWAY,
    HOME,
    POLICY_PARAMETER,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

POLICY = '{"http_put_response_hop_limit": 2, "http_protocol_ipv6": "disabled", "instance_metadata_tags": "enabled"}'
AS_WANTED = replace(V2_ONLY, http_put_response_hop_limit=2, instance_metadata_tags=Switch.ENABLED)
MIXED = {
    (HOME, an_id(1)): replace(V1_ALLOWED, http_put_response_hop_limit=1),
    (HOME, an_id(2)): replace(V1_ALLOWED, http_put_response_hop_limit=3, http_protocol_ipv6=Switch.ENABLED),
    (AWAY, an_id(3)): replace(V1_ALLOWED, http_put_response_hop_limit=64, instance_metadata_tags=Switch.ENABLED),
    (AWAY, an_id(4)): replace(V2_ONLY, http_put_response_hop_limit=2, http_protocol_ipv6=Switch.ENABLED),
}


@pytest.fixture
def fleet(clients: FakeClients, command: Command) -> None:
    """Instances in two regions with different options, after a run has brought them in line."""
    clients.ssm.put(POLICY_PARAMETER, POLICY)
    for number, ((region, _), options) in enumerate(MIXED.items(), 1):
        clients.ec2(region).launch(an_instance(number, options))
    command.sweep("run-1")
    assert {command.options(*each) for each in MIXED} == {AS_WANTED}


@pytest.fixture
def changed(home: FakeEc2, command: Command) -> str:
    """The id of an instance on which a run has required tokens."""
    home.launch(an_instance(1))
    command.sweep("run-1")
    return an_id(1)


def test_a_run_is_reverted_exactly(clients: FakeClients, command: Command, fleet: None) -> None:  # noqa: ARG001
    """Hop limits, tags and IPv6 are restored too, and the next sweep leaves the instances alone."""
    result = command("revert", "--run", "run-1", "--yes")
    assert result.exit_code == 0
    assert {each: command.options(*each) for each in MIXED} == MIXED
    assert f"Run {FIRST_REVERT} holds 4 instances until released, and reverts 4." in result.stderr
    clients.clock.advance(3600)
    command.sweep("run-2")
    assert {each: command.options(*each) for each in MIXED} == MIXED


def test_the_table_of_a_run(command: Command, fleet: None) -> None:  # noqa: ARG001
    """It has the plan and then the outcomes, one line per instance."""
    result = command("revert", "--run", "run-1", "--yes")
    undone = "schedule of 2026-11-22 12:00; run run-1"
    reason = "reverted to what it was before the run run-1"
    tokens, hops = "HttpTokens: required → optional", "HttpPutResponseHopLimit: 2 →"
    ipv6, tags = "HttpProtocolIpv6: disabled → enabled", "InstanceMetadataTags: enabled → disabled"
    assert lines(result.stdout) == [
        "INSTANCE UNDOES REVERTS LEFT AS IT IS",
        f"{an_id(1)}; {HOME} {undone} {tokens}; {hops} 1; {tags}",
        f"{an_id(2)}; {HOME} {undone} {tokens}; {hops} 3; {ipv6}; {tags}",
        f"{an_id(3)}; {AWAY} {undone} {tokens}; {hops} 64",
        f"{an_id(4)}; {AWAY} {undone} {ipv6}; {tags}",
        "INSTANCE OUTCOME REASON",
        f"{an_id(1)}; {HOME} REMEDIATED {reason}",
        f"{an_id(2)}; {HOME} REMEDIATED {reason}",
        f"{an_id(3)}; {AWAY} REMEDIATED {reason}",
        f"{an_id(4)}; {AWAY} REMEDIATED {reason}",
    ]


def test_the_json_of_a_revert(command: Command, changed: str) -> None:
    """One document has the plan and the outcomes."""
    assert command.json("revert", changed, "--yes") == {
        "run_id": FIRST_REVERT,
        "dry_run": False,
        "instances": [
            {
                "instance_id": changed,
                "region": HOME,
                "undoes": [{"run_id": "run-1", "at": "2026-11-22T12:00:00+00:00"}],
                "set_back": {"HttpTokens": {"now": "required", "before": "optional"}},
                "left": [],
                "problem": None,
                "outcome": "REMEDIATED",
                "reason": "reverted to what it was before the run run-1",
                "after": V1_ALLOWED.as_log(),
            }
        ],
    }


def test_a_revert_holds_the_instance_for_the_caller(clients: FakeClients, command: Command, changed: str) -> None:
    """The hold has the end, in UTC, and the reason; the ledger names the caller."""
    command("revert", changed, "--yes", "--until", "2026-11-30", "--reason", "vendor agent")
    hold = clients.ledger_table.holds.standing().holds[changed]
    assert str(hold) == f"held until 2026-12-01T00:00+00:00 by {ANN}: vendor agent"
    entry = clients.ledger_table.entries.of(changed)[-1]
    assert (entry.run_id, entry.trigger, entry.by) == (FIRST_REVERT, "revert", ANN)


def test_an_earlier_hold_is_named_when_it_is_replaced(command: Command, changed: str) -> None:
    """It may have lasted longer."""
    command("hold", changed, "--reason", "audit")
    result = command("revert", changed, "--yes", "--until", "2026-11-30")
    assert f"{changed} was held until it is released by {ANN}: audit; the new hold replaces this one." in result.stderr


def test_a_later_change_by_someone_else_is_named_and_left(home: FakeEc2, command: Command, changed: str) -> None:
    """The enforcer's own part is reverted all the same. The exit code is 1, of a dry run too."""
    home.set_options(changed, instance_metadata_tags=Switch.ENABLED)
    assert command("revert", changed, "--dry-run").exit_code == 1
    result = command("revert", changed, "--yes")
    assert result.exit_code == 1
    assert "InstanceMetadataTags is enabled, not disabled" in lines(result.stdout)[1]
    assert "left as someone else set it: InstanceMetadataTags is enabled" in lines(result.stdout)[-1]
    assert command.options(HOME, changed) == replace(V1_ALLOWED, instance_metadata_tags=Switch.ENABLED)


def test_a_later_change_by_someone_else_is_overwritten_only_on_request(
    home: FakeEc2, command: Command, changed: str
) -> None:
    """The request is the option `--overwrite-later-changes`."""
    home.set_options(changed, instance_metadata_tags=Switch.ENABLED)
    result = command("revert", changed, "--yes", "--overwrite-later-changes")
    assert result.exit_code == 0
    assert "InstanceMetadataTags: enabled → disabled" in lines(result.stdout)[1]
    assert command.options(HOME, changed) == V1_ALLOWED


@pytest.mark.parametrize("flags", [(), ("--overwrite-later-changes",)])
def test_a_metadata_service_that_was_switched_off_stays_off(
    home: FakeEc2, command: Command, changed: str, flags: tuple[str, ...]
) -> None:
    """Any change to an option would switch it on."""
    home.set_options(changed, http_endpoint=Switch.DISABLED)
    home.forget_calls()
    (instance,) = command.json("revert", changed, "--yes", *flags, exit_code=1)["instances"]
    assert (instance["left"], instance["outcome"]) == (["HttpEndpoint is disabled"], "COMPLIANT")
    assert home.sent == []


def test_a_dry_run_writes_nothing(clients: FakeClients, command: Command, fleet: None) -> None:  # noqa: ARG001
    """It writes neither to EC2 nor to the table, and does not ask."""
    changes, writes = clients.ec2_calls.count("ModifyInstanceMetadataOptions"), clients.table.writes
    result = command("revert", "--run", "run-1", "--dry-run")
    assert result.exit_code == 0
    assert [len(lines(result.stdout)), result.stderr] == [5, ""]
    document = command.json("revert", "--run", "run-1", "--dry-run")
    assert (document["run_id"], document["dry_run"]) == (None, True)
    assert [each["outcome"] for each in document["instances"]] == [None] * 4
    assert clients.ec2_calls.count("ModifyInstanceMetadataOptions") == changes
    assert clients.table.writes == writes


def test_it_asks_before_the_first_change(command: Command, changed: str) -> None:
    """With a yes it goes on."""
    result = command("revert", changed, "--until", "2026-11-30", typed="y\n")
    assert "Hold 1 instance until 2026-12-01 00:00 UTC, and revert 1? [y/N] " in result.stderr
    assert result.exit_code == 0
    assert command.options(HOME, changed) == V1_ALLOWED


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "why\n"])
def test_without_a_yes_nothing_happens(clients: FakeClients, command: Command, changed: str, typed: str) -> None:
    """It makes neither a hold nor a change."""
    result = command("revert", changed, typed=typed)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith("Nothing was changed.")
    assert clients.ledger_table.holds.standing().holds == {}
    assert command.options(HOME, changed) == V2_ONLY


def test_the_question_always_follows_the_plan(command: Command, changed: str) -> None:
    """If the data is JSON, the plan is on standard error."""
    result = command("revert", changed, "--output", "json", typed="n\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "HttpTokens: required → optional" in result.stderr


def test_without_a_terminal_it_needs_a_yes(clients: FakeClients, command: Command, changed: str) -> None:
    """It does not even read the ledger."""
    clients.table.requests.clear()
    refusal = command.refusal("revert", changed)
    assert refusal == "imds-enforcer: no terminal to ask at, so nothing was done; --yes goes on without asking"
    assert clients.table.requests == []


def test_an_instance_that_is_gone_stops_no_other(clients: FakeClients, command: Command, fleet: None) -> None:  # noqa: ARG001
    """It is named; nothing is left to revert on it."""
    clients.ec2(HOME).set_state(an_id(1), InstanceState.TERMINATED)
    clients.ec2(AWAY).forget(an_id(3))
    instances = command.json("revert", "--run", "run-1", "--yes")["instances"]
    reason = "reverted to what it was before the run run-1"
    found = [(each["reason"], each["problem"], each["outcome"]) for each in instances]
    gone, back = ("the instance is gone", None, None), (reason, None, "REMEDIATED")
    assert found == [gone, back, gone, back]


def test_an_instance_that_is_terminated_meanwhile(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """It ends between the plan and the change, so nothing is left to revert."""
    home.launch(an_instance(1))
    command.sweep("run-1")
    clients.table.before_write = lambda _: home.set_state(an_id(1), InstanceState.TERMINATED)
    (instance,) = command.json("revert", an_id(1), "--yes")["instances"]
    assert (instance["outcome"], instance["reason"]) == ("GONE", "the instance is gone")


def test_a_later_change_does_not_matter_once_the_instance_is_gone(
    clients: FakeClients, home: FakeEc2, command: Command
) -> None:
    """No option is left."""
    home.launch(an_instance(1))
    command.sweep("run-1")
    home.set_options(an_id(1), instance_metadata_tags=Switch.ENABLED)
    clients.table.before_write = lambda _: home.set_state(an_id(1), InstanceState.TERMINATED)
    (instance,) = command.json("revert", an_id(1), "--yes")["instances"]
    assert (instance["outcome"], instance["reason"]) == ("GONE", "the instance is gone")


def test_a_change_by_someone_else_after_the_plan_is_left_too(
    home: FakeEc2, clients: FakeClients, command: Command
) -> None:
    """The latest observation counts, not the plan."""
    home.launch(an_instance(1))
    command.sweep("run-1")
    clients.table.before_write = lambda _: home.set_options(an_id(1), instance_metadata_tags=Switch.ENABLED)
    (instance,) = command.json("revert", an_id(1), "--yes", exit_code=1)["instances"]
    assert (instance["left"], instance["outcome"]) == (["InstanceMetadataTags is enabled, not disabled"], "REMEDIATED")


def test_a_change_that_was_refused_or_never_sent_needs_no_revert(
    clients: FakeClients, home: FakeEc2, command: Command
) -> None:
    """Its entry has no result; it is not a problem, whether alone or beside changes that are reverted."""
    for number, made in enumerate(({}, {"outcome": Outcome.FAILED}, {"outcome": Outcome.DEFERRED}), 1):
        home.launch(an_instance(number, V1_ALLOWED if made else V2_ONLY))
        clients.ledger_table.entries.write([an_entry(number, **made, **({"after": None} if made else {}))])
    instances = command.json("revert", "--run", "run-1", "--yes")["instances"]
    nothing = ("the ledger has no change by the run run-1 left to undo", None, None)
    back = ("reverted to what it was before the run run-1", None, "REMEDIATED")
    assert [(each["reason"], each["problem"], each["outcome"]) for each in instances] == [back, nothing, nothing]
    assert home.modified_ids == [an_id(1)]
    result = command("revert", an_id(2), an_id(3), "--yes")
    assert (result.exit_code, result.stderr) == (0, "Nothing to revert.\n")


def test_the_rest_of_a_partly_reverted_run_is_reverted(command: Command, fleet: None) -> None:  # noqa: ARG001
    """Nothing is left to revert on the other instances."""
    command("revert", an_id(2), "--run", "run-1", "--yes")
    instances = command.json("revert", "--run", "run-1", "--yes")["instances"]
    assert [each["outcome"] for each in instances] == ["REMEDIATED", None, "REMEDIATED", "REMEDIATED"]
    assert {each: command.options(*each) for each in MIXED} == MIXED


def test_a_change_that_is_under_way_is_a_problem(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """Its result, and so its revert, is not known yet."""
    home.launch(an_instance(1))
    clients.ledger_table.entries.write([an_intent(1)])
    result = command("revert", an_id(1), "--yes")
    assert (result.exit_code, result.stderr) == (1, "Nothing can be reverted now.\n")
    (instance,) = command.json("revert", an_id(1), "--yes", exit_code=1)["instances"]
    assert instance["problem"] == "a change is under way or was interrupted: the next sweep records its outcome"


def test_an_instance_with_unrecognized_options_is_a_problem(home: FakeEc2, command: Command, changed: str) -> None:
    """The command does not know what to restore."""
    home.launch(an_instance(1, None))
    (instance,) = command.json("revert", changed, "--yes", exit_code=1)["instances"]
    assert instance["problem"].startswith("EC2 returned unrecognized metadata options")


def test_a_revert_that_ec2_refuses_is_a_failure(home: FakeEc2, command: Command, changed: str) -> None:
    """It stops no other, and the exit code is 1."""
    home.modify_errors[changed] = [UNAUTHORIZED]
    result = command("revert", changed, "--yes")
    assert result.exit_code == 1
    assert lines(result.stdout)[-1] == f"{changed}; {HOME} FAILED UnauthorizedOperation: EC2 said so"


def test_a_stopped_instance_applies_the_revert_at_its_next_start(home: FakeEc2, command: Command, changed: str) -> None:
    """EC2 has accepted the revert and shows it, so it counts as done."""
    home.set_state(changed, InstanceState.STOPPED)
    (instance,) = command.json("revert", changed, "--yes")["instances"]
    assert instance["outcome"] == "PENDING"


def test_a_revert_that_cannot_be_read_back_is_not_done(home: FakeEc2, command: Command, changed: str) -> None:
    """EC2 has accepted it, but does not show it."""

    def fail_from_now_on(*_: object) -> None:
        home.read_errors = dict.fromkeys(range(1, 1_000), SERVER_FAULT)

    home.judge = fail_from_now_on
    (instance,) = command.json("revert", changed, "--yes", exit_code=1)["instances"]
    assert (instance["outcome"], instance["after"]) == ("PENDING", None)


def test_a_partial_revert_is_not_done(clients: FakeClients, home: FakeEc2, changed: str) -> None:
    """The options that EC2 shows decide, whatever the outcome is."""
    revert = Revert(clients, clients.clock, run_id="revert-1", by="ana")
    (plan,) = revert.plan([changed])
    (result,) = revert.carry_out([plan], reason="too early")
    assert revert.is_done(plan, result)
    assert not revert.is_done(plan, replace(result, after=replace(V1_ALLOWED, http_protocol_ipv6=Switch.ENABLED)))
    assert home.modified_ids[-1] == changed


def test_some_instances_of_a_run(command: Command, fleet: None) -> None:  # noqa: ARG001
    """The user may name both the run and instances."""
    assert command("revert", an_id(2), "--run", "run-1", "--yes").exit_code == 0
    reverted = {each: options for each, options in MIXED.items() if command.options(*each) == options}
    assert list(reverted) == [(HOME, an_id(2))]


def test_holds_that_cannot_be_written_end_the_command(clients: FakeClients, command: Command, changed: str) -> None:
    """The error is one line, and nothing is changed."""
    clients.table.write_failure = UNAUTHORIZED
    result = command("revert", changed, "--yes")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "imds-enforcer: UnauthorizedOperation: EC2 said so"
    assert command.options(HOME, changed) == V2_ONLY


def test_outcomes_that_cannot_be_written_are_reported(
    clients: FakeClients, home: FakeEc2, command: Command, changed: str
) -> None:
    """The instance is reverted; the line explains why the history does not show it yet."""

    def cut_off(*_: object) -> None:
        clients.table.write_failure = THROTTLED

    home.judge = cut_off
    result = command("revert", changed, "--yes")
    assert (result.exit_code, command.options(HOME, changed)) == (0, V1_ALLOWED)
    assert result.stderr.splitlines()[-1] == (
        f"The ledger is incomplete for {HOME} ({THROTTLED}); the next sweep completes it."
    )


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ((), "nothing to revert; name instances, or a run with --run"),
        (("i-1",), "'i-1' is not an instance id; allowed: i- and 17 (or 8) hexadecimal digits"),
        (("--run", "run-9"), "the ledger has no change by the run 'run-9'"),
        ((an_id(1), "--run", "run-9"), "the ledger has no change to these instances by the run 'run-9'"),
        (("--run", " "), "--run is ' '; allowed: a run's id, as `imds-enforcer history` shows it"),
        ((an_id(9),), f"not found in this account: {an_id(9)}"),
        ((an_id(1), "--reason", " "), "--reason is ' '; allowed: a text that says why"),
        ((an_id(1), "--until", "2026-11-21"), "--until is '2026-11-21', which has passed; allowed: "),
    ],
)
def test_what_it_cannot_use(
    clients: FakeClients, command: Command, changed: str, arguments: tuple[str, ...], refusal: str
) -> None:
    """The error names the value received and the values allowed; nothing is written."""
    writes = clients.table.writes
    assert command.refusal("revert", *arguments, "--yes").startswith(f"imds-enforcer: {refusal}")
    assert clients.table.writes == writes
    assert command.options(HOME, changed).http_tokens is HttpTokens.REQUIRED


def test_an_instance_that_was_never_changed_is_not_an_error(home: FakeEc2, command: Command, changed: str) -> None:
    """It exists; there is nothing to revert on it."""
    home.launch(an_instance(2, V2_ONLY))
    instances: list[dict[str, Any]] = command.json("revert", changed, an_id(2), "--yes")["instances"]
    assert [each["outcome"] for each in instances] == ["REMEDIATED", None]
    assert instances[1]["problem"] is None
    assert instances[1]["reason"] == "the ledger has no change left to undo"


def test_an_instance_that_a_service_manages_is_not_changed(
    clients: FakeClients, home: FakeEc2, command: Command, changed: str
) -> None:
    """That holds whether the enforcer has ever changed it or not; the reason names the service."""
    home.launch(an_instance(1, V2_ONLY, managed_by="eks.amazonaws.com"))
    home.launch(an_instance(2, managed_by="eks.amazonaws.com"))
    home.forget_calls()
    instances = command.json("revert", changed, an_id(2), "--yes", exit_code=1)["instances"]
    assert {each["problem"] for each in instances} == {"managed by eks.amazonaws.com: the account cannot change it"}
    assert home.sent == []
    assert clients.ledger_table.holds.standing().holds == {}


def test_a_change_is_reverted_once_and_a_later_change_can_be_reverted_too(
    clients: FakeClients, command: Command, changed: str
) -> None:
    """Neither a reverted change nor a revert can be reverted; after a release there may be a new change."""
    command("revert", "--run", "run-1", "--yes")
    for which in (("--run", "run-1"), (changed,), ("--run", FIRST_REVERT)):
        result = command("revert", *which, "--yes")
        assert (result.exit_code, result.stderr) == (0, "Nothing to revert.\n")
        assert lines(result.stdout)[1].endswith("left to undo")
    assert command.options(HOME, changed) == V1_ALLOWED
    command("release", changed)
    clients.clock.advance(60)
    command.sweep("run-2")
    assert command.options(HOME, changed) == V2_ONLY
    assert command("revert", changed, "--yes").exit_code == 0
    assert command.options(HOME, changed) == V1_ALLOWED


def test_an_option_that_ec2_refuses_is_named_and_the_rest_is_reverted(
    clients: FakeClients, home: FakeEc2, command: Command
) -> None:
    """Tokens and hop limit matter most: an application waits for them. The exit code is 1 until all is reverted."""
    clients.ssm.put(POLICY_PARAMETER, '{"http_put_response_hop_limit": 2, "instance_metadata_tags": "disabled"}')
    home.launch(an_instance(1, replace(V1_ALLOWED, instance_metadata_tags=Switch.ENABLED)))
    command.sweep("run-1")
    home.set_tags(an_id(1), **{"Patch Group": "linux"})
    result = command("revert", an_id(1), "--yes")
    assert result.exit_code == 1
    assert lines(result.stdout)[-1] == (
        f"{an_id(1)}; {HOME} REMEDIATED reverted to what it was before the run run-1; EC2 refused "
        "InstanceMetadataTags=enabled (InvalidParameterValue: 'Patch Group' is not a valid tag key.)"
    )
    assert command.options(HOME, an_id(1)) == V1_ALLOWED
    entry = clients.ledger_table.entries.of(an_id(1))[-1]
    assert (entry.outcome, entry.wanted, entry.after) == ("REMEDIATED", V1_ALLOWED, V1_ALLOWED)
    result = command("revert", an_id(1), "--yes")
    assert result.exit_code == 1
    assert "SKIPPED" in lines(result.stdout)[-1]
    home.remove_tag(an_id(1), "Patch Group")
    assert command("revert", an_id(1), "--yes").exit_code == 0
    assert command.options(HOME, an_id(1)).instance_metadata_tags is Switch.ENABLED
