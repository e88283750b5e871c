"""The enforcer, its operators and others under the SCP of `imds-enforcer guardrails scp`."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.local import operator
from infra.local.client import LocalAws
from infra.local.deployment import HTTP_TOKENS
from tests.e2e.organization import attached, scp
from tests.e2e.stage import HOME, Stage
from tests.integration.local_resources import assumed, outcome, role

STRANGERS = "strangers"
EXEMPTING = {"exemptions": [{"match": {"tag": {"key": "imds", "value": "v1"}}, "reason": "legacy"}]}
REFUSED = "UnauthorizedOperation"
LAUNCH: dict[str, Any] = {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1}


class Person:
    """Someone with a role that allows everything that the SCP does not deny."""

    def __init__(self, aws: LocalAws, keys: Mapping[str, str]) -> None:
        self._aws = aws
        self._keys = keys

    def client(self, service: str) -> Any:
        """A client of a service, with this person's keys."""
        return self._aws.client(service, keys=self._keys)

    def run(self, *arguments: str, ends: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the command; it must end with this exit code."""
        keys = {name.upper(): value for name, value in self._keys.items()}
        done = operator.run(self._aws, *arguments, environment=self._aws.environment() | keys)
        assert done.returncode == ends, done.stderr
        return done


@pytest.fixture
def people(stage: Stage, operators: Mapping[str, str]) -> tuple[Person, Person]:
    """An operator, and a stranger."""
    return Person(stage.aws, operators), Person(stage.aws, _stranger(stage.aws))


@cache
def _stranger(aws: LocalAws) -> Mapping[str, str]:
    return assumed(aws, role(aws, STRANGERS, {"Action": "*", "Resource": "*"}))


@pytest.fixture
def bound(people: tuple[Person, Person], stage: Stage, tmp_path: Path) -> Iterator[tuple[Person, Person]]:
    """Both, and the enforcer, under the SCP of a policy with an exempting tag."""
    path = tmp_path / "exempting.json"
    path.write_text(json.dumps({"http_tokens": "required", **EXEMPTING}))
    with attached(stage, scp(stage, "--policy", str(path)), STRANGERS):
        yield people


@pytest.fixture
def ann(bound: tuple[Person, Person]) -> Person:
    """The operator."""
    return bound[0]


@pytest.fixture
def mallory(bound: tuple[Person, Person]) -> Person:
    """The stranger."""
    return bound[1]


def test_a_launch_is_enforced_and_an_operator_reverts_it(stage: Stage, ann: Person) -> None:
    """The SCP does not restrict a launch by a service, and denies no write of the enforcer or the operator."""
    [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    run_id = stage.wait_for_outcome(instance, "REMEDIATED")["run_id"]
    ann.run("revert", instance, "--run", run_id, "--yes")
    assert stage.options([instance])[instance]["HttpTokens"] == "optional"
    assert stage.invoke({})["outcomes"] == {"HELD": 1}
    ann.run("release", instance)
    assert stage.invoke({})["outcomes"] == {"REMEDIATED": 1}
    assert stage.log_lines(message="the lease could not be taken: this sweep begins without it") == []


def test_an_operator_sets_sweeps_and_writes_the_policy(stage: Stage, ann: Person, tmp_path: Path) -> None:
    """The SCP denies none of it."""
    with stage.unseen():
        here, there = stage.aws.launch(HOME, 2, HttpTokens="optional")
        ann.run("set", "--version-2-state", "required", "--instance-id", here)
        ann.run("enforce", "--yes", "--regions", HOME)
        assert {each["HttpTokens"] for each in stage.options([here, there]).values()} == {"required"}
    ann.client("ec2").create_tags(Resources=[here], Tags=[{"Key": "imds", "Value": "v1"}])
    path = tmp_path / "new.json"
    path.write_text(json.dumps({"mode": "audit"}))
    stored = json.loads(ann.run("policy", "set", str(path), "--yes", "--output", "json").stdout)
    assert stage.settle(policy=stored["version"])["mode"] == "audit"


def test_a_stranger_changes_nothing(stage: Stage, mallory: Person) -> None:
    """Neither an instance nor its tags, the toggle or a hold, whatever the stranger's role allows."""
    ec2, [instance] = mallory.client("ec2"), stage.aws.launch(HOME, HttpTokens="optional")
    stage.wait_for_outcome(instance, "REMEDIATED")
    tags = {"Resources": [instance], "Tags": [{"Key": "imds", "Value": "v1"}]}
    assert outcome(ec2.modify_instance_metadata_options, InstanceId=instance, HttpTokens="optional") == REFUSED
    assert outcome(ec2.modify_instance_metadata_defaults, HttpTokens="optional") == REFUSED
    assert outcome(ec2.create_tags, **tags) == outcome(ec2.delete_tags, **tags) == REFUSED
    toggle = mallory.client("ssm").put_parameter
    assert outcome(toggle, Name=HTTP_TOKENS, Value="optional", Overwrite=True) == "AccessDeniedException"
    hold = mallory.run("hold", instance, "--reason", "mine", ends=2)
    assert "dynamodb:BatchWriteItem" in hold.stderr
    assert stage.options([instance])[instance]["HttpTokens"] == "required"
    mallory.run("status")


def test_a_stranger_launches_with_required_tokens_only(stage: Stage, mallory: Person) -> None:
    """Directly or with a template; the enforcer need not change the launched instance."""
    ec2 = mallory.client("ec2")
    for tokens in ("optional", "required"):
        data = {"ImageId": "ami-1", "MetadataOptions": {"HttpTokens": tokens}}
        ec2.create_launch_template(LaunchTemplateName=f"guarded-{tokens}", LaunchTemplateData=data)
    assert outcome(ec2.run_instances, **LAUNCH) == REFUSED
    assert outcome(ec2.run_instances, **LAUNCH, MetadataOptions={"HttpTokens": "optional"}) == REFUSED
    assert outcome(ec2.run_instances, **LAUNCH, LaunchTemplate={"LaunchTemplateName": "guarded-optional"}) == REFUSED
    template = {"LaunchTemplateName": "guarded-required"}
    launched = ec2.run_instances(**LAUNCH, LaunchTemplate=template)["Instances"][0]["InstanceId"]
    assert stage.wait_for_outcome(launched, "COMPLIANT")
    assert stage.writes() == 0
