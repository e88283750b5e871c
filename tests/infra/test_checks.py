"""The stored values, and enforcers in other regions: checked before anything changes."""

import itertools
import json
import shlex

import pytest
from botocore.exceptions import WaiterError

from infra import deploy, state, state_stack
from infra.account import Account
from infra.arguments import Arguments, DeployError
from infra.local.client import LocalAws
from tests.infra import aws_commands
from tests.infra.conftest import lead_to

ELSEWHERE = "us-east-1"
_accounts = itertools.count(350_987_654_001)
AUDIT = '{"mode": "audit", "exemptions": []}'


@pytest.fixture
def aws(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> LocalAws:
    """An empty account, which the environment points to."""
    local_aws.reset()
    return lead_to(local_aws.in_account(str(next(_accounts))), monkeypatch)


@pytest.fixture
def kept(aws: LocalAws) -> LocalAws:
    """The account with what outlived a deployment: toggle `optional`, mode `audit`."""
    state_stack.deploy(Account.of(Arguments()), state.first_values(http_tokens="optional", mode="enforce"), {})
    store(aws, AUDIT)
    return aws


def store(aws: LocalAws, policy: str) -> None:
    """Store a policy, valid or not."""
    aws.client("ssm").put_parameter(Name=state.POLICY, Value=policy, Overwrite=True)


def refused(*arguments: str) -> str:
    """Why `make deploy` refuses."""
    with pytest.raises(DeployError, match=r"^nothing was deployed: ") as error:
        deploy.main(["deploy", *arguments])
    return str(error.value)


class TestStoredValues:
    """Both are printed, and a first value in the call is not silently ignored."""

    def test_they_are_printed_beside_the_first_values_of_cdk_json(
        self, kept: LocalAws, cli: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The first values in cdk.json refuse nothing."""
        assert deploy.main(["deploy"]) == 0
        first, second = capsys.readouterr().out.splitlines()[:2]
        where = f"in {kept.region} is"
        assert first == (
            f"/imds-enforcer/http-tokens {where} optional (cdk.json, for the first deployment: http_tokens required)"
        )
        assert second == f"/imds-enforcer/policy {where} {AUDIT} (cdk.json, for the first deployment: mode enforce)"
        assert cli == ["bootstrap", "deploy"]

    @pytest.mark.parametrize("arguments", [["-c", "mode=audit"], ["--context=http_tokens=optional", "-cmode=audit"]])
    @pytest.mark.usefixtures("kept")
    def test_the_same_may_be_given_again(self, cli: list[str], arguments: list[str]) -> None:
        """For example if a command line is repeated."""
        assert deploy.main(["deploy", *arguments]) == 0
        assert cli == ["bootstrap", "deploy"]

    def test_a_first_mode_that_differs_is_refused(self, kept: LocalAws, cli: list[str]) -> None:
        """The message has the command that changes the mode, and nothing else in the policy."""
        store(kept, '{"rollout_percent": 5}')
        why, command = refused("-c", "mode=audit").split(" To change it: ")
        assert why == (
            "nothing was deployed: -c mode=audit applies to the first deployment only, and the stored value is enforce."
        )
        echo, document, *rest = shlex.split(command)
        assert (echo, json.loads(document)) == ("echo", {"rollout_percent": 5, "mode": "audit"})
        assert rest == ["|", "imds-enforcer", "policy", "set", "-", "--region", kept.region]
        assert cli == []

    @pytest.mark.parametrize("policy", ["[]", '{"mode"'])
    def test_an_invalid_policy_has_no_mode(self, kept: LocalAws, cli: list[str], policy: str) -> None:
        """So every given mode differs from it."""
        store(kept, policy)
        assert '{"mode": "enforce"}' in refused("-c", "mode=enforce")
        assert cli == []

    def test_a_first_toggle_that_differs_is_refused(
        self, kept: LocalAws, cli: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Even if the environment gives it."""
        wanted = (
            "nothing was deployed: -c http_tokens=required applies to the first deployment only, and the stored value "
            f"is optional. To change it: imds-enforcer toggle required --region {kept.region}"
        )
        assert refused("-c", "http_tokens=required") == wanted
        monkeypatch.setenv("CDK_CONTEXT", "http_tokens=required")
        assert refused() == wanted
        assert cli == []

    def test_a_value_that_cannot_be_read_is_not_assumed_to_be_the_same(self, kept: LocalAws, cli: list[str]) -> None:
        """Without a first value in the call, there is nothing to compare."""
        kept.fail("ssm:GetParameters", "AccessDeniedException", status=400)
        assert refused("-c", "mode=audit").startswith(
            "nothing was deployed: -c mode=audit cannot be compared with the stored value: An error occurred (Access"
        )
        assert deploy.main(["deploy"]) == 0
        assert cli == ["bootstrap", "deploy"]


class TestSecondHome:
    """One deployment covers every region: a second would undo the first one's changes."""

    @pytest.mark.parametrize("stack", ["ImdsEnforcer", "ImdsEnforcerState"])
    def test_one_in_another_region_is_named(self, aws: LocalAws, cli: list[str], stack: str) -> None:
        """So is its remaining state, whose holds would not count here."""
        create(aws, stack)
        wanted = f"nothing was deployed: the account already has {stack} in {ELSEWHERE}. One deployment covers "
        assert refused().startswith(wanted)
        assert refused("-c", "allow_second_home=false").startswith(wanted)
        assert cli == []
        assert deploy.main(["deploy", "-c", "allow_second_home=true"]) == 0
        assert cli == ["bootstrap", "deploy"]

    def test_a_forwarder_is_no_home(self, aws: LocalAws, cli: list[str]) -> None:
        """It belongs to the home."""
        create(aws, f"ImdsEnforcerForwarder-{ELSEWHERE}")
        assert deploy.main(["deploy"]) == 0
        assert cli == ["bootstrap", "deploy"]

    def test_regions_that_cannot_be_asked_share_a_line(
        self, aws: LocalAws, cli: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """And do not stop the deployment."""
        for region in ("ap-south-1", ELSEWHERE):
            aws.fail("cloudformation:DescribeStacks", "AccessDenied", status=403, region=region)
        assert deploy.main(["deploy"]) == 0
        (line,) = capsys.readouterr().err.splitlines()
        wanted = f"Not checked for another home: ap-south-1, {ELSEWHERE} (An error occurred (AccessDenied)"
        assert line.startswith(wanted)
        assert cli == ["bootstrap", "deploy"]

    def test_without_the_list_of_regions_all_are_asked(self, aws: LocalAws, cli: list[str]) -> None:
        """DescribeRegions may be denied."""
        create(aws, "ImdsEnforcer")
        aws.fail("ec2:DescribeRegions", "UnauthorizedOperation", status=403)
        assert refused().startswith(f"nothing was deployed: the account already has ImdsEnforcer in {ELSEWHERE}.")
        assert cli == []

    @pytest.mark.usefixtures("aws")
    def test_the_switch_is_true_or_false(self, cli: list[str]) -> None:
        """No other word is taken for one of them."""
        with pytest.raises(DeployError, match=r"context 'allow_second_home': received 'yes'; allowed: true \| false"):
            deploy.main(["deploy", "-c", "allow_second_home=yes"])
        assert cli == []


def test_if_describing_stacks_is_denied_nothing_is_deployed(aws: LocalAws, cli: list[str]) -> None:
    """Unlike the other checks: without this permission the state stack cannot be deployed either."""
    aws.fail("cloudformation:DescribeStacks", "AccessDenied", status=403, region=aws.region)
    with pytest.raises(DeployError, match=r"\(AccessDenied\) when calling the DescribeStacks operation"):
        deploy.main(["deploy"])
    assert cli == []


class TestProtectedStacks:
    """`make destroy` removes all stacks or none."""

    def test_they_are_named_with_the_commands_that_lift_the_protection(self, aws: LocalAws, cli: list[str]) -> None:
        """The home stack and the forwarders; a second home's do not count."""
        forwarder = f"ImdsEnforcerForwarder-{ELSEWHERE}"
        create(aws, forwarder, protected=True)
        create(aws, "ImdsEnforcer", protected=True)
        create(aws, "ImdsEnforcer", aws.region, protected=True)
        with pytest.raises(DeployError) as refused:
            deploy.main(["destroy"])
        first, home, other = str(refused.value).splitlines()
        assert first == (
            f"nothing was removed: termination protection is on for ImdsEnforcer, {forwarder}. To switch it off:"
        )
        assert cli == []
        aws_commands.run([home.strip()], aws)
        aws_commands.run([other.strip()], aws, regions=[ELSEWHERE])
        assert deploy.main(["destroy"]) == 0
        assert cli == ["destroy"]

    def test_regions_that_cannot_be_asked_share_a_line(
        self, aws: LocalAws, cli: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The CDK CLI has the last word there."""
        create(aws, "ImdsEnforcer", aws.region)
        for region in ("ap-south-1", ELSEWHERE):
            aws.fail("cloudformation:DescribeStacks", "AccessDenied", status=403, region=region)
        assert deploy.main(["destroy"]) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"Not checked for termination protection: ap-south-1, {ELSEWHERE} (An error occurred (")
        assert cli == ["destroy"]

    def test_the_remains_of_a_failed_creation_lose_their_protection(self, aws: LocalAws, cli: list[str]) -> None:
        """The CLI must delete them before it creates the stack again; stacks that were created stay protected."""
        aws.client("logs", ELSEWHERE).create_log_group(logGroupName="/there")
        template = {"Resources": {"Log": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/there"}}}}
        left = f"ImdsEnforcerForwarder-{ELSEWHERE}"
        with pytest.raises(WaiterError):
            create(aws, left, template=template, protected=True)
        create(aws, "ImdsEnforcer", aws.region, protected=True)
        assert deploy.main(["deploy", "-c", "termination_protection=true"]) == 0
        assert cli == ["bootstrap", "deploy"]
        assert not protected(aws, left, ELSEWHERE)
        assert protected(aws, "ImdsEnforcer", aws.region)


def protected(aws: LocalAws, stack: str, region: str) -> bool:
    """Whether the stack has termination protection."""
    described = aws.client("cloudformation", region).describe_stacks(StackName=stack)["Stacks"][0]
    return bool(described["EnableTerminationProtection"])


TOPIC = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}


def create(
    aws: LocalAws, stack: str, region: str = ELSEWHERE, *, template: object = TOPIC, protected: bool = False
) -> None:
    """Create a stack of this name, by default in another region."""
    cloudformation = aws.client("cloudformation", region)
    body = json.dumps(template)
    cloudformation.create_stack(StackName=stack, TemplateBody=body, EnableTerminationProtection=protected)
    cloudformation.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
