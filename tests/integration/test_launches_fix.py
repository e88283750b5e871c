"""`imds-enforcer launches fix` and `undo` on groups that launch: the next instance proves the outcome."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.local import operator
from infra.local.client import LocalAws
from infra.local.waiting import until

SIZES = {"MinSize": 0, "MaxSize": 9, "AvailabilityZones": ["eu-west-1a"]}
DEVICES = [
    {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0123456789abcdef0", "VolumeSize": 8}},
    {"DeviceName": "/dev/sdb", "NoDevice": ""},
]
LAX: dict[str, Any] = {
    "ImageId": "ami-0abcdef1234567890",
    "InstanceType": "t3.micro",
    "UserData": "IyEvYmluL3No",
    "BlockDeviceMappings": DEVICES,
    "MetadataOptions": {"HttpTokens": "optional", "HttpPutResponseHopLimit": 3, "InstanceMetadataTags": "enabled"},
    "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "web"}]}],
}
FIXED = {**LAX, "MetadataOptions": {**LAX["MetadataOptions"], "HttpTokens": "required"}}


class Account:
    """An account without the enforcer, with a policy in a file and two templates, each with groups that launch.

    `record` is the file with the record of fixes.
    """

    def __init__(self, aws: LocalAws, folder: Path) -> None:
        self.aws, self.ec2, self.groups = aws, aws.client("ec2"), aws.client("autoscaling")
        self.record, self._policy = folder / "record.jsonl", folder / "policy.json"
        self._policy.write_text('{"http_tokens": "required"}')
        self.templates = {name: self._template(name) for name in ("web", "jobs")}
        for name, template in self.templates.items():
            for version in ("$Default", "$Latest"):
                self.group(f"{name} {version}", template, version)

    def _template(self, name: str) -> str:
        made = self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=LAX)
        return str(made["LaunchTemplate"]["LaunchTemplateId"])

    def group(self, name: str, template: str, version: str) -> None:
        """A group that launches with a version of a template."""
        used = {"LaunchTemplateId": template, "Version": version}
        self.groups.create_auto_scaling_group(AutoScalingGroupName=name, **SIZES, LaunchTemplate=used)

    def fixing(self, *arguments: str) -> list[str]:
        """The arguments of a fix."""
        where = ("--regions", self.aws.region, "--policy", str(self._policy), "--record", str(self.record))
        return ["launches", "fix", *arguments, "--yes", *where]

    def fix(self, *arguments: str) -> dict[str, str]:
        """Fix; returns the outcome of each template."""
        done = operator.run(self.aws, *self.fixing(*arguments), "--output", "json")
        return {each["name"]: each["outcome"] for each in json.loads(done.stdout)["launchers"]}

    def undo(self, what: str) -> list[str]:
        """Undo; returns the outcomes."""
        done = operator.run(
            self.aws, "launches", "undo", what, "--yes", "--record", str(self.record), "--output", "json"
        )
        return [each["outcome"] for each in json.loads(done.stdout)]

    def next_tokens(self, name: str) -> set[str]:
        """HttpTokens of the next instance of each of the template's groups."""
        return {self._grown(f"{name} {version}")["HttpTokens"] for version in ("$Default", "$Latest")}

    def _grown(self, name: str) -> Mapping[str, Any]:
        before = self._members(name)
        self.groups.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=len(before) + 1)
        [new] = self._members(name) - before
        return self.aws.metadata_options(new)

    def _members(self, name: str) -> set[str]:
        [group] = self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return {each["InstanceId"] for each in group["Instances"]}

    def versions(self, name: str) -> tuple[int, dict[int, Any]]:
        """The default of a template, and its versions without the State of their options."""
        found = self.ec2.describe_launch_template_versions(LaunchTemplateId=self.templates[name])
        data = {each["VersionNumber"]: each["LaunchTemplateData"] for each in found["LaunchTemplateVersions"]}
        for each in data.values():
            each["MetadataOptions"].pop("State")
        [default] = [each["VersionNumber"] for each in found["LaunchTemplateVersions"] if each["DefaultVersion"]]
        return default, data


