from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.aws.ledger_items import lease_item
from imds_enforcer.ledger.entry import Entry
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.ledger.lease import Lease
from imds_enforcer.model import HttpTokens
from imds_enforcer.model.instance import AUTO_SCALING_GROUP_TAG, LAUNCH_TEMPLATE_TAG, LAUNCH_TEMPLATE_VERSION_TAG
from imds_enforcer.policy import PolicyVersions
from tests.fakes.clock import START
from tests.fakes.command import ANN, Command, lines
from tests.fakes.command import FIRST_REVERT as FIRST_RUN
from tests.fakes.examples import (
    AWAY,
    DENIED_BY_SCP,
    HOME,
    IMDS_OFF,
    POLICY_PARAMETER,
    THROTTLED,
    TOKENS_PARAMETER,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)
from tests.fakes.runs import ledger
from tests.fakes.stack import refusal

if TYPE_CHECKING:
    from pathlib import Path

    from imds_enforcer.model import Failure
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

WEB = {AUTO_SCALING_GROUP_TAG: "web", LAUNCH_TEMPLATE_TAG: "lt-1", LAUNCH_TEMPLATE_VERSION_TAG: "7"}
WHY = "HttpTokens is optional, not required"
MODIFY = "ModifyInstanceMetadataOptions"


@pytest.fixture
def fleet(home: FakeEc2, away: FakeEc2) -> None:
    """Two instances of a group, one of an image, one exempt, one compliant, one off; one in the other region."""
    home.launch(*(an_instance(number, tags=WEB, image_id="ami-1") for number in (1, 2)))
    home.launch(an_instance(3, image_id="ami-2"), an_instance(4, tags={"imds": "v1"}))
    home.launch(an_instance(5, V2_ONLY), an_instance(6, IMDS_OFF))
    away.launch(an_instance(7, image_id="ami-2"))


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    """A policy in the operator's own file."""
    path = tmp_path / "policy.json"
    path.write_text('{"http_tokens": "required", "http_put_response_hop_limit": 2}')
    return path


def put(clients: FakeClients, **policy: Any) -> None:
    """Store this policy in Parameter Store."""
    clients.ssm.put(POLICY_PARAMETER, json.dumps(policy))


EXEMPT = {"exemptions": [{"match": {"tag": {"key": "imds", "value": "v1"}}, "reason": "vendor appliance"}]}


def test_the_plan_and_then_the_report(clients: FakeClients, command: Command, fleet: None) -> None:  # noqa: ARG001
    """The plan has the sources and the counts by region; the report has each changed instance and the counts."""
    put(clients, **EXEMPT)
    result = command("enforce", "--yes")
    assert result.exit_code == 0
    assert lines(result.stdout) == [
        "LAUNCHED BY REGION TO CHANGE",
        f"Auto Scaling group web; launch template lt-1 version 7; ami-1 {HOME} 2",
        f"ami-2 {HOME} 1",
        f"ami-2 {AWAY} 1",
        "REGION INSTANCES OUTCOMES PROBLEMS",
        f"{HOME} 4 1 EXEMPT; 3 WOULD_REMEDIATE",
        f"{AWAY} 1 1 WOULD_REMEDIATE",
        "all 5 1 EXEMPT; 4 WOULD_REMEDIATE",
        "INSTANCE OUTCOME REASON",
        *(f"{an_id(number)}; {HOME} REMEDIATED {WHY}" for number in (1, 2, 3)),
        f"{an_id(7)}; {AWAY} REMEDIATED {WHY}",
        "REGION INSTANCES OUTCOMES PROBLEMS",
        f"{HOME} 4 3 REMEDIATED; 1 EXEMPT",
        f"{AWAY} 1 1 REMEDIATED",
        "all 5 4 REMEDIATED; 1 EXEMPT",
    ]
    assert result.stderr == f"Run {FIRST_RUN} changes 4 instances in 2 regions.\n"
    assert [command.options(HOME, an_id(number)) for number in (3, 4, 5, 6)] == [V2_ONLY, V1_ALLOWED, V2_ONLY, IMDS_OFF]


def test_the_ledger_names_the_caller(clients: FakeClients, command: Command, fleet: None) -> None:  # noqa: ARG001
    """The whole run can be reverted."""
    command("enforce", "--yes")
    entries = ledger(clients)
    assert {(entry.run_id, entry.trigger, entry.by) for entry in entries} == {(FIRST_RUN, "command", ANN)}
    assert {str(entry.outcome) for entry in entries} == {"REMEDIATED"}
    assert len(entries) == 5
    assert command("revert", "--run", FIRST_RUN, "--yes").exit_code == 0
    assert command.options(HOME, an_id(1)) == V1_ALLOWED


