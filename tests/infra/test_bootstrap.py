"""Nothing is bootstrapped unasked: what is said instead, and what counts as an answer."""

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
    """An empty account, which the environment leads to, without a terminal; nothing is agreed to."""
    local_aws.reset()
    assert cli == []
    monkeypatch.delenv("BOOTSTRAP")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return lead_to(local_aws.in_account(str(next(_accounts))), monkeypatch)


def bootstrapped(aws: LocalAws, version: int) -> None:
    """A bootstrap, as far as it is looked at."""
    aws.client("ssm").put_parameter(Name=VERSION, Value=str(version), Type="String")


def refused() -> list[str]:
    """The lines with which `make deploy` refuses."""
    with pytest.raises(DeployError, match=r"^nothing was deployed: ") as error:
        deploy.main(["deploy"])
    return [line.strip() for line in str(error.value).splitlines()]


def nothing_is_there(aws: LocalAws) -> bool:
    """True if no stack and no parameter was made."""
    return not (aws.client("cloudformation").describe_stacks()["Stacks"] or values(aws))


def test_the_refusal_says_what_bootstrapping_makes_and_the_ways_on(aws: LocalAws, cli: list[str]) -> None:
    """By the script, without a terminal and without the variable; nothing is written."""
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
        f"nothing was deployed: {aws.region} of {aws.account} is not bootstrapped for the CDK. Bootstrapping creates "
        "the stack CDKToolkit: a bucket and a repository for assets, and roles, among them "
        f"{role} with AdministratorAccess, which CloudFormation uses. The ways on:"
    )
    own = f"cdk bootstrap --cloudformation-execution-policies <ARNs> aws://{aws.account}/{aws.region}"
    assert ways == [
        "  make deploy BOOTSTRAP=yes  # do it",
        f"  {own}  # as your rules demand; then make deploy",
        "  make template  # plain CloudFormation, which needs no bootstrap",
    ]
    assert nothing_is_there(aws)
    assert cli == []


@pytest.mark.parametrize("given", ["regions=nowhere-1", "schedule=daily"])
def test_a_context_that_cannot_be_used_writes_nothing(aws: LocalAws, given: str) -> None:
    """Not even a bootstrap, which was agreed to: the stacks are synthesized before anything is made."""
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
    """As it would be made, and as one's own command has to make it."""
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
    """`make` sets the variable to nothing where it is not given."""
    if variable is not None:
        monkeypatch.setenv("BOOTSTRAP", variable)
    assert "is not bootstrapped" in refused()[0]
    assert nothing_is_there(aws)
    assert cli == []


@pytest.mark.usefixtures("aws")
def test_yes_is_agreed(cli: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a question, on a terminal too."""
    terminal = typed(monkeypatch, "no\n")
    monkeypatch.setenv("BOOTSTRAP", "yes")
    assert deploy.main(["deploy"]) == 0
    assert cli == ["bootstrap", "deploy"]
    assert terminal.tell() == 0


def test_no_is_no_question(aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal too."""
    typed(monkeypatch, "yes\n")
    monkeypatch.setenv("BOOTSTRAP", "no")
    assert "is not bootstrapped" in refused()[0]
    assert nothing_is_there(aws)
    assert cli == []


@pytest.mark.usefixtures("aws")
def test_a_terminal_is_asked(
    cli: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With all that it makes."""
    typed(monkeypatch, "yes\n")
    assert deploy.main(["deploy"]) == 0
    assert cli == ["bootstrap", "deploy"]
    asked = capsys.readouterr().out
    assert "with AdministratorAccess, which CloudFormation uses.\nGo on? (yes | no): " in asked


@pytest.mark.parametrize("answer", ["no\n", "y\n", "\n", ""])
def test_any_other_answer_refuses(aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """The end of the input as well."""
    typed(monkeypatch, answer)
    assert "is not bootstrapped" in refused()[0]
    assert nothing_is_there(aws)
    assert cli == []


def test_another_value_is_refused(aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before AWS is asked anything, and where the answer is not needed too."""
    bootstrapped(aws, 30)
    aws.reset_calls()
    monkeypatch.setenv("BOOTSTRAP", "true")
    with pytest.raises(DeployError, match=r"^BOOTSTRAP is 'true'; allowed: yes \| no$"):
        deploy.main(["deploy"])
    assert (aws.calls(), cli) == (0, [])


def test_what_is_bootstrapped_is_no_question(aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the answer would be."""
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
    assert f"the bootstrap of {aws.region} of {aws.account} is version 5, and the stacks need 6. The update" in why
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


def test_a_version_that_may_not_be_read_leaves_it_to_the_cli(
    aws: LocalAws, cli: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It looks itself, as one of the bootstrap's roles."""
    aws.fail("ssm:GetParameter", "AccessDeniedException", status=400)
    assert deploy.main(["deploy"]) == 0
    assert cli == ["deploy"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("The version of the bootstrap was not looked at: An error occurred (AccessDeniedException)")


def test_the_version_is_read_in_the_bootstraps_role(aws: LocalAws) -> None:
    """Which may read it, where its deployer has no other rights than to take the role."""
    bootstrapped(aws, bootstrap.MINIMUM_VERSION)
    name = f"cdk-hnb659fds-deploy-role-{aws.account}-{aws.region}"
    aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    aws.reset_calls()
    assert deploy.main(["deploy"]) == 0
    assert aws.calls("ssm:GetParameter") == aws.calls("ssm:GetParameter", caller=f"role/{name}") == 1


def test_the_question_comes_last(
    aws: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What refuses anyway is said first."""
    make(aws, "/imds-enforcer/policy")
    terminal = typed(monkeypatch, "yes\n")
    monkeypatch.setattr("infra.takeover.ROOT", tmp_path)
    assert "without the stack ImdsEnforcerState, these exist" in refused()[0]
    assert (terminal.tell(), cli) == (0, [])


def test_make_passes_the_variable_on() -> None:
    """From its command line, and as nothing without it."""
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
