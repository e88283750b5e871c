import json
import subprocess
import sys
import tomllib
from pathlib import Path

from aws_cdk.cx_api import CloudAssembly

from imds_enforcer_cli import VERSION
from infra import state
from tests.infra.synthesized import Stack

ROOT = Path(__file__).parents[2]

LOG = "/imds-enforcer/function"
ACKNOWLEDGED = {
    ("AwsSolutions-IAM5[Resource::*]", "ImdsEnforcer/Enforcer/Role"),
    (
        "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:ec2:*:<AWS::AccountId>:instance/*]",
        "ImdsEnforcer/Enforcer/Role",
    ),
    (
        f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group:{LOG}:*]",
        "ImdsEnforcer/Enforcer/Role",
    ),
    ("AwsSolutions-L1", "ImdsEnforcer/Enforcer/Function"),
    ("AwsSolutions-SQS3", "ImdsEnforcer/LostInvocations/DeadLetters"),
}


def test_cdk_nag_finds_nothing_but_what_was_acknowledged(assembly: CloudAssembly) -> None:
    """Each acknowledgement is on one resource, and gives its reason."""
    report = json.loads((Path(assembly.directory) / "validation-report.json").read_text())
    (nag,) = (plugin for plugin in report["pluginReports"] if plugin["pluginName"] == "AwsSolutions")
    assert nag["conclusion"] == "success"
    assert nag["violations"] == []
    suppressed = nag["suppressedViolations"]
    assert {(finding["ruleName"], finding["acknowledgedAt"]) for finding in suppressed} == ACKNOWLEDGED
    assert all(len(finding["violatingConstructs"]) == 1 and finding["reason"] for finding in suppressed)


def test_cfn_lint_finds_nothing(templates: list[Path], tmp_path: Path) -> None:
    """No errors and no warnings, with nothing ignored; the state stack, which is not the CDK's, included."""
    kept = tmp_path / "state.template.json"
    kept.write_text(json.dumps(state.template()))
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--", *map(str, templates), str(kept)]
    lint = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert (lint.returncode, lint.stdout) == (0, "")


def test_no_arn_names_a_partition(home: Stack, forwarder: Stack) -> None:
    """The same templates serve China and GovCloud."""
    assert "arn:aws" not in json.dumps([home.resources, forwarder.resources])


def test_outputs_have_their_agreed_names(home: Stack) -> None:
    """Tools and tests find the stack's resources by them."""
    assert home.outputs() == {
        "FunctionName": "${EnforcerFunction}",
        "EventQueueUrl": "${EventsQueue}",
        "DeadLetterQueueUrl": "${EventsDeadLetters}",
        "LostInvocationsQueueUrl": "${LostInvocationsDeadLetters}",
        "NotificationTopicArn": "${NotificationsTopic}",
        "LogGroupName": LOG,
        "LedgerTableName": "imds-enforcer-ledger",
        "Version": VERSION,
    }


def test_the_command_and_the_stack_have_the_projects_version() -> None:
    """The stack's output says which version was deployed."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