def test_the_ledger_says_when_the_process_ends_at_the_latest(
    clients: FakeClients, home: FakeEc2, command: Command
) -> None:
    """It plans with a quarter of EC2's rate: an entry that is still open after that was left behind."""
    home.launch(*map(an_instance, range(250)))
    command("enforce", "--yes")
    (ends_at,) = {entry.ends_at for entry in ledger(clients)}
    assert ends_at == START + timedelta(seconds=900 + 250 / 1.25 + 20 + 30)


def test_a_rehearsal_changes_nothing(clients: FakeClients, command: Command, fleet: None) -> None:  # noqa: ARG001
    """It lists only instances that a run would change: none that is held, exempt or off."""
    put(clients, **EXEMPT)
    clients.ledger_table.holds.write([Hold(instance_id=an_id(1), reason="under repair", by=ANN, at=START)])
    document = command.json("enforce", "--dry-run")
    assert MODIFY not in clients.ec2_calls
    assert ledger(clients) == []
    assert [(each["instance_id"], each["outcome"]) for each in document["instances"]] == [
        (an_id(number), "WOULD_REMEDIATE") for number in (2, 3, 7)
    ]
    assert (document["run_id"], document["dry_run"], document["report"]) == (None, True, None)
    assert document["policy"] == {
        "source": "Parameter Store",
        "http_tokens": "required",
        "versions": {"http_tokens": 1, "policy": 2},
    }
    plan = document["plan"]
    assert plan["outcomes"] == {"EXEMPT": 1, "WOULD_REMEDIATE": 3, "HELD": 1}
    assert plan["regions"][AWAY] == {"status": "DONE", "outcomes": {"WOULD_REMEDIATE": 1}}
    assert plan["sources"][0] == {
        "auto_scaling_group": "web",
        "launch_template": "lt-1 version 7",
        "image_id": "ami-1",
        "region": HOME,
        "instances": 1,
    }


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        ({"rollout_percent": 0}, "SKIPPED"),
        ({"legacy_calls": {}}, "HELD"),
        ({"launch_grace_seconds": 600}, "DEFERRED"),
    ],
)
def test_a_rehearsal_applies_all_safeguards(
    clients: FakeClients, home: FakeEc2, command: Command, policy: dict[str, Any], outcome: str
) -> None:
    """They are the rollout's share, the gate and the grace period after a launch."""
    put(clients, **policy)
    attached = START - timedelta(minutes=5 if outcome == "DEFERRED" else 500)
    home.launch(an_instance(1, attached_at=attached))
    clients.metrics[HOME].data["MetadataNoToken", an_id(1)] = [(START - timedelta(hours=1), 5.0)]
    document = command.json("enforce", "--dry-run", exit_code=int(outcome == "DEFERRED"))
    assert document["plan"]["outcomes"] == {outcome: 1}


def test_it_asks_before_the_first_change(command: Command, fleet: None) -> None:  # noqa: ARG001
    """The question follows the plan; any answer but yes means no."""
    declined = command("enforce", typed="\n")
    assert declined.exit_code == 1
    assert declined.stderr == "Change 5 instances in 2 regions, HttpTokens required? [y/N] Nothing was changed.\n"
    assert lines(declined.stdout)[-1] == "all 5 5 WOULD_REMEDIATE"
    assert command.options(HOME, an_id(1)) == V1_ALLOWED
    assert command("enforce", typed="y\n").exit_code == 0
    assert command.options(HOME, an_id(1)) == V2_ONLY


def test_the_question_always_follows_the_plan(command: Command, fleet: None) -> None:  # noqa: ARG001
    """If the data is for a program, the plan is on standard error."""
    result = command("enforce", "--output", "json", typed="y\n")
    assert "all 5 5 WOULD_REMEDIATE" in lines(result.stderr)
    assert json.loads(result.stdout)["report"]["outcomes"] == {"REMEDIATED": 5}


def test_without_a_terminal_it_needs_a_yes(clients: FakeClients, command: Command, fleet: None) -> None:  # noqa: ARG001
    """It does not even read the instances."""
    refusal = command.refusal("enforce")
    assert refusal == "imds-enforcer: no terminal to ask at, so nothing was done; --yes goes on without asking"
    assert clients.ec2_calls == []


