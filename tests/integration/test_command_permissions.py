"""The help of each command names exactly the IAM actions that it may need.

With IAM enforced, each command goes through every branch that calls AWS, with exactly the permissions that its help
names. The test then compares its calls with the help.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.loaders
import pytest
from botocore.loaders import Loader
from typer.testing import CliRunner

from imds_enforcer.aws.dynamodb import Table
from imds_enforcer.aws.ledger_table import LedgerTable
from imds_enforcer.ledger.defaults import DefaultsEntry
from imds_enforcer.model import HttpTokens, Outcome, SystemClock
from imds_enforcer.model.region_defaults import RegionDefaults
from imds_enforcer.policy import PolicyVersions
from imds_enforcer_cli.account.connection import HTTP_TOKENS_PARAMETER, POLICY_PARAMETER, STACK
from imds_enforcer_cli.main import app
from infra.local.client import LocalAws
from infra.local.imds import LocalImds
from infra.local.ledger_table import create_ledger_table
from infra.local.waiting import until
from tests.fakes.command_tree import commands
from tests.integration.local_resources import Queue, assumed, function, role

AWAY = "us-east-1"
TABLE, FUNCTION = "ledger", "enforcer"
LOG_GROUP = f"/aws/lambda/{FUNCTION}"
EVERYWHERE = {"--profile", "--region", "--output"}
"""The options of every command; a walk need not use them."""

WITHOUT_AWS = {"policy check", "policy schema"}

ACTION = re.compile(r"\b[a-z0-9]+:[A-Z][A-Za-z]+")

NOT_CALLED = {
    "redrive": {
        # A caller of StartMessageMoveTask needs what the move does, and the queues' key (SQS Developer Guide,
        # "Configuring queue permissions for dead-letter queue redrive").
        *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:SendMessage", "kms:Decrypt", "kms:GenerateDataKey")
    }
}
"""Actions that a command needs without calling them itself."""

SWEEP = """
    import json
    def handler(event, context):
        report = {"run_id": context.aws_request_id, "trigger": "manual", "mode": "enforce", "http_tokens": "required"}
        report |= {"policy_versions": {"http_tokens": 1, "policy": 1}, "seconds": 1.0, "instances": 0}
        report |= {"compliant_instances": 0, "outcomes": {}, "regions": {}}
        print(json.dumps({"message": "run finished", "report": report}))
