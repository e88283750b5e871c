"""The stacks of `make template`, deployed by the commands that it prints and by those in infra/README.md."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra import state, state_stack, templates
from infra.account import Account
from infra.arguments import ROOT, Arguments
from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.infra import aws_commands
from tests.infra.conftest import lead_to
from tests.infra.synthesized import FORWARDED, HOME

README = (ROOT / "infra" / "README.md").read_text("utf-8")
BUCKET = "code"
TAGS = [{"Key": "team", "Value": "b"}]
_accounts = itertools.count(400_987_654_001)


@pytest.fixture
def aws(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> LocalAws:
    """An empty account, which the environment points to."""
    local_aws.reset()
    return lead_to(local_aws.in_account(str(next(_accounts))), monkeypatch)


def commands(text: str, **places: str) -> list[str]:
    """The commands in a text, with these values for its placeholders."""
    for name, value in {"HOME_REGION": HOME, "BUCKET": BUCKET, **places}.items():
        text = re.sub(rf"\b{name}\b", value, text)
    return [line for line in re.sub(r" \\\n *", " ", text).splitlines() if re.match(r"aws |\w+=\$\(aws ", line)]


def printed(folder: Path, **places: str) -> list[str]:
    """The printed commands, ready to run."""
    return commands(re.sub(r"^ +", "", (folder / "printed").read_text(), flags=re.MULTILINE), **places)


def in_readme(before: str, folder: Path, **places: str) -> list[str]:
    """The commands of the first console block of infra/README.md after this text, run on these files."""
    block = re.search(r"```console\n(.*?)```", README[README.index(before) :], re.DOTALL)
    assert block
    text = block[1].replace("$ ", "").replace(".build/template", str(folder))
    [code] = folder.glob("*.zip")
    return commands(text.replace("imds-enforcer-….zip", code.name), **places)


def create_state(aws: LocalAws, folder: Path) -> None:
    """Create the state stack by the printed commands."""
    aws_commands.run([line for line in printed(folder) if f"--stack-name {state.STACK}" in line], aws)


def set_by_hand(aws: LocalAws) -> dict[str, tuple[str, int]]:
    """Set the toggle, and store a policy."""
    for name, value in ((state.HTTP_TOKENS, "optional"), (state.POLICY, '{"rollout_percent": 5}')):
        aws.client("ssm").put_parameter(Name=name, Value=value, Overwrite=True)
    return values(aws)


def values(aws: LocalAws) -> dict[str, tuple[str, int]]:
    """Value and version of each parameter."""
    found = aws.client("ssm").get_parameters(Names=[state.HTTP_TOKENS, state.POLICY])["Parameters"]
    return {each["Name"]: (each["Value"], each["Version"]) for each in found}


def stack(aws: LocalAws, name: str, region: str = "") -> dict[str, Any]:
    """A stack as CloudFormation describes it."""
    return dict(aws.client("cloudformation", region).describe_stacks(StackName=name)["Stacks"][0])


class TestDeployed:
    """By the printed commands, and by those in infra/README.md."""

    def test_the_printed_commands_deploy_everything(self, aws: LocalAws, written: Path) -> None:
        """They deploy the state stack, protected and with first values; home; and one forwarder."""
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

    def test_make_deploy_uses_the_same_state_stack(self, aws: LocalAws, written: Path) -> None:
        """Its template is the same, so nothing is updated."""
        create_state(aws, written)
        before = stack(aws, state.STACK)
        state_stack.deploy(Account.of(Arguments()), state.first_values(http_tokens="optional", mode="enforce"), {})
        assert stack(aws, state.STACK) == before

    def test_protection_can_be_switched_on_later(self, aws: LocalAws, written: Path) -> None:
        """The stack may have been created without it."""
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
        """The parameters have no defaults for CloudFormation to use."""
        create_state(aws, written)
        before = set_by_hand(aws)
        with pytest.raises(ClientError, match=r"ValidationError.*FirstHttpTokens"):
            aws.client("cloudformation").update_stack(StackName=state.STACK, UsePreviousTemplate=True, Tags=TAGS)
        assert values(aws) == before

    def test_an_update_as_the_readme_says_leaves_both_values(
        self, aws: LocalAws, written: Path, tmp_path: Path
    ) -> None:
        """The command sends previous values and no tags. In this test the template changes the log group."""
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
        """CloudFormation writes the stored values once more.

        With the stack's previous values, it would write those from the stack's creation.
        """
        create_state(aws, written)
        set_by_hand(aws)
        before = {name: value for name, (value, _) in values(aws).items()}
        monkeypatch.chdir(tmp_path)
        aws_commands.run(in_readme("If you must change the stack's tags", written), aws)
        until(lambda: stack(aws, state.STACK)["StackStatus"] == "UPDATE_COMPLETE")
        assert stack(aws, state.STACK)["Tags"] == [{"Key": "team", "Value": "security"}]
        assert {name: value for name, (value, _) in values(aws).items()} == before
