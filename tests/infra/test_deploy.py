import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from imds_enforcer.policy import PolicyVersions
from imds_enforcer.policy.parser import PolicyInvalidError, parse_policy
from infra import bootstrap, deploy, state, state_stack
from infra.account import Account
from infra.arguments import ROOT, Arguments, DeployError
from infra.local.client import LocalAws
from tests.infra.conftest import lead_to
from tests.infra.synthesized import FORWARDED, Stack


def script(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the script on a machine without Node.js and without a terminal."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "infra.deploy", *arguments],
        cwd=ROOT,
        # `make test` sets the variable to nothing.
        env={**environment, "BOOTSTRAP": environment.get("BOOTSTRAP") or "yes", "PATH": "/nonexistent"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def run(*arguments: str, environment: Mapping[str, str]) -> str:
    """The script's output; it must succeed."""
    done = script(*arguments, environment=environment)
    assert done.returncode == 0, done.stdout
    return done.stdout


def refusal(*arguments: str, environment: Mapping[str, str]) -> str:
    """The script's output; it must refuse."""
    done = script(*arguments, environment=environment)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


@pytest.fixture
def _no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any AWS settings; boto3's default session with other credentials must not matter."""
    earlier = boto3.Session(aws_access_key_id="AKIAEARLIER", aws_secret_access_key="earlier")  # noqa: S106  # no secret
    monkeypatch.setattr("boto3.DEFAULT_SESSION", earlier)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.mark.usefixtures("_no_aws")
class TestRefusals:
    """Refusals before anything is started."""

    @pytest.mark.parametrize("command", ["deploy", "destroy", "destroy-state"])
    def test_no_region(self, command: str) -> None:
        """The script does not guess where the stacks should go."""
        with pytest.raises(DeployError, match="no region: set AWS_REGION"):
            deploy.main([command])

    def test_no_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message names the credentials that were tried."""
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        with pytest.raises(DeployError, match="using the default credentials: Unable to locate credentials"):
            deploy.main([])

    @pytest.mark.parametrize("command", ["deploy", "destroy", "destroy-state"])
    def test_a_first_value_that_is_not_allowed(self, command: str) -> None:
        """Before the first call to AWS."""
        with pytest.raises(DeployError, match=r"context 'mode': received 'adit'; allowed: enforce \| audit"):
            deploy.main([command, "-c", "mode=adit"])


def test_templates_need_neither_an_account_nor_node(tmp_path: Path) -> None:
    """`make synth` on a machine with Python alone."""
    bare = {"HOME": str(Path.home()), "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "eu-west-1"}
    run("synth", "-c", "regions=us-east-1", f"--output={tmp_path}", environment=bare)
    assert {path.name for path in tmp_path.glob("*.template.json")} == {
        "ImdsEnforcer.template.json",
        "ImdsEnforcerState.template.json",
        "ImdsEnforcerForwarder-us-east-1.template.json",
    }


def test_the_required_bootstrap_is_the_templates(home: Stack) -> None:
    """An older bootstrap is updated first, instead of failing the deployment."""
    rule = home.template["Rules"]["CheckBootstrapVersion"]["Assertions"][0]["Assert"]
    refused = rule["Fn::Not"][0]["Fn::Contains"][0]
    assert refused == [str(version) for version in range(1, bootstrap.MINIMUM_VERSION)]


STATE = "ImdsEnforcerState"
HAND_SET = {"/imds-enforcer/http-tokens": "optional", "/imds-enforcer/policy": '{"http_put_response_hop_limit": 2}'}


@pytest.fixture
def account(local_aws: LocalAws) -> LocalAws:
    """An account with its first deployment, and both parameters changed by hand since."""
    aws = local_aws.in_account("310987654321")
    first = ("-c", "mode=audit", "-c", 'tags={"team": "context", "cost": "1"}', "--tags", "team=a")
    run("-c", f"regions={FORWARDED}", *first, environment=aws.environment())
    assert parameters(aws) == {"/imds-enforcer/http-tokens": "required", "/imds-enforcer/policy": '{"mode": "audit"}'}
    for name, value in HAND_SET.items():
        aws.client("ssm").put_parameter(Name=name, Value=value, Overwrite=True)
    return aws


def test_the_life_of_a_deployment(account: LocalAws, tmp_path: Path) -> None:
    """The real CLI deploys, deploys again, and destroys.

    Only the home region is bootstrapped; forwarders need no bootstrap. Values set by hand stay, whatever the second
    deployment is given on the command line, in the environment and in the user's configuration. `destroy` leaves the
    state, which `destroy-state` removes. The bootstrap stays: other apps may use it.
    """
    assert stacks(account) == {"CDKToolkit", "ImdsEnforcer", "ImdsEnforcerState"}
    assert stacks(account, FORWARDED) == {f"ImdsEnforcerForwarder-{FORWARDED}"}
    before = state_events(account)

    (tmp_path / ".cdk.json").write_text(json.dumps({"tags": [{"Key": "user", "Value": "b"}]}))
    environment = {**account.environment(), "HOME": str(tmp_path), "CDK_TAGS": "variable=c", "CDK_REVERT_DRIFT": "true"}
    changed = ("-c", "schedule=rate(1 hour)", "-c", 'tags={"team": "b", "new": "x"}')
    output = run("deploy", *changed, "--revert-drift", "--parameters", "FirstPolicy={}", environment=environment)
    assert "(no changes)" not in output
    assert parameters(account) == HAND_SET
    assert state_events(account) == before
    assert tags(account, "ImdsEnforcerState") == {"team": "a", "cost": "1"}
    assert tags(account, "ImdsEnforcer") == {"variable": "c"}

    output = run("destroy", "-c", f"regions={FORWARDED}", environment=account.environment())
    assert "Kept in eu-central-1, in the stack ImdsEnforcerState: /imds-enforcer/http-tokens, " in output
    assert stacks(account) == {"CDKToolkit", "ImdsEnforcerState"}
    assert stacks(account, FORWARDED) == set()
    assert parameters(account) == HAND_SET

    assert "Nothing was deleted: without a terminal, set CONFIRM=ImdsEnforcerState" in refusal(
        "destroy-state", environment=account.environment()
    )
    run("destroy-state", environment={**account.environment(), "CONFIRM": "ImdsEnforcerState"})
    assert stacks(account) == {"CDKToolkit"}
    assert parameters(account) == {}


def test_a_deployment_that_rolls_back_has_changed_nothing(local_aws: LocalAws) -> None:
    """Rules and the sweep's schedule come last; the next deployment uses the state that the first one created.

    The remains of the failed stack do not block it, though they are protected: the CLI protects a stack first.
    """
    aws = local_aws.in_account("311987654321")
    [instance] = aws.launch(count=1, HttpTokens="optional")
    events = aws.client("events")
    events.put_rule(Name="imds-enforcer-launched", EventPattern='{"source": ["x"]}')
    aws.reset_calls()
    protected = ("-c", "termination_protection=true")
    assert "imds-enforcer-launched already exists" in refusal(*protected, environment=aws.environment())
    described = aws.client("cloudformation").describe_stacks(StackName="ImdsEnforcer")["Stacks"][0]
    assert (described["StackStatus"], described["EnableTerminationProtection"]) == ("ROLLBACK_COMPLETE", True)
    assert aws.metadata_options(instance)["HttpTokens"] == "optional"
    assert aws.calls("ec2:ModifyInstanceMetadataOptions") == 0
    assert aws.client("scheduler").list_schedules()["Schedules"] == []

    events.delete_rule(Name="imds-enforcer-launched")
    run(*protected, environment=aws.environment())
    names = {each["Name"] for each in aws.client("scheduler").list_schedules()["Schedules"]}
    assert names == {"imds-enforcer-sweep", "imds-enforcer-inventory"}


LEDGER = "policy has the removed field ledger: a change that cannot be recorded always waits; remove it"
REVERT = (
    "watch has the removed field revert: the watch only reports, and its mail has the command that reverts; remove it"
)
DENIED = "AccessDeniedException"


class TestRemovedFields:
    """The stored policy is checked before anything changes."""

    @pytest.fixture
    def kept(self, local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
        """An account, which the environment points to, with only the state of an earlier deployment."""
        aws = lead_to(local_aws.in_account("320987654321"), monkeypatch)
        here = Account.of(Arguments())
        state_stack.deploy(here, state.first_values(http_tokens="required", mode="enforce"), {})
        yield aws
        aws.clear_faults()
        state_stack.remove(here)

    @pytest.mark.parametrize(
        ("policy", "problems"),
        [
            ({"ledger": "required"}, [LEDGER]),
            ({"mode": "audit", "watch": {"hours": 12, "revert": False}}, [REVERT]),
            ({"ledger": None, "watch": {"revert": True}}, [LEDGER, REVERT]),
        ],
    )
    def test_they_are_named_and_nothing_is_deployed(
        self, kept: LocalAws, cli: list[str], policy: object, problems: list[str]
    ) -> None:
        """With the function's own errors, and with the commands that remove the fields."""
        store(kept, json.dumps(policy))
        with pytest.raises(DeployError) as refused:
            deploy.main(["deploy"])
        first, *named, _, get, put = str(refused.value).splitlines()
        assert first == f"nothing was deployed: the new function would reject the policy stored in {kept.region}"
        assert [each.strip() for each in named] == problems
        assert get.strip().startswith(f"aws ssm get-parameter --region {kept.region} --name /imds-enforcer/policy ")
        assert put.strip() == f"imds-enforcer policy set policy.json --region {kept.region}"
        assert cli == []
        with pytest.raises(PolicyInvalidError) as invalid:
            parse_policy("required", json.dumps(policy), PolicyVersions())
        assert [*invalid.value.problems] == problems

    def test_the_script_ends_with_the_message(self, kept: LocalAws) -> None:
        """It bootstraps nothing: the account is as before."""
        store(kept, '{"ledger": "best_effort"}')
        done = script(environment=kept.environment())
        assert done.returncode == 1
        assert LEDGER in done.stdout
        assert "Traceback" not in done.stdout
        assert stacks(kept) == {STATE}

    @pytest.mark.parametrize("policy", ["{}", '{"watch": null, "exemptions": []}', "[]"])
    def test_any_other_policy_is_deployed(
        self, kept: LocalAws, cli: list[str], policy: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Even one that is not an object."""
        store(kept, policy)
        assert deploy.main(["deploy"]) == 0
        assert cli == ["bootstrap", "deploy"]
        assert capsys.readouterr().err == ""

    def test_if_reading_the_policy_is_denied_a_line_says_so(
        self, kept: LocalAws, cli: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The deployment continues: the function rejects a policy with removed fields."""
        store(kept, '{"ledger": "required"}')
        kept.fail("ssm:GetParameters", DENIED, status=400, calls=1)
        assert deploy.main(["deploy"]) == 0
        assert cli == ["bootstrap", "deploy"]
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("/imds-enforcer/policy was not checked for removed fields, ")
        assert f"reject it: An error occurred ({DENIED})" in line

    @pytest.mark.parametrize("policy", ['{"ledger": "required"', "[" * 8000])
    def test_if_the_policy_is_not_json_a_line_says_so(
        self, kept: LocalAws, cli: list[str], policy: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The deployment continues: the function rejects that policy too."""
        store(kept, policy)
        assert deploy.main(["deploy"]) == 0
        assert cli == ["bootstrap", "deploy"]
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("/imds-enforcer/policy was not checked for removed fields, ")
        assert "reject it: it is not JSON: " in line

    def test_if_parameter_store_fails_nothing_is_deployed(self, kept: LocalAws, cli: list[str]) -> None:
        """The policy is unknown then, and another attempt can read it."""
        kept.fail("ssm:GetParameters", "ValidationException", status=400, calls=1)
        with pytest.raises(DeployError, match="AWS cannot be reached or refuses a call, using ") as refused:
            deploy.main(["deploy"])
        assert isinstance(refused.value.__cause__, ClientError)
        assert cli == []


def store(account: LocalAws, policy: str) -> None:
    """Store a policy, valid or not."""
    account.client("ssm").put_parameter(
        Name="/imds-enforcer/policy", Value=policy, Type="String", Tier="Intelligent-Tiering", Overwrite=True
    )


def stacks(account: LocalAws, region: str = "") -> set[str]:
    """The stacks of a region, without deleted ones."""
    pages = account.client("cloudformation", region).get_paginator("describe_stacks").paginate()
    return {stack["StackName"] for page in pages for stack in page["Stacks"]}


def state_events(account: LocalAws) -> list[str]:
    """All events of the state stack."""
    pages = account.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=STATE)
    return [event["EventId"] for page in pages for event in page["StackEvents"]]


def tags(account: LocalAws, stack: str) -> dict[str, str]:
    """The tags of a stack."""
    described = account.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {each["Key"]: each["Value"] for each in described["Tags"]}


def parameters(account: LocalAws) -> dict[str, str]:
    """The values in Parameter Store."""
    answer = account.client("ssm").get_parameters(Names=["/imds-enforcer/http-tokens", "/imds-enforcer/policy"])
    return {parameter["Name"]: parameter["Value"] for parameter in answer["Parameters"]}