"""
"""The deployed function, as a command sees it: it logs a report."""


OPTIONS = {
    name: {option for each in command.params for option in each.opts if option.startswith("--")}
    for name, command in commands().items()
    if name not in WITHOUT_AWS
}
"""The options of each command that calls AWS."""


class Account:
    """An account with the parts of the enforcer's stack that a command uses, and an instance in each of two regions.

    The command `name` runs with the permissions that its help names, any other command as root. `used` has the options
    of its runs, `denied` the actions that the organization denies.
    """

    def __init__(self, aws: LocalAws, name: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.aws = aws
        self.name = name
        self.used: set[str] = set()
        self.denied: set[str] = set()
        self._monkeypatch = monkeypatch
        self._folder = folder
        self._as_root = aws.environment()
        for policy_field, value in ((HTTP_TOKENS_PARAMETER, "required"), (POLICY_PARAMETER, "{}")):
            aws.client("ssm").put_parameter(Name=policy_field, Value=value, Type="String")
        self.lost = Queue(aws, "lost")
        redrive = json.dumps({"deadLetterTargetArn": self.lost.arn, "maxReceiveCount": 1})
        self._deploy(Queue(aws, "events", RedrivePolicy=redrive))
        aws.knobs(attached_seconds=24 * 3600)  # the gate applies to existing instances only
        [self.here], [self.away] = aws.launch(HttpTokens="optional"), aws.launch(AWAY, HttpTokens="optional")
        words = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "500"}).stdout
        self.named = set(ACTION.findall(words))
        keys = assumed(aws, role(aws, "operator", *self._statements(words)))
        self._as_operator = self._as_root | {key.upper(): value for key, value in keys.items()}
        aws.enforce_iam()
        aws.reset_calls()

    def _deploy(self, events: Queue) -> None:
        aws = self.aws
        create_ledger_table(aws, TABLE)
        function(aws, FUNCTION, SWEEP)
        aws.client("logs").create_log_group(logGroupName=LOG_GROUP)
        outputs = {
            "FunctionName": FUNCTION,
            "EventQueueUrl": events.url,
            "DeadLetterQueueUrl": self.lost.url,
            "NotificationTopicArn": aws.client("sns").create_topic(Name="topic")["TopicArn"],
            "LogGroupName": LOG_GROUP,
            "LedgerTableName": TABLE,
            "Version": "1",
        }
        template = {
            "Resources": {"Nothing": {"Type": "AWS::CloudFormation::WaitConditionHandle"}},
            "Outputs": {name: {"Value": value} for name, value in outputs.items()},
        }
        aws.client("cloudformation").create_stack(StackName=STACK, TemplateBody=json.dumps(template))

    def _statements(self, words: str) -> Iterator[dict[str, Any]]:
        """Permissions for the table exclude its indexes, unless the help names them."""
        table = f"arn:aws:dynamodb:{self.aws.region}:{self.aws.account}:table/{TABLE}"
        resources = {
            "dynamodb:Query": [table],
            "dynamodb:Scan": [f"{table}/index/*"],
            "dynamodb:BatchWriteItem": [table],
        }
        if "dynamodb:Query on the ledger's table and its indexes" in words:
            resources["dynamodb:Query"].append(f"{table}/index/*")
        for action in self.named:
            yield {"Action": action, "Resource": resources.get(action, "*")}

    def __call__(self, *arguments: str, environment: dict[str, str] | None = None, exit_code: int = 0) -> Any:
        """Run the command; returns its output."""
        self.used |= {each for each in arguments if each.startswith("--")}
        return self._run(self.name, arguments, environment or self._as_operator, exit_code)

    def as_root(self, name: str, *arguments: str) -> Any:
        """Run another command as root."""
        return self._run(name, arguments, self._as_root, 0)

    def _run(self, name: str, arguments: tuple[str, ...], environment: dict[str, str], exit_code: int) -> Any:
        with self._monkeypatch.context() as patch:
            for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
                patch.delenv(variable, raising=False)
            patch.delenv("AWS_DEFAULT_REGION", raising=False)
            for variable, value in environment.items():
                patch.setenv(variable, value)
            result = CliRunner().invoke(app, [*name.split(), *arguments], catch_exceptions=False)
        assert result.exit_code == exit_code, result.output
        return result.stdout

    def policy(self, document: dict[str, Any]) -> str:
        """A file with a policy."""
        path = self._folder / f"policy-{len(list(self._folder.iterdir()))}.json"
        path.write_text(json.dumps(document))
        return str(path)

    def on_the_instance(self) -> LocalImds:
        """The metadata service of the instance at home, with the operator's role."""
        return LocalImds(self.aws, self.here, role="operator")

    def undeploy(self) -> None:
        """Remove the stack."""
        self.aws.client("cloudformation").delete_stack(StackName=STACK)


def _set(account: Account) -> None:
    state = ("--version-2-state", "required")
    account(*state, "--dry-run", "--instance-id", account.here)
    account(*state, "--http-put-response-hop-limit", "2", "--instance-id", account.here, account.away)
    with account.on_the_instance() as imds:
        account("--version-2-state", "optional", "--no-policy", environment=imds.environment())
    account.undeploy()
    account(*state, "--instance-id", account.here)


def _verify(account: Account) -> None:
    account("--instance-id", account.here, account.away, exit_code=1)
    with account.on_the_instance() as imds:
        account("--version-2-state", "optional", "--probe", environment=imds.environment())


