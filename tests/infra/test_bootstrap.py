"""Nothing is bootstrapped unasked: what the refusal says, and what counts as an answer."""

import io
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra import bootstrap, deploy
from infra.arguments import ROOT, DeployError
from infra.local.client import LocalAws
from tests.infra.conftest import lead_to, typed
from tests.infra.test_state_stack import make, values

VERSION = "/cdk-bootstrap/hnb659fds/version"
_accounts = itertools.count(370_987_654_001)


@pytest.fixture
def aws(local_aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch) -> LocalAws:
    """An empty account, which the environment points to, without a terminal; the deployer has agreed to nothing."""
    local_aws.reset()
    assert cli == []
    monkeypatch.delenv("BOOTSTRAP")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return lead_to(local_aws.in_account(str(next(_accounts))), monkeypatch)


def bootstrapped(aws: LocalAws, version: int) -> None:
    """Store the version of a bootstrap: `make deploy` checks nothing else."""
    aws.client("ssm").put_parameter(Name=VERSION, Value=str(version), Type="String")


def refused() -> list[str]:
    """The lines with which `make deploy` refuses."""
    with pytest.raises(DeployError, match=r"^nothing was deployed: ") as error:
        deploy.main(["deploy"])
    return [line.strip() for line in str(error.value).splitlines()]


def nothing_is_there(aws: LocalAws) -> bool:
    """Whether the account has no stack and no parameter."""
    return not (aws.client("cloudformation").describe_stacks()["Stacks"] or values(aws))


def test_the_refusal_names_what_bootstrapping_creates_and_the_alternatives(aws: LocalAws, cli: list[str]) -> None:
    """The script runs without a terminal and without the variable, and writes nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.deploy", "deploy"],
        cwd=ROOT,
        env=aws.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    why, *ways = done.stderr.splitlines()
    role = f"cdk-hnb659fds-cfn-exec-role-{aws.account}-{aws.region}"
    assert why == (
        f"nothing was deployed: {aws.region} in account {aws.account} is not bootstrapped for the CDK. Bootstrapping "
        "creates the stack CDKToolkit: a bucket and a repository for assets, and roles, among them "
        f"{role} with AdministratorAccess, which CloudFormation assumes. Choose one:"
    )
    own = f"cdk bootstrap --cloudformation-execution-policies <ARNs> aws://{aws.account}/{aws.region}"
    assert ways == [
        "  make deploy BOOTSTRAP=yes  # bootstraps it",
        f"  {own}  # bootstraps it as your rules require; then make deploy",
        "  make template  # plain CloudFormation, which needs no bootstrap",
    ]
    assert nothing_is_there(aws)
    assert cli == []


@pytest.mark.parametrize("given", ["regions=nowhere-1", "schedule=daily"])
def test_an_invalid_context_writes_nothing(aws: LocalAws, given: str) -> None:
    """Even the bootstrap that the deployer agreed to is not written: synthesis comes before anything is created."""
    done = subprocess.run(  # noqa: S603  # our own module
        [sys.executable, "-m", "infra.deploy", "deploy", "-c", given],
        cwd=ROOT,
        env=aws.environment() | {"BOOTSTRAP": "yes"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    key, _, value = given.partition("=")
    assert done.returncode == 1
    assert f"context '{key}': received '{value}'; allowed: " in done.stderr + done.stdout
    assert nothing_is_there(aws)


@pytest.mark.usefixtures("aws", "cli")
def test_another_qualifier_has_another_stack_and_other_roles() -> None:
    """They are in the list of what would be created, and in the command for the deployer to run."""
    with pytest.raises(DeployError) as error:
        deploy.main(["deploy", "-c", "@aws-cdk/core:bootstrapQualifier=strict"])
    why, _, own, _ = str(error.value).splitlines()
    assert "creates the stack CDKToolkit-strict: " in why
    assert "among them cdk-strict-cfn-exec-role-" in why
    assert " <ARNs> --qualifier strict --toolkit-stack-name CDKToolkit-strict aws://" in own


@pytest.mark.parametrize("variable", ["", None])
def test_without_an_answer_nothing_is_written(
    aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """`make` sets the variable to an empty text if the deployer does not give it."""
    if variable is not None:
        monkeypatch.setenv("BOOTSTRAP", variable)
    assert "is not bootstrapped" in refused()[0]
    assert nothing_is_there(aws)
    assert cli == []


@pytest.mark.usefixtures("aws")
def test_yes_bootstraps_without_a_question(cli: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds on a terminal too."""
    terminal = typed(monkeypatch, "no\n")
    monkeypatch.setenv("BOOTSTRAP", "yes")
    assert deploy.main(["deploy"]) == 0
    assert cli == ["bootstrap", "deploy"]
    assert terminal.tell() == 0


