from __future__ import annotations

import csv
import io
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.model.instance import AUTO_SCALING_GROUP_TAG
from tests.fakes.command import Command, lines
from tests.fakes.examples import AWAY, DENIED_BY_SCP, EXPIRED, HOME, NOT_HERE, UNAUTHORIZED, an_instance
from tests.fakes.launches import AUTO_SCALING, one_of_each
from tests.fakes.sarif_schema import violations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

EVERYWHERE = (HOME, AWAY)
TEXT = "AWS said so"


@pytest.fixture
def command(clients: FakeClients, home: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, with a launcher of each kind in one region and only account defaults in the other."""
    home.launch(an_instance(1, tags={AUTO_SCALING_GROUP_TAG: "web"}, image_id="ami-old"))
    command = Command(clients, monkeypatch)
    one_of_each(command.launches[HOME])
    command.launches[AWAY].defaults = {"HttpTokens": "required"}
    return command


def answers(document: Any) -> dict[str, bool | None]:
    """Whether each launcher's next instance allows IMDSv1."""
    return {each["launcher"]: each["launches_imdsv1"] for each in document["launchers"]}


def test_the_launchers_of_all_regions(command: Command) -> None:
    """They are listed with and without instances: findings first, then by region and kind."""
    result = command("launches")
    assert result.exit_code == 0
    heading, first, *_, last = lines(result.stdout)
    assert heading == "LAUNCHER LAUNCHES IMDSv1 WHY INSTANCES OWNER CHANGE"
    assert first == (
        "Auto Scaling group web; eu-west-1 yes launch template lt-web version 1 sets HttpTokens optional 1 "
        "MetadataOptions.HttpTokens of launch template lt-web version 1: required"
    )
    assert last == "account defaults of us-east-1 no the region's default is required 0"
    assert lines(result.stderr) == [
        "14 launchers in 2 regions: 9 will launch IMDSv1 instances, 4 will not, 1 not known."
    ]


def test_it_calls_only_ec2_auto_scaling_and_eks(command: Command, clients: FakeClients) -> None:
    """It reads neither the caller, the stack nor the policy, and changes nothing."""
    command("launches")
    assert set(clients.ec2_calls) == {"DescribeRegions", "DescribeInstances"}
    assert clients.table.requests == []
    assert clients.ssm.requests == []
    assert all(call.startswith(("describe_", "list_", "get_")) for call, _ in command.launches[HOME].requests)


def test_only_some_regions(command: Command) -> None:
    """The command does not call AWS in the other regions."""
    document = command.json("launches", "--regions", AWAY)
    assert document["regions"] == [AWAY]
    assert answers(document) == {"account defaults of us-east-1": False}
    assert command.launches[HOME].requests == []


def test_regions_are_read_at_the_same_time(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits here for the other, and fails if the other does not come."""
    together = threading.Barrier(2, timeout=30)
    for region in EVERYWHERE:
        launches = command.launches[region]

        def meet(ask: Callable[[], Any] = launches.get_instance_metadata_defaults) -> Any:
            together.wait()
            return ask()

        monkeypatch.setattr(launches, "get_instance_metadata_defaults", meet)
    assert command("launches").exit_code == 0


@pytest.mark.parametrize(
    ("region", "fail_on", "exit_code"),
    [(HOME, (), 0), (HOME, ("--fail-on", "launches-imdsv1"), 1), (AWAY, ("--fail-on", "launches-imdsv1"), 0)],
)
def test_what_makes_the_exit_code_1(command: Command, region: str, fail_on: tuple[str, ...], exit_code: int) -> None:
    """Findings do so only with `--fail-on`."""
    assert command("launches", "--regions", region, *fail_on).exit_code == exit_code


def test_an_unknown_launcher_makes_the_exit_code_1_too(command: Command) -> None:
    """Its next instance may allow IMDSv1."""
    command.launches[AWAY].defaults = {"HttpTokens": "required"}
    command.launches[AWAY].configurations = [{"LaunchConfigurationName": "old"}]
    result = command("launches", "--regions", AWAY, "--fail-on", "launches-imdsv1")
    assert result.exit_code == 1
    assert "0 will launch IMDSv1 instances, 1 will not, 1 not known." in result.stderr


def test_another_value_of_fail_on_is_refused(command: Command) -> None:
    """The error names the value allowed."""
    assert "launches-imdsv1" in command.refusal("launches", "--fail-on", "drift")


# What a policy exempts.

NEXT_WOULD = "if required becomes the region's default for HttpTokens, the launcher's next instance will not get IMDSv1"


@pytest.fixture
def exempting(command: Command, tmp_path: Path) -> str:
    """A policy that exempts two groups, of which `web` now launches from a template that sets no tokens."""
    command.launches[HOME].groups[0]["LaunchTemplate"]["Version"] = "3"
    exemptions = [
        {"match": {"auto_scaling_group": "web"}, "reason": "vendor"},
        {"match": {"auto_scaling_group": "eks-*"}, "reason": "sets its tokens itself"},
    ]
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"http_tokens": "required", "exemptions": exemptions}))
    return str(path)


def test_an_exempt_launcher_that_sets_no_tokens_is_named(command: Command, exempting: str) -> None:
    """Every format names it; without a policy no format does."""
    said = f"the launcher's next instance is exempt (vendor); 1 instance: 1 exempt; {NEXT_WOULD}"
    document = command.json("launches", "--policy", exempting)
    assert {each["launcher"]: each["exempt"] for each in document["launchers"] if each["exempt"]} == {
        "Auto Scaling group web": said
    }
    for output in ("table", "csv", "html", "sarif"):
        text = command("launches", "--policy", exempting, "--output", output).stdout
        assert "next instance is exempt (vendor); 1 instance: 1 exempt" in text
    assert {each["exempt"] for each in command.json("launches")["launchers"]} == {None}


def test_a_policy_needs_no_other_service(command: Command, exempting: str, clients: FakeClients) -> None:
    """The command reads neither holds nor IMDSv1 calls."""
    command("launches", "--policy", exempting)
    assert clients.table.requests == []
    assert not any(metrics.requests for metrics in clients.metrics.values())


def test_a_policy_that_is_invalid(command: Command, tmp_path: Path) -> None:
    """The command lists nothing."""
    path = tmp_path / "policy.json"
    path.write_text('{"mode": "audits"}')
    assert command.refusal("launches", "--policy", str(path)).startswith(
        f"imds-enforcer: {path}: http_tokens is missing"
    )
    assert command.launches[HOME].requests == []


# What cannot be read.


def test_a_service_that_is_denied_costs_one_line(command: Command) -> None:
    """One line covers all regions and calls; the rest is listed."""
    for region in EVERYWHERE:
        command.launches[region].refused = {
            "list_clusters": "AccessDeniedException",
            "describe_auto_scaling_groups": "AccessDenied",
            "describe_launch_configurations": "AccessDenied",
        }
    result = command("launches")
    assert result.exit_code == 1
    assert lines(result.stderr)[:-1] == [
        f"Auto Scaling did not list groups, launch configurations in eu-west-1, us-east-1: AccessDenied: {TEXT}",
        f"EKS did not list node groups in eu-west-1, us-east-1: AccessDeniedException: {TEXT}",
    ]
    assert "launch template web (lt-web) version 3" in result.stdout


def test_launchers_are_listed_even_if_instances_cannot_be(command: Command, home: FakeEc2) -> None:
    """Their instances are not counted."""
    home.find_errors = dict.fromkeys(range(1, 9), UNAUTHORIZED)
    result = command("launches", "--regions", HOME, "--output", "json")
    assert result.exit_code == 1
    assert {each["instances"] for each in json.loads(result.stdout)["launchers"]} == {0}
    assert f"EC2 did not list instances in eu-west-1: {UNAUTHORIZED}" in result.stderr


def test_a_region_that_does_not_accept_the_credentials_is_asked_once(command: Command, home: FakeEc2) -> None:
    """It would refuse every other call too."""
    home.find_errors = dict.fromkeys(range(1, 9), NOT_HERE)
    result = command("launches")
    assert result.exit_code == 1
    assert f"EC2 did not list instances in eu-west-1: {NOT_HERE}" in result.stderr
    assert command.launches[HOME].requests == []


def test_what_the_organization_denies_is_no_failure(command: Command, home: FakeEc2) -> None:
    """The organization intends it; the command names it."""
    home.find_errors = dict.fromkeys(range(1, 9), DENIED_BY_SCP)
    result = command("launches")
    assert result.exit_code == 0
    assert "EC2 did not list instances in eu-west-1: UnauthorizedOperation" in result.stderr


def test_if_nothing_can_be_read_it_is_an_error(command: Command, home: FakeEc2, away: FakeEc2) -> None:
    """The error has the reasons."""
    calls = ("auto_scaling_groups", "launch_configurations", "launch_templates", "launch_template_versions")
    for region, ec2 in ((HOME, home), (AWAY, away)):
        ec2.find_errors = dict.fromkeys(range(1, 9), UNAUTHORIZED)
        refused = (*(f"describe_{each}" for each in calls), "get_instance_metadata_defaults", "list_clusters")
        command.launches[region].refused = dict.fromkeys(refused, "UnauthorizedOperation")
    said = command.refusal("launches")
    assert said.startswith("imds-enforcer: no region could be read; EC2 did not list instances, defaults, launch ")
    assert "in eu-west-1, us-east-1: UnauthorizedOperation" in said


def test_credentials_that_are_not_accepted(command: Command, home: FakeEc2, away: FakeEc2) -> None:
    """The error is one line, and the command lists nothing."""
    for ec2 in (home, away):
        ec2.find_errors = dict.fromkeys(range(1, 9), EXPIRED)
    assert command.refusal("launches") == f"imds-enforcer: {EXPIRED}"
    assert command.launches[HOME].requests == []


# Formats.


def test_the_document(command: Command) -> None:
    """It has the launchers, what could not be read, and counts."""
    command.launches[AWAY].refused = {"list_clusters": "AccessDeniedException"}
    document = command.json("launches", exit_code=1)
    assert document["at"] == "2026-11-22T12:00:00+00:00"
    assert document["regions"] == [HOME, AWAY]
    assert document["unread"] == [f"EKS did not list node groups in us-east-1: AccessDeniedException: {TEXT}"]
    assert document["summary"] == {"launchers": 14, "launch_imdsv1": {"yes": 9, "not known": 1, "no": 4}}


def test_launchers_as_csv(command: Command) -> None:
    """Each part of the owner has a column."""
    rows = list(csv.DictReader(io.StringIO(command("launches", "--output", "csv").stdout)))
    [row] = [row for row in rows if row["version"] == "3"]
    assert row == {
        "launcher": "launch template web (lt-web) version 3",
        "region": HOME,
        "kind": "launch_template",
        "id": "lt-web",
        "name": "web",
        "version": "3",
        "used_as": "$Latest",
        "arn": "",
        "instances": "0",
        "launches_imdsv1": "true",
        "why": (
            "launch template lt-web version 3 does not set HttpTokens, the region has no default; image ami-old does "
            "not require tokens"
        ),
        "exempt": "",
        "owner.kind": "cloudformation",
        "owner.name": "shop",
        "owner.part": "Template",
        "advice": "LaunchTemplateData.MetadataOptions.HttpTokens of Template in stack shop: required",
    }


def test_sarif(command: Command) -> None:
    """It follows the standard's schema; a known launcher of IMDSv1 is an error, an unknown one a warning."""
    command.launches[AWAY].refused = {"list_clusters": "AccessDeniedException"}
    log = json.loads(command("launches", "--output", "sarif").stdout)
    assert violations(log) == []
    [run] = log["runs"]
    [rule] = run["tool"]["driver"]["rules"]
    assert rule["id"] == "imds-launcher"
    assert not run["invocations"][0]["executionSuccessful"]
    assert [result["level"] for result in run["results"]] == ["error"] * 9 + ["warning"]
    paths = {each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for each in run["results"]}
    assert len(paths) == 10
    group = AUTO_SCALING.removeprefix("arn:").replace(":", "/") + "/autoScalingGroup/1/autoScalingGroupName/web"
    assert {group, "eu-west-1/launch_template/lt-web/1", "eu-west-1/region_defaults/eu-west-1"} <= paths
    messages = [each["message"]["text"] for each in run["results"]]
    assert messages[0] == (
        "Auto Scaling group web in eu-west-1 launches instances that allow IMDSv1: launch template lt-web version 1 "
        "sets HttpTokens optional. Change: MetadataOptions.HttpTokens of launch template lt-web version 1: required."
    )


def test_the_page(command: Command) -> None:
    """It lists findings and counts the other launchers; text from others is escaped."""
    command.launches[HOME].descriptions["lt-web"]["LaunchTemplateName"] = "<script>alert(1)</script>"
    command.launches[AWAY].refused = {"list_clusters": "AccessDeniedException"}
    page = command("launches", "--output", "html").stdout
    assert "Launch template &lt;script&gt;alert(1)&lt;/script&gt; (lt-web) version 1" in page
    assert "<script>alert" not in page
    assert page.count('<th scope="row">') == 10
    assert "Not listed: 4 launchers whose next instances will not allow IMDSv1." in page
    assert f"Not read in full: EKS did not list node groups in us-east-1: AccessDeniedException: {TEXT}" in page


def test_the_audit_has_the_same_section(command: Command) -> None:
    """Its document has the same launchers."""
    assert command.json("audit", exit_code=1)["launchers"] == command.json("launches")["launchers"]
    page = command("audit", "--output", "html").stdout
    assert '<h2 id="launchers">What will launch IMDSv1</h2>' in page
    assert '<th scope="row">Launch template web (lt-web) version 3' in page


def test_a_service_that_is_denied_is_a_note_of_the_audit(command: Command) -> None:
    """An audit is about instances, so it does not affect the exit code."""
    command.launches[HOME].refused = {"list_clusters": "AccessDeniedException"}
    document = command.json("audit", "--fail-on", "held")
    assert document["notes"] == [f"EKS did not list node groups in eu-west-1: AccessDeniedException: {TEXT}"]
