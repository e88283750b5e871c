from __future__ import annotations

import csv
import io
import json
import os
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model.instance import LAUNCH_TEMPLATE_TAG
from tests.fakes.clock import START
from tests.fakes.command import ANN, Command, lines, now_deployed
from tests.fakes.examples import (
    AWAY,
    EXPIRED,
    HOME,
    POLICY_PARAMETER,
    SERVER_FAULT,
    TOKENS_PARAMETER,
    UNAUTHORIZED,
    an_id,
    an_instance,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

LAX: dict[str, Any] = {"ImageId": "ami-old", "InstanceType": "t3.micro"}
FIXED = {**LAX, "MetadataOptions": {"HttpTokens": "required"}}
FIRST_RUN = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def command(clients: FakeClients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """The command, with a template with two instances at home, and another template in the other region."""
    monkeypatch.chdir(tmp_path)
    command = Command(clients, monkeypatch)
    for region, template, name in ((HOME, "lt-web", "web"), (AWAY, "lt-jobs", "jobs")):
        launches = command.launches[region]
        launches.images = {"ami-old": None}
        launches.templates = {template: [LAX]}
        launches.descriptions = {template: {"LaunchTemplateName": name}}
    old = START - timedelta(days=3)
    for number in (1, 2):
        clients.ec2(HOME).launch(an_instance(number, tags={LAUNCH_TEMPLATE_TAG: "lt-web"}, attached_at=old))
    return command


def outcomes(document: Any) -> dict[str, str]:
    """The outcome of each launcher."""
    return {each["name"] or each["id"]: each["outcome"] for each in document["launchers"]}


def changed(command: Command) -> bool:
    """True if a launch template was changed."""
    verbs = ("create_", "modify_", "delete_")
    return any(call.startswith(verbs) for region in (HOME, AWAY) for call, _ in command.launches[region].requests)


def gate(clients: FakeClients) -> None:
    """Store a policy with a gate, and let an instance call IMDSv1."""
    clients.ssm.put(POLICY_PARAMETER, '{"legacy_calls": {}}')
    clients.metrics[HOME].data["MetadataNoToken", an_id(1)] = [(START - timedelta(hours=1), 5.0)]


def test_all_templates_of_all_regions(command: Command, clients: FakeClients) -> None:
    """One run fixes them; the command names it, and the ledger has it with the caller."""
    result = command("launches", "fix", "--all", "--yes")
    assert result.exit_code == 0
    assert lines(result.stdout) == [
        "LAUNCHER OUTCOME REASON",
        (
            "launch template web (lt-web); eu-west-1 FIXED version 2 requires tokens and is otherwise the same as "
            "version 1; it is now the default"
        ),
        (
            "launch template jobs (lt-jobs); us-east-1 FIXED version 2 requires tokens and is otherwise the same as "
            "version 1; it is now the default"
        ),
    ]
    assert lines(result.stderr) == [f"Run {FIRST_RUN} fixes 2 launch templates."]
    assert command.launches[HOME].state("lt-web") == (2, {1: LAX, 2: FIXED})
    fixes = clients.ledger_table.template_fixes.all()
    assert [(each.run_id, each.region, each.template_id, each.version, each.by) for each in fixes] == [
        (FIRST_RUN, AWAY, "lt-jobs", "2", ANN),
        (FIRST_RUN, HOME, "lt-web", "2", ANN),
    ]


def test_only_named_templates_are_fixed(command: Command) -> None:
    """They are named by id or by name; `--regions` limits where."""
    assert outcomes(command.json("launches", "fix", "web", "--yes")) == {"web": "FIXED"}
    assert outcomes(command.json("launches", "fix", "lt-jobs", "--regions", AWAY, "--yes")) == {"jobs": "FIXED"}
    assert "is not a launch template in us-east-1" in command.refusal(
        "launches", "fix", "web", "--regions", AWAY, "--yes"
    )


@pytest.mark.parametrize("arguments", [(), ("web", "--all")])
def test_templates_or_all_of_them(command: Command, arguments: tuple[str, ...]) -> None:
    """The user has to choose one of the two."""
    assert "--all" in command.refusal("launches", "fix", *arguments, "--yes")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("wbe",), "wbe is not a launch template in eu-west-1, us-east-1; allowed: the id or name of one"),
        (("web", "--despite-calls", "wbe"), "--despite-calls wbe is not a launch template"),
        (("web", "--include-managed-by", "terraform"), "--include-managed-by is 'terraform'; allowed: operator, eks"),
    ],
)
def test_unknown_names(command: Command, arguments: tuple[str, ...], said: str) -> None:
    """The command refuses them before it changes anything."""
    assert said in command.refusal("launches", "fix", *arguments, "--yes")
    assert not changed(command)