def test_no_refuses_without_a_question(aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds on a terminal too."""
    typed(monkeypatch, "yes\n")
    monkeypatch.setenv("BOOTSTRAP", "no")
    assert "is not bootstrapped" in refused()[0]
    assert nothing_is_there(aws)
    assert cli == []


@pytest.mark.usefixtures("aws")
def test_on_a_terminal_the_deployer_is_asked(
    cli: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The question names everything that bootstrapping creates."""
    typed(monkeypatch, "yes\n")
    assert deploy.main(["deploy"]) == 0
    assert cli == ["bootstrap", "deploy"]
    asked = capsys.readouterr().out
    assert "with AdministratorAccess, which CloudFormation assumes.\nContinue? (yes | no): " in asked


@pytest.mark.parametrize("answer", ["no\n", "y\n", "\n", ""])
def test_any_other_answer_refuses(aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """The end of the input refuses as well."""
    typed(monkeypatch, answer)
    assert "is not bootstrapped" in refused()[0]
    assert nothing_is_there(aws)
    assert cli == []


def test_another_value_is_refused(aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal comes before the first call to AWS, even if the answer is not needed."""
    bootstrapped(aws, 30)
    aws.reset_calls()
    monkeypatch.setenv("BOOTSTRAP", "true")
    with pytest.raises(DeployError, match=r"^BOOTSTRAP is 'true'; allowed: yes \| no$"):
        deploy.main(["deploy"])
    assert (aws.calls(), cli) == (0, [])


def test_a_bootstrapped_region_needs_no_answer(aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not matter what the answer would be."""
    bootstrapped(aws, bootstrap.MINIMUM_VERSION)
    monkeypatch.setenv("BOOTSTRAP", "no")
    terminal = typed(monkeypatch, "no\n")
    assert deploy.main(["deploy"]) == 0
    assert cli == ["deploy"]
    assert terminal.tell() == 0


def test_an_old_bootstrap_is_not_updated_unasked(
    aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other apps may deploy with it."""
    bootstrapped(aws, bootstrap.MINIMUM_VERSION - 1)
    why, *ways = refused()
    assert f"the bootstrap of {aws.region} in account {aws.account} has version 5, and the stacks need version 6" in why
    assert "CDKToolkit" in why
    assert [way.split("  #")[0].split(" -")[0] for way in ways] == [
        "make deploy BOOTSTRAP=yes",
        "cdk bootstrap",
        "make template",
    ]
    assert (cli, values(aws)) == ([], {})
    typed(monkeypatch, "yes\n")
    assert deploy.main(["deploy"]) == 0
    assert cli == ["bootstrap", "deploy"]


def test_if_reading_the_version_is_denied_the_cli_decides(
    aws: LocalAws, cli: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The CLI reads the version itself, in one of the bootstrap's roles."""
    aws.fail("ssm:GetParameter", "AccessDeniedException", status=400)
    assert deploy.main(["deploy"]) == 0
    assert cli == ["deploy"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("The version of the bootstrap was not checked: An error occurred (AccessDeniedException)")


def test_the_version_is_read_in_the_bootstraps_role(aws: LocalAws) -> None:
    """That role may read it, even if the deployer has no permission except to assume the role."""
    bootstrapped(aws, bootstrap.MINIMUM_VERSION)
    name = f"cdk-hnb659fds-deploy-role-{aws.account}-{aws.region}"
    aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    aws.reset_calls()
    assert deploy.main(["deploy"]) == 0
    assert aws.calls("ssm:GetParameter") == aws.calls("ssm:GetParameter", caller=f"role/{name}") == 1


def test_the_question_comes_last(
    aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Reasons to refuse anyway come first."""
    make(aws, "/imds-enforcer/policy")
    terminal = typed(monkeypatch, "yes\n")
    monkeypatch.setattr("infra.takeover.ROOT", tmp_path)
    assert "the stack ImdsEnforcerState does not exist" in refused()[0]
    assert (terminal.tell(), cli) == (0, [])


def test_make_passes_the_variable_on() -> None:
    """The variable has the value from make's command line, or is empty."""
    environment = {name: value for name, value in os.environ.items() if name != "BOOTSTRAP"}
    tells = "printf '[%s]\\n' \"$$BOOTSTRAP\" #"
    for given, arrives in ((["BOOTSTRAP=yes"], "[yes]\n"), ([], "[]\n")):
        command = ["make", "--silent", "deploy", "TOOLS=", f"PYTHON={sys.executable}", f"RUN={tells}", *given]
        done = subprocess.run(  # noqa: S603
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == arrives
