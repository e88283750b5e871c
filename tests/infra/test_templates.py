"""`make template`: plain CloudFormation, held to the CDK's templates, and deployed by the commands that are printed."""

import itertools
import json
import os
import re
import subprocess
import sys
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra import app, package, plain_app, state, state_stack, templates
from infra.account import Account
from infra.arguments import ROOT, Arguments
from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.infra import aws_commands
from tests.infra.conftest import lead_to
from tests.infra.synthesized import FORWARDED, HOME, Stack, Synthesize, readable

README = (ROOT / "infra" / "README.md").read_text("utf-8")
BUCKET = "code"
SHAPES: list[dict[str, object]] = [
    {},
    {"floor": "required", "schedule": "rate(1 hour)", "notification_email": "ops@example.com"},
]
TAGS = [{"Key": "team", "Value": "b"}]
_accounts = itertools.count(350_987_654_001)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, written on a machine that knows nothing of AWS, and what was printed in `printed`."""
    folder = tmp_path_factory.mktemp("template")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "infra.deploy", "template", "-c", "mode=audit", f"--output={folder}"],
        cwd=ROOT,
        env={"HOME": str(Path.home()), "PATH": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder


@pytest.fixture
def aws(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> LocalAws:
    """An empty account, which the environment leads to."""
    local_aws.reset()
    return lead_to(local_aws.in_account(str(next(_accounts))), monkeypatch)


def commands(text: str, **places: str) -> list[str]:
    """The commands in a text, with these names for what it leaves open."""
    for name, value in {"HOME_REGION": HOME, "BUCKET": BUCKET, **places}.items():
        text = re.sub(rf"\b{name}\b", value, text)
    return [line for line in re.sub(r" \\\n *", " ", text).splitlines() if re.match(r"aws |\w+=\$\(aws ", line)]


def printed(folder: Path, **places: str) -> list[str]:
    """The commands that were printed, ready to be run."""
    return commands(re.sub(r"^ +", "", (folder / "printed").read_text(), flags=re.MULTILINE), **places)


def in_readme(before: str, folder: Path, **places: str) -> list[str]:
    """The commands of the first console block of infra/README.md after this text, run on these files."""
    block = re.search(r"```console\n(.*?)```", README[README.index(before) :], re.DOTALL)
    assert block
    text = block[1].replace("$ ", "").replace(".build/template", str(folder))
    [code] = folder.glob("*.zip")
    return commands(text.replace("imds-enforcer-….zip", code.name), **places)


def create_state(aws: LocalAws, folder: Path) -> None:
    """Create the state stack as it is printed."""
    aws_commands.run([line for line in printed(folder) if f"--stack-name {state.STACK}" in line], aws)


def set_by_hand(aws: LocalAws) -> dict[str, tuple[str, int]]:
    """Turn the toggle, and store a policy."""
    for name, value in ((state.HTTP_TOKENS, "optional"), (state.POLICY, '{"rollout_percent": 5}')):
        aws.client("ssm").put_parameter(Name=name, Value=value, Overwrite=True)
    return values(aws)


def values(aws: LocalAws) -> dict[str, tuple[str, int]]:
    """Value and version of each parameter."""
    found = aws.client("ssm").get_parameters(Names=[state.HTTP_TOKENS, state.POLICY])["Parameters"]
    return {each["Name"]: (each["Value"], each["Version"]) for each in found}


def stack(aws: LocalAws, name: str, region: str = "") -> dict[str, Any]:
    """A stack as it is described."""
    return dict(aws.client("cloudformation", region).describe_stacks(StackName=name)["Stacks"][0])


def read(folder: Path, name: str) -> dict[str, Any]:
    """A stack's template."""
    template: dict[str, Any] = json.loads((folder / f"{name}.template.json").read_text("utf-8"))
    return template