def test_a_dry_run_changes_nothing(command: Command, clients: FakeClients) -> None:
    """It records nothing either."""
    document = command.json("launches", "fix", "--all", "--dry-run")
    assert outcomes(document) == {"web": "WOULD_FIX", "jobs": "WOULD_FIX"}
    assert (document["run_id"], document["dry_run"]) == (None, True)
    assert not changed(command)
    assert clients.ledger_table.template_fixes.all() == []


def test_it_asks_before_the_first_fix(command: Command) -> None:
    """The question follows the plan; any answer but yes means no."""
    declined = command("launches", "fix", "web", typed="\n")
    assert declined.exit_code == 1
    assert lines(declined.stderr)[-1] == "Fix 1 launch template, HttpTokens required? [y/N] Nothing was changed."
    assert "WOULD_FIX" in declined.stderr
    assert not changed(command)
    assert command("launches", "fix", "web", typed="y\n").exit_code == 0
    assert "no terminal to ask at" in command.refusal("launches", "fix", "web")


# When nothing may be fixed.


def test_with_the_toggle_optional_nothing_is_fixed(command: Command, clients: FakeClients) -> None:
    """The error says so."""
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    said = command.refusal("launches", "fix", "--all", "--yes")
    assert said == ("imds-enforcer: HttpTokens is optional in Parameter Store, so nothing is fixed; allowed: required")
    assert not changed(command)


def test_under_an_invalid_policy_nothing_is_fixed(command: Command, clients: FakeClients) -> None:
    """The error says what is wrong."""
    clients.ssm.put(POLICY_PARAMETER, '{"mode": 1}')
    assert "the policy is invalid, so nothing is changed" in command.refusal("launches", "fix", "--all", "--yes")
    assert not changed(command)


def test_in_audit_mode_nothing_is_fixed(command: Command, clients: FakeClients) -> None:
    """The command shows the plan."""
    clients.ssm.put(POLICY_PARAMETER, '{"mode": "audit"}')
    result = command("launches", "fix", "web", "--yes")
    assert (result.exit_code, "Nothing is changed, because the policy's mode is audit." in result.stderr) == (1, True)
    assert not changed(command)


def test_a_policy_that_changes_meanwhile_ends_the_run(command: Command, clients: FakeClients) -> None:
    """Fixed templates stay fixed; the others are left."""
    command.launches[HOME].after = _later(command, clients)
    document = command.json("launches", "fix", "--all", "--yes", exit_code=1)
    assert outcomes(document) == {"web": "FIXED", "jobs": "LEFT"}
    assert "the policy has changed" in document["launchers"][1]["reason"]


def _later(command: Command, clients: FakeClients) -> Any:
    """Replaces the policy, and lets time pass until the run reads it again."""

    def change(_: str) -> None:
        clients.ssm.put(POLICY_PARAMETER, '{"rollout_percent": 5}')
        command.clock.advance(60)

    return change


# Holds and calls.


def test_a_template_whose_instances_still_call_imdsv1(command: Command, clients: FakeClients) -> None:
    """It is held, with the count; the others are fixed. `--despite-calls` fixes it too."""
    gate(clients)
    document = command.json("launches", "fix", "--all", "--yes", exit_code=1)
    assert outcomes(document) == {"web": "HELD", "jobs": "FIXED"}
    assert document["launchers"][0]["reason"].startswith(
        f"1 of 2 instances must not lose IMDSv1: {an_id(1)} (5 IMDSv1 calls in "
    )
    assert command.launches[HOME].state("lt-web") == (1, {1: LAX})
    assert outcomes(command.json("launches", "fix", "--all", "--yes", "--despite-calls", "web"))["web"] == "FIXED"


def test_calls_that_cannot_be_read_hold_it(command: Command, clients: FakeClients) -> None:
    """The gate holds instances for the same reason."""
    gate(clients)
    clients.metrics[HOME].failure = SERVER_FAULT
    document = command.json("launches", "fix", "web", "--yes", exit_code=1)
    assert outcomes(document) == {"web": "HELD"}
    assert str(SERVER_FAULT) in document["launchers"][0]["reason"]