def _launch(account: Account) -> tuple[str, str]:
    """Make a launcher of each kind; returns the option for the regions."""
    aws = account.aws
    aws.client("autoscaling").create_launch_configuration(
        LaunchConfigurationName="old", ImageId="ami-1", InstanceType="t3.micro"
    )
    group = {"MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["eu-west-1a"]}
    aws.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="batch", LaunchConfigurationName="old", **group
    )
    aws.launch(auto_scaling_group="batch", HttpTokens="optional")
    template = aws.client("ec2").create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": "a"})
    launch = {"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"]}
    aws.client("ec2").run_instances(LaunchTemplate=launch, MinCount=1, MaxCount=1)
    eks, used = aws.client("eks"), role(aws, "eks")
    eks.create_cluster(name="main", roleArn=used, resourcesVpcConfig={})
    until(lambda: eks.describe_cluster(name="main")["cluster"]["status"] == "ACTIVE")
    eks.create_nodegroup(clusterName="main", nodegroupName="blue", subnets=[], nodeRole=used)
    return "--regions", f"{aws.region},{AWAY}"


def _audit(account: Account) -> None:
    regions = _launch(account)
    account(*regions, "--group-by", "source", "--all", "--lookback-days", "7", exit_code=1)
    gated = account.policy({"http_tokens": "required", "legacy_calls": {}})
    account(*regions, "--policy", gated, "--fail-on", "held")
    account(*regions, "--no-calls", exit_code=1)
    account(*regions, "--instance", account.here, "--policy", gated, "--fail-on", "held")


def _launches(account: Account) -> None:
    account(*_launch(account))
    policy = account.policy({"http_tokens": "required"})
    account("--regions", AWAY, "--fail-on", "launches-imdsv1", "--policy", policy, exit_code=1)


def _launches_fix(account: Account) -> None:
    """First a template whose source has a warning, which a copy shows; then the rest of an interrupted fix."""
    regions = _launch(account)
    account("web", *regions, "--dry-run")
    gated = account.policy({"http_tokens": "required", "legacy_calls": {}})
    record = ("--record", account.policy({}))
    account("web", *regions, "--policy", gated, "--despite-calls", "web", "--yes", *record)
    ec2, data = account.aws.client("ec2"), {"ImageId": "a"}
    [web] = ec2.describe_launch_templates(LaunchTemplateNames=["web"])["LaunchTemplates"]
    template = {"LaunchTemplateId": web["LaunchTemplateId"]}
    made = ec2.create_launch_template_version(**template, LaunchTemplateData=data)
    source = str(made["LaunchTemplateVersion"]["VersionNumber"])
    ec2.modify_launch_template(**template, DefaultVersion=source)
    mark = f"imds-enforcer launches fix: fix of version {source}, run interrupted"
    ec2.create_launch_template_version(**template, LaunchTemplateData=data, VersionDescription=mark)
    account("--all", *regions, "--include-managed-by", "cloudformation", "--yes", exit_code=1)


def _launches_undo(account: Account) -> None:
    _launch(account)
    account.as_root("launches fix", "web", "--regions", account.aws.region, "--yes")
    account("web", "--dry-run")
    account("web", "--yes", "--record", account.policy({}), exit_code=2)
    account("web", "--yes")


def _enforce(account: Account) -> None:
    regions = ("--regions", f"{account.aws.region},{AWAY}")
    account(*regions, "--dry-run")
    gated = account.policy({"http_tokens": "required", "legacy_calls": {}})
    account("--regions", account.aws.region, "--policy", gated, "--yes")
    account(*regions, "--yes")
    account(*regions, "--policy", account.policy({"http_tokens": "optional"}), "--yes")
    account.undeploy()
    account(*regions, "--yes")


def _policy_show(account: Account) -> None:
    account()


def _policy_set(account: Account) -> None:
    _launch(account)
    account(account.policy({"mode": "audit", "account_defaults": {}, "legacy_calls": {}}), "--yes")


def _toggle(account: Account) -> None:
    account("optional", "--yes")


def _status(account: Account) -> None:
    cloudwatch = account.aws.client("cloudwatch")
    cloudwatch.put_metric_data(Namespace="ImdsEnforcer", MetricData=[{"MetricName": "SweepCompleted", "Value": 1}])
    account.as_root("sweep")
    account()


def _sweep(account: Account) -> None:
    account("--no-wait")
    account()


def _redrive(account: Account) -> None:
    account()
    account.lost.send("poison")
    account()


def _history(account: Account) -> None:
    account.as_root("set", "--version-2-state", "required", "--instance-id", account.here)
    [entry] = json.loads(account("--output", "json"))
    account(account.here)
    account("--run", entry["run_id"], "--since", "1")


