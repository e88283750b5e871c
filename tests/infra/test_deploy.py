import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra import deploy
from infra.local.client import LocalAws
from tests.infra.synthesized import FORWARDED, Stack


def run(*arguments: str, environment: Mapping[str, str]) -> str:
    """What the script writes, on a machine without Node.js and without a terminal."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "infra/deploy.py", *arguments],
        cwd=deploy.ROOT,
        env={**environment, "PATH": "/nonexistent"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def _no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that knows nothing of AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.mark.usefixtures("_no_aws")
class TestRefusals:
    """What is said before anything is started."""

    @pytest.mark.parametrize("command", ["deploy", "destroy"])
    def test_no_region(self, command: str) -> None:
        """No guess is made where the stacks should go."""
        with pytest.raises(deploy.DeployError, match="no region: set AWS_REGION"):
            deploy.main([command])

    def test_no_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message names the way that was tried."""
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        with pytest.raises(deploy.DeployError, match="through the default credentials: Unable to locate credentials"):
            deploy.main([])

    @pytest.mark.parametrize(
        "argument", ["--tags", "-t", "-tteam=x", "--tags=team=x", "--parameters", "--no-previous-parameters"]
    )
    def test_what_would_reset_the_parameters(self, argument: str) -> None:
        """Tags do, as CloudFormation hands them on to the parameters."""
        with pytest.raises(deploy.DeployError, match=r"received '.*': it would reset"):
            deploy.main([argument])


def test_templates_need_neither_an_account_nor_node(tmp_path: Path) -> None:
    """`make synth` on a machine with nothing but Python."""
    bare = {"HOME": str(Path.home()), "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "eu-west-1"}
    run("synth", "-c", "regions=us-east-1", f"--output={tmp_path}", environment=bare)
    assert {path.name for path in tmp_path.glob("*.template.json")} == {
        "ImdsEnforcer.template.json",
        "ImdsEnforcerForwarder-us-east-1.template.json",
    }


def test_the_bootstrap_is_as_new_as_the_templates_ask_for(home: Stack) -> None:
    """An older one is brought up to date, not run into."""
    rule = home.template["Rules"]["CheckBootstrapVersion"]["Assertions"][0]["Assert"]
    refused = rule["Fn::Not"][0]["Fn::Contains"][0]
    assert refused == [str(version) for version in range(1, deploy.MINIMUM_BOOTSTRAP)]


@pytest.fixture(scope="module")
def account(local_aws: LocalAws) -> LocalAws:
    """An account that was empty: deployed to once, and then changed by hand."""
    aws = local_aws.in_account("310987654321")
    run("-c", f"regions={FORWARDED}", environment=aws.environment())
    ssm = aws.client("ssm")
    ssm.put_parameter(Name="/imds-enforcer/http-tokens", Value="optional", Overwrite=True)
    ssm.put_parameter(Name="/imds-enforcer/policy", Value='{"http_put_response_hop_limit": 2}', Overwrite=True)
    return aws


class TestOnTheLocalAws:
    """The life of a deployment, in this order, by the real CLI."""

    def test_it_bootstraps_the_home_region_alone(self, account: LocalAws) -> None:
        """Forwarders are deployed without."""
        assert stacks(account) == {"CDKToolkit", "ImdsEnforcer"}
        assert stacks(account, FORWARDED) == {f"ImdsEnforcerForwarder-{FORWARDED}"}

    def test_what_was_set_by_hand_stays(self, account: LocalAws) -> None:
        """Even if the context now names other first values."""
        others = ("-c", "http_tokens=required", "-c", "mode=audit", "-c", "schedule=rate(1 hour)")
        output = run("deploy", *others, environment=account.environment())
        assert "(no changes)" not in output
        assert parameters(account) == {
            "/imds-enforcer/http-tokens": "optional",
            "/imds-enforcer/policy": '{"http_put_response_hop_limit": 2}',
        }

    def test_destroy_leaves_the_bootstrap(self, account: LocalAws) -> None:
        """Other apps may use it."""
        run("destroy", "-c", f"regions={FORWARDED}", environment=account.environment())
        assert stacks(account) == {"CDKToolkit"}
        assert stacks(account, FORWARDED) == set()


def stacks(account: LocalAws, region: str = "") -> set[str]:
    """The stacks of a region that were not deleted."""
    pages = account.client("cloudformation", region).get_paginator("describe_stacks").paginate()
    return {stack["StackName"] for page in pages for stack in page["Stacks"]}


def parameters(account: LocalAws) -> dict[str, str]:
    """What is stored in Parameter Store."""
    answer = account.client("ssm").get_parameters(Names=["/imds-enforcer/http-tokens", "/imds-enforcer/policy"])
    return {parameter["Name"]: parameter["Value"] for parameter in answer["Parameters"]}