class TestTemplates:
    """What is written."""

    def test_every_context_key_that_shapes_a_stack_is_tried(self) -> None:
        """All but the regions: by the test after this one."""
        assert {*SHAPES[1], "regions"} == {*app.KEYS}

    @pytest.mark.parametrize("shape", SHAPES, ids=["plain", "shaped"])
    def test_home_is_the_cdks_but_for_the_code_and_the_bootstrap(
        self, synthesize: Synthesize, default_context: dict[str, Any], tmp_path: Path, shape: dict[str, object]
    ) -> None:
        """So what is tested of that holds for this: permissions, alarms, outputs, the order of creation."""
        cdk = deepcopy(synthesize(regions=[FORWARDED], **shape).get_stack_by_name("ImdsEnforcer").template)
        plain_app.write(tmp_path, default_context | {"regions": "all"} | shape)
        plain = read(tmp_path, "ImdsEnforcer")
        assert {*cdk.pop("Parameters")} == {"BootstrapVersion"}
        assert {*cdk.pop("Rules")} == {"CheckBootstrapVersion"}
        assert {name: each["Type"] for name, each in plain.pop("Parameters").items()} == {
            "CodeBucket": "String",
            "CodeKey": "String",
        }
        for template, place in ((cdk, None), (plain, {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}})):
            [function] = (each for each in template["Resources"].values() if each["Type"] == "AWS::Lambda::Function")
            code = function["Properties"].pop("Code")
            assert place in (None, code)
        assert plain == cdk

    def test_the_forwarder_is_the_cdks_but_for_the_home_region(self, written: Path, forwarder: Stack) -> None:
        """Which is a parameter: one template serves every region."""
        plain = read(written, "ImdsEnforcerForwarder")
        assert {*plain} == {"Description", "Parameters", "Resources"}
        assert {*plain["Parameters"]} == {"HomeRegion"}
        text = json.dumps(readable(Stack(plain).resources)).replace("${HomeRegion}", HOME)
        assert json.loads(text) == forwarder.resources

    def test_the_state_stack_is_the_same(self, written: Path) -> None:
        """With the first values of the context, and its protection."""
        assert read(written, state.STACK) == state.template()
        assert json.loads((written / templates.STACK_POLICY).read_text()) == state.PROTECTION
        first = json.loads((written / templates.FIRST_VALUES).read_text())
        assert {each["ParameterKey"]: each["ParameterValue"] for each in first} == state.first_values(
            http_tokens="required", mode="audit"
        )

    def test_they_fit_every_account_region_and_partition(self, written: Path) -> None:
        """Nothing of one is in them, no bootstrap, no asset, no custom resource."""
        texts = [path.read_text() for path in written.glob("*.template.json")]
        assert len(texts) == 3
        for text in texts:
            assert not re.search(r"arn:aws|\b\d{12}\b|\b(eu|us)-[a-z]+-\d|cdk|Custom", text)

    def test_each_can_be_sent_inline(self, written: Path, default_context: dict[str, Any], tmp_path: Path) -> None:
        """API reference, CreateStack: a TemplateBody has at most 51,200 bytes; with room for tags on every resource."""
        plain_app.write(tmp_path, default_context | SHAPES[1])
        sizes = [path.stat().st_size for folder in (written, tmp_path) for path in folder.glob("*.template.json")]
        assert len(sizes) == 5
        assert max(sizes) < 40_000

    def test_cfn_lint_finds_nothing(self, written: Path) -> None:
        """No errors and no warnings, with nothing ignored."""
        files = map(str, written.glob("*.template.json"))
        command = [str(Path(sys.executable).with_name("cfn-lint")), "--", *files]
        lint = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        assert (lint.returncode, lint.stdout) == (0, "")

    def test_a_context_that_is_refused_writes_nothing(self, tmp_path: Path) -> None:
        """With the message that a deployment has."""
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "infra.deploy", "template", "-c", "floor=optional", f"--output={tmp_path}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "context 'floor': received 'optional'; allowed: required" in done.stderr
        assert list(tmp_path.iterdir()) == []