def _revert(account: Account) -> None:
    for state in ("required", "optional"):
        account.as_root("set", "--version-2-state", state, "--instance-id", account.here)
    *_, entry = json.loads(account.as_root("history", "--output", "json"))
    account("--run", entry["run_id"], "--dry-run", "--overwrite-later-changes")
    account(account.here, account.away, "--yes", "--until", "2100-01-01", "--reason", "vendor agent")
    _deny_the_list_of_regions(account)
    account(account.away, "--yes")
    _defaults_set(account)
    account("--defaults", account.aws.region, "--yes")


def _defaults_set(account: Account) -> None:
    """Set account defaults as a sweep of the function does."""
    aws, now = account.aws, datetime.now(UTC)
    aws.client("ec2").modify_instance_metadata_defaults(HttpTokens="required")
    table = Table(lambda: aws.client("dynamodb"), TABLE, SystemClock())
    required = RegionDefaults(http_tokens=HttpTokens.REQUIRED)
    entry = DefaultsEntry(
        region=aws.region,
        at=now,
        run_id="run-1",
        trigger="schedule",
        versions=PolicyVersions(),
        before=RegionDefaults(),
        wanted=required,
        ends_at=now,
        outcome=Outcome.REMEDIATED,
        after=required,
    )
    LedgerTable(table, SystemClock()).defaults.write(entry)


def _hold(account: Account) -> None:
    account(account.here, account.away, "--until", "2100-01-01", "--reason", "vendor agent")
    _deny_the_list_of_regions(account)
    account(account.away, "--reason", "vendor agent")


def _deny_the_list_of_regions(account: Account) -> None:
    """The command then takes the regions from the policy."""
    regions = {"regions": {"include": [account.aws.region, AWAY]}}
    account.aws.client("ssm").put_parameter(Name=POLICY_PARAMETER, Value=json.dumps(regions), Overwrite=True)
    account.denied.add("ec2:DescribeRegions")
    account.aws.deny("ec2:DescribeRegions")


def _release(account: Account) -> None:
    account.as_root("hold", account.here, "--reason", "vendor agent")
    account(account.here)
    account("--defaults", account.aws.region)


def _guardrails_scp(account: Account) -> None:
    operators = ("--operator-role", "arn:aws:iam::*:role/operators")
    account(*operators, "--deploy-role", "arn:aws:iam::*:role/deployers", "--role-delivery")
    named = ("--enforcer-role", "arn:aws:iam::111122223333:role/imds-enforcer")
    account(*operators, *named, "--policy", account.policy({"http_tokens": "required"}))


WALKS: dict[str, Callable[[Account], None]] = {
    "set": _set,
    "verify": _verify,
    "audit": _audit,
    "launches": _launches,
    "launches fix": _launches_fix,
    "launches undo": _launches_undo,
    "enforce": _enforce,
    "policy show": _policy_show,
    "policy set": _policy_set,
    "toggle": _toggle,
    "status": _status,
    "sweep": _sweep,
    "redrive": _redrive,
    "history": _history,
    "revert": _revert,
    "hold": _hold,
    "release": _release,
    "guardrails scp": _guardrails_scp,
}


@pytest.fixture(scope="module")
def models() -> Loader:
    """Keep the services' models, which each command would read again: half a second for EC2's."""
    return Loader()


@pytest.mark.parametrize("name", OPTIONS)
def test_the_help_names_exactly_the_actions_that_a_command_needs(
    aws: LocalAws, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models: Loader
) -> None:
    """The walk uses every option, no call is refused, and the command calls each action that its help names."""
    monkeypatch.setattr(botocore.loaders, "create_loader", lambda *_: models)
    account = Account(aws, name, monkeypatch, tmp_path)
    WALKS[name](account)
    assert account.used >= OPTIONS[name] - EVERYWHERE
    rows = [row for row in aws.call_rows() if row["caller"] == "role/operator"]
    refused = {row["action"] for row in rows if "Denied" in row["error"] or "Unauthorized" in row["error"]}
    assert refused == account.denied
    called = {row["action"] for row in rows}
    assert called | NOT_CALLED.get(name, set()) == account.named