@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_template_with_a_held_instance(command: Command, clients: FakeClients, *, meanwhile: bool) -> None:
    """A hold counts even if it comes after the plan."""
    hold = Hold(instance_id=an_id(2), reason="migration", by=ANN, at=START)
    if meanwhile:
        read: list[str] = []

        def then_hold(request: str) -> None:
            read.append(request)
            if read.count("Query standing") == 2 and request == "Query standing":
                clients.ledger_table.holds.write([hold])

        clients.table.before_read = then_hold
    else:
        clients.ledger_table.holds.write([hold])
    document = command.json("launches", "fix", "web", "--yes", exit_code=1)
    assert outcomes(document) == {"web": "HELD"}
    assert "migration" in document["launchers"][0]["reason"]
    assert command.launches[HOME].state("lt-web") == (1, {1: LAX})


def test_a_dry_run_names_the_hold(command: Command, clients: FakeClients) -> None:
    """The user learns of it before the fix."""
    clients.ledger_table.holds.write([Hold(instance_id=an_id(2), reason="migration", by=ANN, at=START)])
    [found] = command.json("launches", "fix", "web", "--dry-run")["launchers"]
    assert found["outcome"] == "HELD"
    assert found["reason"].startswith(f"1 of 2 instances must not lose IMDSv1: {an_id(2)} (held until it is released")


def test_an_exemption_by_instance_id_does_not_hold_the_template(command: Command, clients: FakeClients) -> None:
    """The next instance has another id."""
    exemption = {"match": {"instance_id": an_id(1)}, "reason": "vendor"}
    clients.ssm.put(POLICY_PARAMETER, json.dumps({"exemptions": [exemption]}))
    assert outcomes(command.json("launches", "fix", "web", "--yes")) == {"web": "FIXED"}


def test_unreadable_holds_end_the_command(command: Command, clients: FakeClients) -> None:
    """Any instance might be held."""
    clients.table.read_failure = SERVER_FAULT
    assert command.refusal("launches", "fix", "--all", "--yes") == f"imds-enforcer: {SERVER_FAULT}"
    assert not changed(command)


# Other launchers.


def test_configurations_and_images_are_reported(command: Command) -> None:
    """Only `--all` reports them, with the command that sets ImdsSupport, which cannot be undone."""
    home = command.launches[HOME]
    home.configurations = [{"LaunchConfigurationName": "old", "ImageId": "ami-old"}]
    home.own = {"ami-old": {"Name": "golden"}}
    result = command("launches", "fix", "--all", "--yes")
    assert result.exit_code == 0
    assert lines(result.stderr)[-2:] == [
        "Left to you:",
        "aws ec2 modify-image-attribute --region eu-west-1 --image-id ami-old --imds-support v2.0",
    ]
    [image] = [line for line in lines(result.stdout) if "image golden" in line]
    assert image.endswith("; ImdsSupport v2.0 cannot be undone once it is set")
    [old] = [line for line in lines(result.stdout) if "launch configuration old" in line]
    assert old.startswith("launch configuration old; eu-west-1 LEFT ")
    assert "a launch configuration cannot be changed" in old
    assert outcomes(command.json("launches", "fix", "web", "--yes")) == {"web": "COMPLIANT"}


def test_the_placeholders_of_commands_are_explained(command: Command) -> None:
    """NEW_NUMBER stands for the user's new version, which becomes `$Latest`; FIXED_NUMBER for the fix's version."""
    home = command.launches[HOME]
    home.templates["lt-web"], home.default_versions["lt-web"] = [LAX, LAX], 2
    home.groups = [
        {"AutoScalingGroupName": name, "LaunchTemplate": {"LaunchTemplateId": "lt-web", "Version": version}}
        for name, version in (("old", "1"), ("new", "2"))
    ]
    legend = "NEW_NUMBER: the version number that the preceding command returns; that version becomes $Latest"
    dry = command("launches", "fix", "web", "--dry-run").stderr
    assert f"Left to you ({legend}; FIXED_NUMBER: the version that the fix creates):" in " ".join(dry.split())
    assert "Version=FIXED_NUMBER" in dry
    done = command("launches", "fix", "web", "--yes").stderr
    assert f"Left to you ({legend}):" in " ".join(done.split())