@pytest.fixture
def account(aws: LocalAws, tmp_path: Path) -> Account:
    """A new account."""
    return Account(aws, tmp_path)


def test_the_next_launches_prove_fix_and_undo(account: Account) -> None:
    """Instances of the fixed template require tokens, those of the other do not; the undo allows IMDSv1 again."""
    assert account.next_tokens("web") == {"optional"}
    assert account.fix("web") == {"web": "FIXED"}
    assert account.versions("web") == (2, {1: LAX, 2: FIXED})
    assert account.next_tokens("web") == {"required"}
    assert account.next_tokens("jobs") == {"optional"}
    assert account.fix("--all") == {"web": "COMPLIANT", "jobs": "FIXED"}
    assert account.undo("web") == ["UNDONE"]
    assert account.versions("web") == (1, {1: LAX})
    assert account.next_tokens("web") == {"optional"}


@pytest.mark.parametrize("knob", ["merge_template_options", "template_warnings", "template_fields_lost"])
def test_a_new_version_stays_only_if_nothing_else_differs(account: Account, knob: str) -> None:
    """EC2 may merge options, repeat the source's warnings, or lose fields; a version that differs is removed."""
    values: dict[str, object] = {"merge_template_options": True, "template_warnings": ["InvalidSubnet"]}
    account.aws.knobs(**{knob: values.get(knob, ["UserData"])})
    lost = knob == "template_fields_lost"
    assert account.fix("web") == {"web": "FAILED" if lost else "FIXED"}
    assert account.versions("web") == ((1, {1: LAX}) if lost else (2, {1: LAX, 2: FIXED}))


CREATE, READ, MOVE = (
    f"ec2:{verb}LaunchTemplate{rest}"
    for verb, rest in (("Create", "Version"), ("Describe", "Versions"), ("Modify", ""))
)


@pytest.mark.parametrize(
    ("hangs", "first", "done", "times", "then"),
    [
        (CREATE, 1, READ, 2, "fix"),
        (READ, 3, CREATE, 1, "fix"),
        (MOVE, 1, READ, 3, "fix"),
        (MOVE, 1, READ, 3, "undo"),
    ],
)
def test_a_killed_fix_is_continued_or_undone(
    account: Account, hangs: str, first: int, done: str, times: int, then: str
) -> None:
    """The process is killed while it waits for the new version, its read-back, or the new default."""
    account.aws.fail(hangs, kind="hang", first=first)
    arguments = [str(operator.COMMAND), *account.fixing("web")]
    with subprocess.Popen(arguments, env=account.aws.environment(), stderr=subprocess.DEVNULL) as process:  # noqa: S603  # our own command
        until(lambda: account.aws.calls(done) >= times and account.record.exists())
        process.kill()
    account.aws.clear_faults()
    if then == "fix":
        assert account.fix("web") == {"web": "FIXED"}
        default, versions = account.versions("web")
        assert versions == {1: LAX, default: FIXED}
    assert account.undo("web") == ["UNDONE"]
    assert account.versions("web") == (1, {1: LAX})


def test_a_version_that_a_fleet_names_is_never_deleted(account: Account) -> None:
    """The undo restores the default, and keeps the version until no fleet names it."""
    assert account.fix("web") == {"web": "FIXED"}
    used = {"LaunchTemplateId": account.templates["web"], "Version": "2"}
    account.ec2.create_fleet(
        Type="maintain",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": used}],
        TargetCapacitySpecification={"TotalTargetCapacity": 0, "DefaultTargetCapacityType": "on-demand"},
    )
    assert account.undo("web") == ["LEFT"]
    assert account.versions("web") == (1, {1: LAX, 2: FIXED})


def test_a_default_that_is_not_the_latest_is_left(account: Account) -> None:
    """Nothing changes, and the exit code shows that something is left to do."""
    account.ec2.create_launch_template_version(LaunchTemplateId=account.templates["web"], LaunchTemplateData=LAX)
    before = account.versions("web")
    done = operator.run(account.aws, *account.fixing("web"))
    assert done.returncode == 1
    assert "aws ec2 create-launch-template-version" in done.stderr
    assert "snap-0123456789abcdef0" in done.stderr
    assert account.versions("web") == before