def test_if_nothing_differs_there_is_no_question(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """No run begins."""
    home.launch(an_instance(1, V2_ONLY))
    result = command("enforce", typed="")
    assert (result.exit_code, result.stderr) == (0, "Nothing to change.\n")
    assert lines(result.stdout)[-1] == "all 0 nothing differs from the policy"
    assert clients.ledger_table.entries.open_intents() == []


def test_the_report_as_csv(command: Command, fleet: None) -> None:  # noqa: ARG001
    """It has a row for each instance, with its options before and after."""
    header, first, *rest = command("enforce", "--yes", "--output", "csv").stdout.splitlines()
    assert header.startswith(
        "instance_id,region,outcome,reason,code,auto_scaling_group,launch_template,image_id,before."
    )
    assert first == (
        f'{an_id(1)},{HOME},REMEDIATED,"{WHY}",,web,lt-1 version 7,ami-1,'
        "optional,enabled,1,disabled,disabled,applied,required,enabled,1,disabled,disabled,applied"
    )
    assert len(rest) == 4


# The policy.


def another(version: int = 1) -> str:
    """The warning that the deployed policy is another one."""
    return f"The deployed enforcer follows another policy, versions 1 (HttpTokens) and {version} (policy)"


def test_a_policy_from_a_file(command: Command, clients: FakeClients, home: FakeEc2, policy_file: Path) -> None:
    """The run follows it, and warns that the deployed enforcer follows another policy."""
    home.launch(an_instance(1))
    result = command("enforce", "--yes", "--policy", str(policy_file))
    assert command.options(HOME, an_id(1)) == replace(V2_ONLY, http_put_response_hop_limit=2)
    assert result.stderr.startswith(
        f"{another()}, and will change back every option for which that policy has another value.\n"
    )
    assert {entry.versions for entry in ledger(clients)} == {PolicyVersions()}


def test_a_file_beside_a_deployed_policy_in_audit_mode(
    command: Command, clients: FakeClients, home: FakeEc2, policy_file: Path
) -> None:
    """The deployed enforcer changes nothing back; the run follows the file, and changes what differs."""
    put(clients, mode="audit", http_put_response_hop_limit=2)
    home.launch(an_instance(1))
    said = f"{another(2)}, in audit mode, and changes nothing. This run's mode is that of the file: enforce.\n"
    assert command("enforce", "--dry-run", "--policy", str(policy_file)).stderr.startswith(said)
    assert home.modified == []
    result = command("enforce", "--yes", "--policy", str(policy_file))
    assert (result.exit_code, result.stderr.startswith(said)) == (0, True)
    assert command.options(HOME, an_id(1)) == replace(V2_ONLY, http_put_response_hop_limit=2)


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_a_file_in_audit_mode(
    command: Command, clients: FakeClients, home: FakeEc2, policy_file: Path, mode: str
) -> None:
    """The run changes nothing that the deployed enforcer could change back."""
    put(clients, mode=mode, http_put_response_hop_limit=3)
    home.launch(an_instance(1))
    policy_file.write_text('{"http_tokens": "required", "mode": "audit"}')
    result = command("enforce", "--yes", "--policy", str(policy_file))
    deployed, run = result.stderr.splitlines()
    audits = ", in audit mode, and changes nothing. This run's mode is that of the file: audit."
    assert deployed == another(2) + {"enforce": ".", "audit": audits}[mode]
    assert (result.exit_code, run) == (1, "Nothing is changed, because the policy's mode is audit.")
    assert home.modified == []


def test_the_same_policy_from_a_file(command: Command, clients: FakeClients, policy_file: Path) -> None:
    """There is no warning."""
    put(clients, http_put_response_hop_limit=2)
    assert command("enforce", "--yes", "--policy", str(policy_file)).stderr == "Nothing to change.\n"


def test_while_the_deployed_policy_is_invalid(command: Command, clients: FakeClients, policy_file: Path) -> None:
    """The run follows the file, and the deployed enforcer changes nothing back."""
    clients.ssm.put(POLICY_PARAMETER, "no JSON")
    result = command("enforce", "--yes", "--policy", str(policy_file))
    assert result.exit_code == 0
    said = "The deployed enforcer changes nothing, because its policy is invalid: policy is not JSON: "
    assert result.stderr.startswith(said)


def test_while_the_deployed_policy_cannot_be_read(command: Command, clients: FakeClients, policy_file: Path) -> None:
    """The run follows the file all the same."""
    clients.ssm.error = refusal("AccessDeniedException")
    result = command("enforce", "--yes", "--policy", str(policy_file))
    assert result.exit_code == 0
    unread = "The deployed enforcer's policy could not be read, so it is not compared with the file"
    assert result.stderr.startswith(f"{unread}: AccessDeniedException: no\n")


def test_without_a_policy(command: Command, clients: FakeClients) -> None:
    """The error names both ways to get one."""
    clients.ssm.values.clear()
    assert command.refusal("enforce", "--yes") == (
        f"imds-enforcer: no policy: {TOKENS_PARAMETER} and {POLICY_PARAMETER} do not exist in {HOME}; "
        "name the home region with --region, or a file with --policy"
    )
    assert clients.ec2_calls == []


def test_under_an_invalid_policy_nothing_is_changed(command: Command, clients: FakeClients, home: FakeEc2) -> None:
    """This holds for every command."""
    home.launch(an_instance(1))
    clients.ssm.put(TOKENS_PARAMETER, "sometimes")
    refusal = command.refusal("enforce", "--yes")
    assert refusal.startswith('imds-enforcer: the policy is invalid, so nothing is changed: http-tokens is "sometimes"')
    assert clients.ec2_calls == []


def test_a_policy_that_changes_ends_the_run(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """The function's own runs end too: the sweep that the change starts does the rest."""
    home.launch(*map(an_instance, range(300)))
    clients.clock.at(10, lambda: put(clients, rollout_percent=50))
    report = command.json("enforce", "--yes", exit_code=1)["report"]
    assert report["stopped"] == "the policy has changed during the run, to versions 1 (HttpTokens) and 2 (policy)"
    assert report["outcomes"] == {
        "REMEDIATED": len(home.modified),
        "DEFERRED": 300 - len(home.modified),
    }
    assert len(home.modified) < 170


def test_a_policy_file_stays_in_force_during_the_run(
    clients: FakeClients, home: FakeEc2, command: Command, policy_file: Path
) -> None:
    """A change in Parameter Store does not end the run."""
    home.launch(*map(an_instance, range(200)))
    clients.clock.at(10, lambda: put(clients, rollout_percent=50))
    document = command.json("enforce", "--yes", "--policy", str(policy_file))
    assert document["report"]["outcomes"] == {"REMEDIATED": 200}
    assert document["policy"]["source"] == str(policy_file)


def test_a_policy_that_only_audits(clients: FakeClients, command: Command, fleet: None) -> None:  # noqa: ARG001
    """The run changes nothing, and ends with exit code 1."""
    put(clients, mode="audit")
    result = command("enforce", "--yes")
    assert (result.exit_code, result.stderr) == (1, "Nothing is changed, because the policy's mode is audit.\n")
    assert MODIFY not in clients.ec2_calls
    assert command("enforce", "--dry-run").exit_code == 0


def test_the_limit_of_a_sweep(clients: FakeClients, home: FakeEc2, command: Command) -> None:
    """It applies here too; the rest is deferred and counted."""
    put(clients, max_changes_per_sweep=2)
    home.launch(*map(an_instance, range(5)))
    result = command("enforce", "--yes")
    assert result.exit_code == 1
    assert "The policy lets one sweep change 2 instances; the sweep picks them at random." in result.stderr
    assert "changes 2 instances in 1 region." in result.stderr
    assert len(home.modified) == 2
    assert lines(result.stdout)[-1] == "all 5 2 REMEDIATED; 3 DEFERRED"
    assert sum("REMEDIATED " in line for line in lines(result.stdout)) == 2


# Regions.


def test_only_some_regions(clients: FakeClients, command: Command, fleet: None) -> None:  # noqa: ARG001
    """The run does not even list the others."""
    document = command.json("enforce", "--yes", "--regions", f"{AWAY}, {AWAY}")
    assert list(document["report"]["regions"]) == [AWAY]
    assert clients.ec2(HOME).finds == []
    assert command.options(HOME, an_id(1)) == V1_ALLOWED


@pytest.mark.parametrize(("named", "wrong"), [("eu-west-1,mars", "mars"), ("", ""), (",", ",")])
def test_an_unknown_region(command: Command, named: str, wrong: str) -> None:
    """The error names the allowed regions."""
    assert command.refusal("enforce", "--yes", "--regions", named) == (
        f"imds-enforcer: --regions is {wrong!r}; allowed: all, or some of {HOME}, {AWAY}"
    )


def test_regions_that_the_policy_leaves_out(clients: FakeClients, command: Command, fleet: None) -> None:  # noqa: ARG001
    """The run leaves them out; it is an error if no region is left."""
    put(clients, regions={"include": [HOME]})
    result = command("enforce", "--yes", "--regions", f"{HOME},{AWAY}")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (0, f"The policy leaves {AWAY} out.")
    assert command.options(AWAY, an_id(7)) == V1_ALLOWED
    assert command.refusal("enforce", "--yes", "--regions", AWAY) == (
        f"imds-enforcer: --regions is {AWAY}; allowed: regions of the policy, only {HOME}"
    )


@pytest.mark.parametrize("failure", [UNAUTHORIZED, DENIED_BY_SCP])
def test_without_permission_to_list_regions(
    clients: FakeClients,
    command: Command,
    home: FakeEc2,
    fleet: None,  # noqa: ARG001
    failure: Failure,
) -> None:
    """The run covers the policy's regions, else the home region, and says so."""
    home.regions_error = failure
    result = command("enforce", "--yes")
    assert result.exit_code == 0
    denied = f"EC2 does not list the account's regions ({failure}). This covers only"
    assert result.stderr.count(f"{denied} {HOME}; name others in the policy's regions.include.") == 1
    assert command.options(HOME, an_id(1)) == V2_ONLY
    assert command.options(AWAY, an_id(7)) == V1_ALLOWED
    put(clients, regions={"include": [AWAY]})
    result = command("enforce", "--yes")
    assert f"{denied} {AWAY};" in result.stderr
    assert command.options(AWAY, an_id(7)) == V2_ONLY


def test_a_misspelt_region_in_the_policy(clients: FakeClients, command: Command) -> None:
    """The warning is that of a sweep's report."""
    put(clients, regions={"exclude": ["eu-west-11"]})
    assert "The policy names the region eu-west-11, which is not enabled" in command("enforce", "--yes").stderr


# What goes wrong.


@pytest.mark.usefixtures("fleet")
def test_without_permission_to_change_it_ends_before_the_first_change(
    command: Command, home: FakeEc2, away: FakeEc2
) -> None:
    """It takes only a few dry runs, however many instances there are."""
    home.launch(*map(an_instance, range(10, 20)))
    for ec2 in (home, away):
        for instance_id in ec2.shown:
            ec2.modify_errors[instance_id] = [UNAUTHORIZED]
    result = command("enforce", "--yes")
    assert result.exit_code == 2
    assert result.stderr == f"imds-enforcer: you may not change these instances: {UNAUTHORIZED}\n"
    assert (home.modified, away.modified) == ([], [])
    assert (len(home.rehearsed), len(away.rehearsed)) == (5, 1)


@pytest.mark.usefixtures("fleet")
def test_with_permission_for_some_instances_these_are_changed(command: Command, home: FakeEc2, away: FakeEc2) -> None:
    """Permissions may differ by region and by tag; the dry runs end with the first success."""
    for instance_id in home.shown:
        home.modify_errors[instance_id] = [UNAUTHORIZED] * 2
    result = command("enforce", "--yes")
    assert result.exit_code == 1
    assert (len(home.modified), len(away.modified)) == (0, 1)
    assert len(away.rehearsed) == 1


def test_an_instance_that_fails(home: FakeEc2, command: Command, fleet: None) -> None:  # noqa: ARG001
    """It stops no other; the report has its reason, and the exit code is 1."""
    home.modify_errors[an_id(2)] = [UNAUTHORIZED]
    result = command("enforce", "--yes")
    assert result.exit_code == 1
    assert f"{an_id(2)}; {HOME} FAILED {UNAUTHORIZED}" in lines(result.stdout)
    assert lines(result.stdout)[-1] == "all 5 4 REMEDIATED; 1 FAILED"


def test_a_region_that_fails(away: FakeEc2, command: Command, fleet: None) -> None:  # noqa: ARG001
    """The plan names it, and it stops no other."""
    away.find_errors[1] = away.find_errors[2] = THROTTLED
    result = command("enforce", "--yes")
    assert result.exit_code == 1
    assert lines(result.stdout).count(f"{AWAY} 0 {THROTTLED}") == 2
    assert command.options(HOME, an_id(1)) == V2_ONLY


def test_a_region_that_the_organization_denies(away: FakeEc2, command: Command, fleet: None) -> None:  # noqa: ARG001
    """The organization intends it, so the exit code is 0."""
    away.find_errors[1] = away.find_errors[2] = DENIED_BY_SCP
    result = command("enforce", "--yes")
    assert result.exit_code == 0
    assert f"{AWAY} 0 denied by the organization: {DENIED_BY_SCP}" in lines(result.stdout)


def test_if_the_ledger_is_out_of_reach_nothing_is_changed(
    clients: FakeClients,
    command: Command,
    fleet: None,  # noqa: ARG001
) -> None:
    """The plan says so too."""
    clients.table.read_failure = THROTTLED
    result = command("enforce", "--yes")
    assert result.exit_code == 1
    assert "the ledger is out of reach" in lines(result.stdout)[1]
    assert MODIFY not in clients.ec2_calls


def test_an_interrupted_change_of_another_process_is_finalized(
    clients: FakeClients, home: FakeEc2, command: Command
) -> None:
    """The function's own sweeps do the same."""
    home.launch(an_instance(1, V2_ONLY), an_instance(2))
    entry = Entry(
        instance_id=an_id(1),
        region=HOME,
        at=START - timedelta(days=1),
        run_id="lost",
        trigger="command",
        versions=PolicyVersions(),
        before=V1_ALLOWED,
        wanted=V2_ONLY,
        ends_at=START - timedelta(hours=1),
    )
    clients.ledger_table.entries.write([entry])
    command("enforce", "--yes")
    assert [str(each.outcome) for each in clients.ledger_table.entries.of(an_id(1))] == ["REMEDIATED"]


def test_where_the_enforcer_is_not_deployed(
    clients: FakeClients, command: Command, policy_file: Path, home: FakeEc2
) -> None:
    """One line says what that means before the question."""
    command.deployed = False
    home.launch(an_instance(1))
    result = command("enforce", "--policy", str(policy_file), typed="y\n")
    assert result.exit_code == 0
    said = "The enforcer is not deployed here: there is no ledger, so this run cannot be reverted, and no hold."
    assert result.stderr.splitlines()[0] == said
    assert command.options(HOME, an_id(1)).http_tokens is HttpTokens.REQUIRED
    assert clients.table.requests == []


def test_where_the_enforcer_is_in_another_region(command: Command, policy_file: Path, home: FakeEc2) -> None:
    """Its holds would be ignored."""
    command.deployed, command.stack.elsewhere.code = False, None
    home.launch(an_instance(1))
    refusal = f"imds-enforcer: the stack ImdsEnforcer is in {AWAY}; name that region with --region"
    assert command.refusal("enforce", "--policy", str(policy_file), "--yes") == refusal
    assert home.sent == []


@pytest.mark.parametrize("deployed", [True, False])
def test_an_option_that_ec2_refuses_is_named_and_tokens_are_required(
    home: FakeEc2, command: Command, tmp_path: Path, *, deployed: bool
) -> None:
    """This holds without a deployed enforcer too. The exit code is 0: EC2 would refuse the option again."""
    command.deployed = deployed
    path = tmp_path / "policy.json"
    path.write_text('{"http_tokens": "required", "instance_metadata_tags": "enabled"}')
    home.launch(an_instance(1, tags={"Patch Group": "linux"}), an_instance(2, V2_ONLY, tags={"team/owner": "web"}))
    result = command("enforce", "--yes", "--policy", str(path))
    assert result.exit_code == 0
    refused = "EC2 refused InstanceMetadataTags=enabled (InvalidParameterValue: '{}' is not a valid tag key.)"
    differs = "InstanceMetadataTags is disabled, not enabled"
    rows = [line for line in lines(result.stdout) if "refused" in line]
    assert rows == [
        f"{an_id(1)}; {HOME} REMEDIATED {WHY}, {differs}; {refused.format('Patch Group')}",
        f"{an_id(2)}; {HOME} SKIPPED {differs}; {refused.format('team/owner')}",
    ]
    assert command.options(HOME, an_id(1)) == V2_ONLY


@pytest.mark.usefixtures("fleet")
def test_a_run_neither_takes_nor_waits_for_the_lease_of_a_sweep(command: Command, clients: FakeClients) -> None:
    """Both are safe side by side."""
    lease = Lease(run_id="run-0", versions=PolicyVersions(1, 1), expires_at=START + timedelta(minutes=10))
    clients.table.put([lease_item(lease)])
    assert command("enforce", "--yes").exit_code == 0
    assert [str(entry.outcome) for entry in ledger(clients)] == ["REMEDIATED"] * 5
    assert clients.table.items["lease", "sweep"] == lease_item(lease)
    assert "PutItem" not in clients.table.requests