def test_fixes_as_csv(command: Command) -> None:
    """A column has the commands that are left to the user."""
    pinned = {"LaunchTemplateId": "lt-web", "Version": "1"}
    command.launches[HOME].groups = [{"AutoScalingGroupName": "web", "LaunchTemplate": pinned}]
    [row] = csv.DictReader(io.StringIO(command("launches", "fix", "web", "--yes", "--output", "csv").stdout))
    assert (row["outcome"], row["source"], row["version"], row["instances"]) == ("FIXED", "1", "2", "2")
    assert row["commands"].endswith("--launch-template LaunchTemplateId=lt-web,Version=2")


# Failures.


def test_a_template_that_fails_stops_no_other(command: Command) -> None:
    """Its reason has AWS's code."""
    command.launches[HOME].refused = {"create_launch_template_version": "UnauthorizedOperation"}
    document = command.json("launches", "fix", "--all", "--yes", exit_code=1)
    assert outcomes(document) == {"web": "FAILED", "jobs": "FIXED"}
    assert document["launchers"][0]["reason"] == "UnauthorizedOperation: AWS said so"


def test_credentials_that_expire_end_the_run(command: Command) -> None:
    """The outcomes so far are reported."""
    command.launches[HOME].refused = {"create_launch_template_version": "ExpiredToken"}
    result = command("launches", "fix", "--all", "--yes", "--output", "json")
    assert result.exit_code == 2
    assert outcomes(json.loads(result.stdout)) == {"web": "FAILED", "jobs": "LEFT"}
    assert "ExpiredToken" in result.stderr


def test_a_ledger_that_cannot_be_written(command: Command, clients: FakeClients) -> None:
    """Without a record of the intent, nothing is changed."""
    clients.table.write_failure = SERVER_FAULT
    assert outcomes(command.json("launches", "fix", "web", "--yes", exit_code=1)) == {"web": "FAILED"}
    assert not changed(command)


def test_a_region_that_cannot_be_read_completely_is_left(command: Command, home: FakeEc2) -> None:
    """Its instances and groups decide about holds and exemptions; templates in other regions are fixed."""
    home.find_errors = dict.fromkeys(range(1, 9), UNAUTHORIZED)
    result = command("launches", "fix", "--all", "--yes", "--output", "json")
    assert (result.exit_code, outcomes(json.loads(result.stdout))) == (1, {"jobs": "FIXED"})
    assert f"EC2 did not list instances in eu-west-1: {UNAUTHORIZED}" in result.stderr


def test_credentials_that_are_not_accepted(command: Command, home: FakeEc2) -> None:
    """The error is one line, and nothing is fixed."""
    home.find_errors = dict.fromkeys(range(1, 9), EXPIRED)
    assert command.refusal("launches", "fix", "--all", "--yes") == f"imds-enforcer: {EXPIRED}"


# Undo.


def test_a_run_is_undone(command: Command, clients: FakeClients) -> None:
    """The undo covers the whole run, in every region."""
    command("launches", "fix", "--all", "--yes")
    dry = command.json("launches", "undo", FIRST_RUN, "--dry-run")
    assert [(each["name"], each["outcome"], each["reason"]) for each in dry] == [
        ("web", "WOULD_UNDO", "make version 1 the default again; delete version 2"),
        ("jobs", "WOULD_UNDO", "make version 1 the default again; delete version 2"),
    ]
    assert command.launches[HOME].state("lt-web") == (2, {1: LAX, 2: FIXED})
    result = command("launches", "undo", FIRST_RUN, "--yes")
    assert (result.exit_code, result.stderr) == (0, "")
    assert command.launches[HOME].state("lt-web") == (1, {1: LAX})
    assert command.launches[AWAY].state("lt-jobs") == (1, {1: LAX})
    assert {str(each.state) for each in clients.ledger_table.template_fixes.all()} == {"undone"}
    again = command("launches", "undo", FIRST_RUN, "--yes")
    assert (again.exit_code, again.stderr) == (0, "Nothing is left to undo.\n")


@pytest.mark.parametrize("name", ["web", "lt-web"])
def test_a_template_is_undone(command: Command, name: str) -> None:
    """Only the last fix of this template is undone."""
    command("launches", "fix", "--all", "--yes")
    asked = command("launches", "undo", name, typed="n\n")
    assert (asked.exit_code, lines(asked.stderr)[-1]) == (
        1,
        "Undo the fix of 1 launch template? [y/N] Nothing was changed.",
    )
    assert command("launches", "undo", name, typed="y\n").exit_code == 0
    assert command.launches[HOME].state("lt-web") == (1, {1: LAX})
    assert command.launches[AWAY].state("lt-jobs") == (2, {1: LAX, 2: FIXED})