class TestCode:
    """The function's zip."""

    def test_it_has_what_the_cdk_uploads(self, written: Path, asset: Path) -> None:
        """File by file."""
        [code] = written.glob("*.zip")
        with zipfile.ZipFile(code) as packed:
            assert packed.testzip() is None
            contents = {name: packed.read(name) for name in packed.namelist()}
        assert contents == {str(p.relative_to(asset)): p.read_bytes() for p in asset.rglob("*") if p.is_file()}

    def test_the_same_sources_make_the_same_bytes(
        self, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the files' times and modes are, and what has been imported from there."""
        [code] = written.glob("*.zip")
        copy = tmp_path / "copy"
        with zipfile.ZipFile(code) as packed:
            for name in reversed(packed.namelist()):
                packed.extract(name, copy)
                os.utime(copy / name, (1, 2_000_000_000))
                (copy / name).chmod(0o600)
        (copy / "__pycache__").mkdir()
        (copy / "__pycache__" / "six.pyc").touch()
        monkeypatch.setattr(package, "build", lambda: copy)
        again = package.archive(tmp_path)
        assert (again.name, again.read_bytes()) == (code.name, code.read_bytes())
        (copy / "six.py").write_text("# another")
        assert package.archive(tmp_path).name != code.name


class TestDeployed:
    """By the commands that are printed, and by those in infra/README.md."""

    def test_the_printed_commands_deploy_everything(self, aws: LocalAws, written: Path) -> None:
        """The state stack with first values and protected, home and one forwarder."""
        aws.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": HOME})
        aws_commands.run(printed(written, REGION=FORWARDED), aws, regions=[FORWARDED])
        assert values(aws) == {state.HTTP_TOKENS: ("required", 1), state.POLICY: ('{"mode": "audit"}', 1)}
        assert stack(aws, state.STACK)["EnableTerminationProtection"]
        policy = aws.client("cloudformation").get_stack_policy(StackName=state.STACK)["StackPolicyBody"]
        assert json.loads(policy) == state.PROTECTION
        assert stack(aws, f"ImdsEnforcerForwarder-{FORWARDED}", FORWARDED)["StackStatus"] == "CREATE_COMPLETE"
        outputs = aws.stack_outputs("ImdsEnforcer")
        answer = aws.client("lambda").invoke(FunctionName=outputs["FunctionName"], Payload="{}")
        assert json.load(answer["Payload"])["http_tokens"] == "required"

        before = values(aws)
        aws_commands.run(in_readme("**Removing them.**", written, REGION=FORWARDED), aws, regions=[FORWARDED])
        assert {each["StackName"] for each in aws.client("cloudformation").describe_stacks()["Stacks"]} == {state.STACK}
        assert values(aws) == before
        aws_commands.run(in_readme("Toggle, policy, holds and history stay", written), aws)
        assert aws.client("cloudformation").describe_stacks()["Stacks"] == []
        assert values(aws) == {}
        assert aws.client("dynamodb").list_tables()["TableNames"] == []
        assert aws.client("logs").describe_log_groups(logGroupNamePrefix="/imds-enforcer")["logGroups"] == []

    def test_make_deploy_goes_on_with_the_state_stack(self, aws: LocalAws, written: Path) -> None:
        """Its template is the same, so nothing is sent."""
        create_state(aws, written)
        before = stack(aws, state.STACK)
        state_stack.deploy(Account.of(Arguments()), state.first_values(http_tokens="optional", mode="enforce"), {})
        assert stack(aws, state.STACK) == before

    def test_protection_can_be_switched_on_later(self, aws: LocalAws, written: Path) -> None:
        """Where the stack was created without."""
        aws.client("cloudformation").create_stack(
            StackName=state.STACK,
            TemplateBody=json.dumps(state.template()),
            Parameters=json.loads((written / templates.FIRST_VALUES).read_text()),
        )
        until(lambda: stack(aws, state.STACK)["StackStatus"] == "CREATE_COMPLETE")
        aws_commands.run(in_readme("**Protection.**", written), aws)
        assert stack(aws, state.STACK)["EnableTerminationProtection"]
        policy = aws.client("cloudformation").get_stack_policy(StackName=state.STACK)["StackPolicyBody"]
        assert json.loads(policy) == state.PROTECTION


class TestStateStackLater:
    """Updates of the state stack: both values stay, or the update is refused."""

    def test_other_tags_without_parameters_are_refused(self, aws: LocalAws, written: Path) -> None:
        """The parameters have no defaults that CloudFormation could take."""
        create_state(aws, written)
        before = set_by_hand(aws)
        with pytest.raises(ClientError, match=r"ValidationError.*FirstHttpTokens"):
            aws.client("cloudformation").update_stack(StackName=state.STACK, UsePreviousTemplate=True, Tags=TAGS)
        assert values(aws) == before

    def test_an_update_as_the_readme_says_leaves_both_values(
        self, aws: LocalAws, written: Path, tmp_path: Path
    ) -> None:
        """With previous values and no tags: here a template without the log group is brought up to date."""
        create_state(aws, written)
        before = set_by_hand(aws)
        [update] = in_readme("**The state stack afterwards.**", written)
        with pytest.raises(ClientError, match="No updates are to be performed"):
            aws_commands.run([update], aws)
        template = state.template()
        template["Resources"]["Log"]["Properties"]["RetentionInDays"] = 30
        (tmp_path / f"{state.STACK}.template.json").write_text(json.dumps(template))
        aws_commands.run([update.replace(str(written), str(tmp_path))], aws)
        until(lambda: stack(aws, state.STACK)["StackStatus"] == "UPDATE_COMPLETE")
        [group] = aws.client("logs").describe_log_groups(logGroupNamePrefix=state.LOG_GROUP)["logGroups"]
        assert group["retentionInDays"] == 30
        assert values(aws) == before

    def test_other_tags_as_the_readme_says_leave_both_values(
        self, aws: LocalAws, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What CloudFormation then writes is what is there. With previous values it would be the first ones."""
        create_state(aws, written)
        set_by_hand(aws)
        before = {name: value for name, (value, _) in values(aws).items()}
        monkeypatch.chdir(tmp_path)
        aws_commands.run(in_readme("If its tags have to change", written), aws)
        until(lambda: stack(aws, state.STACK)["StackStatus"] == "UPDATE_COMPLETE")
        assert stack(aws, state.STACK)["Tags"] == [{"Key": "team", "Value": "security"}]
        assert {name: value for name, (value, _) in values(aws).items()} == before
