"""`make destroy` and `make destroy-state` when stacks are missing, half deleted, busy or denied."""

import io
import itertools
import json
from typing import Any

import pytest

from infra import checks, deploy, state, state_stack
from infra.account import Account
from infra.arguments import Arguments, DeployError
from infra.local.client import LocalAws
from tests.infra.conftest import lead_to, typed
from tests.infra.test_state_stack import make, stack, values

FIRST = state.first_values(http_tokens="required", mode="enforce")
DENIED = "AccessDeniedException"
PROTECTED = {
    "Type": "AWS::DynamoDB::Table",
    "Properties": {
        "TableName": "protected",
        "DeletionProtectionEnabled": True,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
}
"""A resource that CloudFormation cannot delete."""
_accounts = itertools.count(390_987_654_001)


@pytest.fixture
def aws(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> LocalAws:
    """An empty account, which the environment points to, without a terminal; the removal is confirmed."""
    local_aws.reset()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setenv("CONFIRM", state.STACK)
    return lead_to(local_aws.in_account(str(next(_accounts))), monkeypatch)


@pytest.fixture
def kept(aws: LocalAws) -> LocalAws:
    """The account with the state of an earlier deployment."""
    state_stack.deploy(Account.of(Arguments()), FIRST, {})
    return aws


def create(aws: LocalAws, name: str, resource: object = PROTECTED) -> None:
    """Create a stack of this name."""
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": {"Its": resource}}))
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def busy(_cloudformation: Any, _stack: str) -> dict[str, str]:
    """A stack with an update in progress."""
    return {"StackStatus": "UPDATE_IN_PROGRESS"}


def refused(command: str) -> str:
    """Why the command refuses, or fails."""
    with pytest.raises(DeployError) as error:
        deploy.main([command])
    return str(error.value)


def left(aws: LocalAws) -> set[str]:
    """The remaining resources of those that outlive their stack."""
    tables = aws.client("dynamodb").list_tables()["TableNames"]
    groups = aws.client("logs").describe_log_groups(logGroupNamePrefix=state.LOG_GROUP)["logGroups"]
    return {*values(aws), *tables, *(group["logGroupName"] for group in groups)}


ALL = {each.name for each in state.RESOURCES}


class TestDestroy:
    """What the CDK CLI does not report."""

    def test_a_missing_home_is_reported(
        self, aws: LocalAws, cli: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """For example in the wrong region; the CLI still runs, as forwarders may be left."""
        assert deploy.main(["destroy"]) == 0
        wanted = f"There is no stack ImdsEnforcer in {aws.region} in account {aws.account}.\n"
        assert capsys.readouterr().out == wanted
        assert cli == ["destroy"]

    def test_an_existing_home_is_not_called_missing(
        self, kept: LocalAws, cli: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The state that outlives it is named."""
        create(kept, checks.HOME)
        assert deploy.main(["destroy"]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith(f"Kept in {kept.region}, in the stack ImdsEnforcerState: ")
        assert cli == ["destroy"]

    @pytest.mark.usefixtures("aws")
    def test_a_busy_home_is_left_alone(self, cli: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """The refusal comes before any stack is removed."""
        monkeypatch.setattr(checks, "described", busy)
        assert refused("destroy").startswith("nothing was removed: the stack ImdsEnforcer in ")
        assert refused("destroy").endswith(" is UPDATE_IN_PROGRESS; wait until that operation ends")
        assert cli == []

    def test_denied_checks_are_reported_and_do_not_stop_it(
        self, kept: LocalAws, cli: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The CLI decides."""
        kept.fail("cloudformation:DescribeStacks", "AccessDenied", status=403)
        assert deploy.main(["destroy"]) == 0
        said = capsys.readouterr()
        assert [line.split(":")[0] for line in said.err.splitlines()] == [
            "Not checked for termination protection",
            "The stack ImdsEnforcer was not checked",
            "The stack ImdsEnforcerState was not checked",
        ]
        assert said.out == ""
        assert cli == ["destroy"]

    @pytest.mark.usefixtures("kept")
    def test_a_failure_of_the_cli_is_passed_on(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The CLI names the resource; the script does not report what was kept."""
        monkeypatch.setattr(deploy, "_cli", lambda *_: 3)
        assert deploy.main(["destroy"]) == 3
        assert "Kept" not in capsys.readouterr().out


class TestDestroyState:
    """It deletes all of the state, or says what is left and why."""

    def test_only_what_existed_is_called_deleted(self, kept: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
        """The second time, that is nothing."""
        kept.client("logs").delete_log_group(logGroupName=state.LOG_GROUP)
        assert deploy.main(["destroy-state"]) == 0
        where = f"in {kept.region} in account {kept.account}"
        rest = f"{state.STACK}, {state.HTTP_TOKENS}, {state.POLICY}, {state.TABLE}"
        assert capsys.readouterr().out.splitlines()[-1] == f"Deleted {where}: {rest}."
        assert deploy.main(["destroy-state"]) == 0
        assert capsys.readouterr().out == f"There is nothing to delete {where}.\n"

    @pytest.mark.parametrize("answer", [f"{state.STACK}\n", "yes\n", ""])
    def test_on_a_terminal_the_deployer_is_asked(
        self, kept: LocalAws, monkeypatch: pytest.MonkeyPatch, answer: str
    ) -> None:
        """Only the stack's name confirms the removal; end of input does not."""
        monkeypatch.delenv("CONFIRM")
        typed(monkeypatch, answer)
        if answer.strip() == state.STACK:
            assert deploy.main(["destroy-state"]) == 0
            assert left(kept) == set()
        else:
            wanted = f"nothing was deleted: the confirmation is {answer.strip()!r}; allowed: ImdsEnforcerState"
            assert refused("destroy-state") == wanted
            assert left(kept) == ALL

    def test_a_home_that_is_half_deleted_is_still_there(self, kept: LocalAws) -> None:
        """Its function would lose its state."""
        create(kept, checks.HOME)
        cloudformation = kept.client("cloudformation")
        cloudformation.delete_stack(StackName=checks.HOME)
        with pytest.raises(Exception, match="DELETE_FAILED"):
            cloudformation.get_waiter("stack_delete_complete").wait(StackName=checks.HOME, WaiterConfig={"Delay": 1})
        where = f"{kept.region} in account {kept.account}"
        assert refused("destroy-state") == (
            f"the stack ImdsEnforcer is still in {where} (DELETE_FAILED); remove it first: make destroy"
        )
        assert left(kept) >= ALL

    def test_a_busy_stack_is_left_alone(self, kept: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
        """It stays protected."""
        monkeypatch.setattr(checks, "described", busy)
        assert refused("destroy-state").endswith(" is UPDATE_IN_PROGRESS; wait until that operation ends")
        assert stack(kept)["EnableTerminationProtection"]
        assert left(kept) == ALL

    def test_a_stack_that_cannot_be_deleted_says_why(self, aws: LocalAws) -> None:
        """Nothing else is deleted then; without the obstacle, the next attempt deletes everything."""
        make(aws, state.POLICY)
        create(aws, state.STACK)
        for _ in range(2):
            why = refused("destroy-state").splitlines()
            assert why[0].startswith("the stack ImdsEnforcerState failed: ")
            assert why[1].startswith("  Its: Resource cannot be deleted as it is currently protected against deletion")
            assert left(aws) == {state.POLICY, "protected"}
        aws.client("dynamodb").update_table(TableName="protected", DeletionProtectionEnabled=False)
        assert deploy.main(["destroy-state"]) == 0
        assert left(aws) == set()

    @pytest.mark.parametrize("call", ["DescribeStacks", "UpdateTerminationProtection", "DeleteStack"])
    def test_what_cloudformation_denies_is_named(self, kept: LocalAws, call: str) -> None:
        """Nothing is deleted."""
        kept.fail(f"cloudformation:{call}", "AccessDenied", status=403)
        assert f"An error occurred (AccessDenied) when calling the {call} operation" in refused("destroy-state")
        kept.clear_faults()
        assert left(kept) == ALL
        assert stack(kept)["StackStatus"] == "CREATE_COMPLETE"

    @pytest.mark.parametrize(
        ("call", "rest"),
        [
            ("ssm:DeleteParameters", {state.HTTP_TOKENS, state.POLICY}),
            ("logs:DeleteLogGroup", {state.LOG_GROUP}),
            ("dynamodb:DescribeTable", {state.TABLE}),
            ("dynamodb:UpdateTable", {state.TABLE}),
            ("dynamodb:DeleteTable", {state.TABLE}),
        ],
    )
    def test_a_resource_whose_deletion_is_denied_is_named(self, kept: LocalAws, call: str, rest: set[str]) -> None:
        """The others are deleted; with the permission, the next attempt deletes the rest."""
        kept.fail(call, DENIED, status=400)
        done, denied, way = refused("destroy-state").splitlines()
        deleted = done.removeprefix(f"deleted in {kept.region}: ").removesuffix(". Denied with these credentials:")
        assert {*deleted.split(", ")} == {state.STACK, *ALL} - rest
        action = call.split(":")[1]
        names, _, why = denied.strip().partition(": ")
        assert {*names.split(", ")} == rest
        assert why.startswith(f"An error occurred ({DENIED}) when calling the {action} operation")
        assert "`make destroy-state` deletes the rest" in way
        kept.clear_faults()
        assert left(kept) == rest
        assert deploy.main(["destroy-state"]) == 0
        assert left(kept) == set()