def test_the_undo_plans_again_after_the_question(command: Command) -> None:
    """A group names the version before the user answers."""
    command("launches", "fix", "web", "--yes")
    home = command.launches[HOME]
    pinned = {"LaunchTemplateId": "lt-web", "Version": "2"}

    def after_the_groups(call: str) -> None:
        if call == "describe_spot_fleet_requests":
            home.groups = [{"AutoScalingGroupName": "web", "LaunchTemplate": pinned}]

    home.before = after_the_groups
    result = command("launches", "undo", "web", typed="y\n")
    assert "version 2 stays, because it is named by Auto Scaling group web" in lines(result.stdout)[-1]
    assert home.state("lt-web") == (1, {1: LAX, 2: FIXED})


def test_a_version_that_stays_makes_the_exit_code_1(command: Command) -> None:
    """A group now names one of the two versions."""
    command("launches", "fix", "--all", "--yes")
    pinned = {"LaunchTemplateId": "lt-web", "Version": "2"}
    command.launches[HOME].groups = [{"AutoScalingGroupName": "web", "LaunchTemplate": pinned}]
    found = command.json("launches", "undo", FIRST_RUN, "--yes", exit_code=1)
    assert [(each["name"], each["outcome"]) for each in found] == [("web", "LEFT"), ("jobs", "UNDONE")]


def test_a_version_that_is_named_before_the_answer_is_not_deleted(command: Command) -> None:
    """A group begins to name it while the user decides."""
    command("launches", "fix", "web", "--yes")
    asked: list[str] = []

    def pin(call: str) -> None:
        asked.append(call)
        if asked.count("describe_auto_scaling_groups") == 2:
            pinned = {"LaunchTemplateId": "lt-web", "Version": "2"}
            command.launches[HOME].groups = [{"AutoScalingGroupName": "web", "LaunchTemplate": pinned}]

    command.launches[HOME].before = pin
    result = command("launches", "undo", "web", typed="y\n")
    assert (result.exit_code, "LEFT" in result.stdout) == (1, True)
    assert command.launches[HOME].state("lt-web") == (1, {1: LAX, 2: FIXED})


def test_credentials_that_expire_end_an_undo(command: Command) -> None:
    """The outcomes so far are reported."""
    command("launches", "fix", "--all", "--yes")
    command.launches[AWAY].refused = {"modify_launch_template": "ExpiredToken"}
    result = command("launches", "undo", FIRST_RUN, "--yes", "--output", "json")
    assert (result.exit_code, [each["name"] for each in json.loads(result.stdout)]) == (2, ["web"])
    assert "ExpiredToken" in result.stderr


def test_a_template_that_was_never_fixed(command: Command) -> None:
    """The error says what the user may name."""
    assert command.refusal("launches", "undo", "web", "--yes") == (
        "imds-enforcer: 'web' is not in the record of fixes; "
        "allowed: a run of `launches fix`, or a template that it fixed"
    )


# Without a deployed enforcer.


@pytest.mark.parametrize("option", [(), ("--record", "mine.jsonl")])
def test_where_the_enforcer_is_not_deployed(command: Command, tmp_path: Path, option: tuple[str, ...]) -> None:
    """A file records the fixes, and the command names it; `undo` reads it."""
    command.deployed = False
    (tmp_path / "policy.json").write_text('{"http_tokens": "required"}')
    result = command("launches", "fix", "web", "--yes", "--policy", "policy.json", *option)
    assert result.exit_code == 0
    file = option[1] if option else "imds-enforcer-launches.jsonl"
    assert f"The fixes are recorded in {file}, which `imds-enforcer launches undo` needs." in result.stderr
    states = [json.loads(line)["state"] for line in (tmp_path / file).read_text().splitlines()]
    assert states == ["open", "fixed"]
    assert command("launches", "undo", "web", "--yes", *option).exit_code == 0
    assert command.launches[HOME].state("lt-web") == (1, {1: LAX})


def test_a_file_is_read_once_the_enforcer_is_deployed(command: Command, clients: FakeClients, tmp_path: Path) -> None:
    """`--record` has to name it; a truncated line is ignored."""
    command.deployed = False
    (tmp_path / "policy.json").write_text('{"http_tokens": "required"}')
    command("launches", "fix", "web", "--yes", "--policy", "policy.json", "--record", "mine.jsonl")
    with (tmp_path / "mine.jsonl").open("a") as file:
        file.write('{"run_id": "')
    now_deployed(clients, command)
    assert "is not in the record of fixes" in command.refusal("launches", "undo", "web", "--yes")
    assert command("launches", "undo", "web", "--yes", "--record", "mine.jsonl").exit_code == 0


def test_a_file_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    """Without a record of the intent, nothing is changed."""
    command.deployed = False
    (tmp_path / "policy.json").write_text('{"http_tokens": "required"}')
    result = command("launches", "fix", "web", "--yes", "--policy", "policy.json", "--record", ".")
    assert result.exit_code == 1
    assert "FAILED RecordNotWritten: . cannot be written: Is a directory" in lines(result.stdout)[-1]
    assert not changed(command)


def test_a_file_that_cannot_be_read(command: Command) -> None:
    """The error is one line."""
    assert command.refusal("launches", "undo", "web", "--yes", "--record", ".") == (
        "imds-enforcer: . cannot be read: Is a directory"
    )


def test_an_outcome_that_cannot_be_recorded(command: Command, clients: FakeClients) -> None:
    """The command says so. The intent is recorded and the version has its mark, so the fix can be undone."""
    command.launches[HOME].after = lambda _: setattr(clients.table, "write_failure", SERVER_FAULT)
    result = command("launches", "fix", "web", "--yes")
    assert result.exit_code == 0
    assert (
        f"The outcome of the fix of lt-web could not be recorded ({SERVER_FAULT}); "
        "an undo finds the new version by its description."
    ) in result.stderr
    clients.table.write_failure = None
    command.launches[HOME].after = lambda _: None
    assert command("launches", "undo", "web", "--yes").exit_code == 0
    assert command.launches[HOME].state("lt-web") == (1, {1: LAX})


def test_a_file_that_can_no_longer_be_written_ends_the_run(command: Command, tmp_path: Path) -> None:
    """The outcomes so far are reported all the same."""
    command.deployed = False
    (tmp_path / "policy.json").write_text('{"http_tokens": "required"}')
    file = tmp_path / "mine.jsonl"

    def replace_by_a_folder(call: str) -> None:
        if call == "modify_launch_template":
            file.unlink()
            file.mkdir()

    command.launches[HOME].after = replace_by_a_folder
    options = ("--policy", "policy.json", "--record", "mine.jsonl", "--output", "json")
    result = command("launches", "fix", "--all", "--yes", *options)
    assert result.exit_code == 1
    assert outcomes(json.loads(result.stdout)) == {"web": "FIXED", "jobs": "FAILED"}
    assert "The outcome of the fix of lt-web could not be recorded" in result.stderr
    assert not any(call.startswith("create_") for call, _ in command.launches[AWAY].requests)


def test_an_undo_that_cannot_be_recorded_stops_no_other(command: Command, tmp_path: Path) -> None:
    """It counts as failed; the next undo finds that nothing of the fix exists any more."""
    command.deployed = False
    (tmp_path / "policy.json").write_text('{"http_tokens": "required"}')
    file = tmp_path / "mine.jsonl"
    command("launches", "fix", "--all", "--yes", "--policy", "policy.json", "--record", "mine.jsonl")
    written = file.read_text()

    def replace_by_a_folder(call: str) -> None:
        if call == "delete_launch_template_versions":
            file.unlink()
            file.mkdir()

    def put_back(call: str) -> None:
        if call == "modify_launch_template":
            file.rmdir()
            file.write_text(written)

    command.launches[HOME].after, command.launches[AWAY].after = replace_by_a_folder, put_back
    found = command.json("launches", "undo", FIRST_RUN, "--yes", "--record", "mine.jsonl", exit_code=1)
    assert [(each["name"], each["outcome"]) for each in found] == [("web", "FAILED"), ("jobs", "UNDONE")]
    assert "mine.jsonl cannot be written" in found[0]["reason"]


def test_ctrl_c_ends_the_run_after_the_current_template(command: Command) -> None:
    """The current fix is completed, no further one begins, and all are reported."""
    pressed: list[str] = []

    def press(call: str) -> None:
        if not pressed:
            pressed.append(call)
            os.kill(os.getpid(), signal.SIGINT)

    command.launches[HOME].after = press
    result = command("launches", "fix", "--all", "--yes", "--output", "json")
    assert result.exit_code == 130
    assert outcomes(json.loads(result.stdout)) == {"web": "FIXED", "jobs": "LEFT"}
