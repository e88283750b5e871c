"""The stack that outlives the others, on a local AWS: created, updated, protected, removed."""

import itertools
import json
from typing import Any

import pytest

from infra import state, state_stack
from infra.account import Account
from infra.arguments import Arguments, DeployError
from infra.local.client import LocalAws
from tests.infra.conftest import lead_to

FIRST = state.first_values(http_tokens="optional", mode="audit")
OTHER = state.first_values(http_tokens="required", mode="enforce")
TAGS = {"team": "a"}
_accounts = itertools.count(330_987_654_001)


@pytest.fixture
def aws(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> LocalAws:
    """An empty account, which the environment points to."""
    local_aws.reset()
    return lead_to(local_aws.in_account(str(next(_accounts))), monkeypatch)


@pytest.fixture
def account(aws: LocalAws) -> Account:
    """The same account, as `make deploy` sees it."""
    account = Account.of(Arguments())
    assert account.number == aws.account
    return account


def values(aws: LocalAws) -> dict[str, tuple[str, int]]:
    """Value and version of each parameter."""
    found = aws.client("ssm").get_parameters(Names=[state.HTTP_TOKENS, state.POLICY])["Parameters"]
    return {each["Name"]: (each["Value"], each["Version"]) for each in found}


def set_by_hand(aws: LocalAws) -> dict[str, tuple[str, int]]:
    """Set the toggle, and store a policy."""
    for name, value in ((state.HTTP_TOKENS, "required"), (state.POLICY, '{"rollout_percent": 5}')):
        aws.client("ssm").put_parameter(Name=name, Value=value, Overwrite=True)
    return values(aws)


def events(aws: LocalAws) -> list[str]:
    """The stack's events."""
    found = aws.client("cloudformation").describe_stack_events(StackName=state.STACK)["StackEvents"]
    return [event["EventId"] for event in found]


def stack(aws: LocalAws) -> dict[str, Any]:
    """The stack as CloudFormation describes it."""
    return dict(aws.client("cloudformation").describe_stacks(StackName=state.STACK)["Stacks"][0])


def tagged(aws: LocalAws) -> dict[str, str]:
    """The stack's tags."""
    return {each["Key"]: each["Value"] for each in stack(aws)["Tags"]}


def earlier(monkeypatch: pytest.MonkeyPatch, **properties: object) -> None:
    """Replace the template by an earlier one without the log group, and with these properties of the toggle."""
    template = state.template()
    del template["Resources"]["Log"]
    template["Resources"]["Ledger"]["DependsOn"] = ["HttpTokens", "Policy"]
    template["Resources"]["HttpTokens"]["Properties"].update(properties)
    monkeypatch.setattr(state, "template", lambda: template)


class TestCreation:
    """The first deployment."""

    def test_it_stores_the_first_values_and_is_protected(self, aws: LocalAws, account: Account) -> None:
        """It is protected against deletion and against updates of the parameters."""
        state_stack.deploy(account, FIRST, TAGS)
        assert values(aws) == {state.HTTP_TOKENS: ("optional", 1), state.POLICY: ('{"mode": "audit"}', 1)}
        assert tagged(aws) == TAGS
        assert stack(aws)["EnableTerminationProtection"]
        policy = aws.client("cloudformation").get_stack_policy(StackName=state.STACK)["StackPolicyBody"]
        assert json.loads(policy) == state.PROTECTION
        table = aws.client("dynamodb").describe_table(TableName=state.TABLE)["Table"]
        assert table["DeletionProtectionEnabled"]
        (group,) = aws.client("logs").describe_log_groups(logGroupNamePrefix=state.LOG_GROUP)["logGroups"]
        assert group["retentionInDays"] == 90

    @pytest.mark.parametrize("existing", [state.HTTP_TOKENS, state.POLICY, state.TABLE, state.LOG_GROUP])
    def test_a_failed_creation_does_not_block_the_next(self, aws: LocalAws, account: Account, existing: str) -> None:
        """The failed creation leaves nothing behind, and does not change the resource that existed before."""
        make(aws, existing)
        with pytest.raises(DeployError, match=r"the stack ImdsEnforcerState failed: .*\n  .*already"):
            state_stack.deploy(account, FIRST, {})
        assert stack(aws)["StackStatus"] == "ROLLBACK_COMPLETE"
        assert state_stack.find(account) is None
        assert values(aws) == (
            {existing: ("required", 1)}
            if existing.startswith("/imds-enforcer/h")
            else {existing: ("{}", 1)}
            if existing == state.POLICY
            else {}
        )
        remove(aws, existing)
        state_stack.deploy(account, FIRST, {})
        assert stack(aws)["StackStatus"] == "CREATE_COMPLETE"

    @pytest.mark.parametrize(
        ("call", "what"),
        [("SetStackPolicy", "stack policy"), ("UpdateTerminationProtection", "termination protection")],
    )
    def test_a_denied_protection_is_reported_and_stops_nothing(
        self, aws: LocalAws, account: Account, capsys: pytest.CaptureFixture[str], call: str, what: str
    ) -> None:
        """The bootstrap's deploy role may not set a stack policy; no update writes the parameters anyway."""
        aws.fail(f"cloudformation:{call}", "AccessDenied", status=403)
        state_stack.deploy(account, FIRST, {})
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"The {what} of ImdsEnforcerState was not set: An error occurred (AccessDenied)")
        aws.clear_faults()
        state_stack.deploy(account, FIRST, {})
        assert capsys.readouterr().err == ""

    def test_it_is_created_in_the_bootstraps_role(self, aws: LocalAws, account: Account) -> None:
        """The CDK CLI does the same: a deployer may have no permission except to assume these roles."""
        name = f"cdk-hnb659fds-deploy-role-{aws.account}-{aws.region}"
        aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        aws.reset_calls()
        state_stack.deploy(account, FIRST, {})
        assert aws.calls("cloudformation:CreateStack", caller=f"role/{name}") == 1
        assert aws.calls("cloudformation:CreateStack") == 1


class TestLater:
    """Every later deployment."""

    def test_the_same_template_is_not_deployed_again(self, aws: LocalAws, account: Account) -> None:
        """The given first values and tags do not matter."""
        state_stack.deploy(account, FIRST, TAGS)
        before, happened = set_by_hand(aws), events(aws)
        state_stack.deploy(account, OTHER, {"team": "b"})
        assert (values(aws), events(aws), tagged(aws)) == (before, happened, TAGS)

    @pytest.mark.parametrize("tags", [TAGS, {}])
    def test_a_template_that_adds_something_leaves_values_and_tags(
        self, aws: LocalAws, account: Account, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str]
    ) -> None:
        """An update sends exactly the stack's own tags, and never an empty list."""
        with monkeypatch.context() as before_it:
            earlier(before_it)
            state_stack.deploy(account, FIRST, tags)
        before = set_by_hand(aws)
        state_stack.deploy(account, OTHER, {"team": "b"})
        assert (values(aws), tagged(aws)) == (before, tags)
        assert aws.client("logs").describe_log_groups(logGroupNamePrefix=state.LOG_GROUP)["logGroups"]
        assert stack(aws)["StackStatus"] == "UPDATE_COMPLETE"

    def test_tags_set_by_hand_stay(self, aws: LocalAws, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
        """An update sends the tags that it reads from the stack."""
        with monkeypatch.context() as before_it:
            earlier(before_it)
            state_stack.deploy(account, FIRST, {})
        cloudformation = aws.client("cloudformation")
        previous = [{"ParameterKey": name, "UsePreviousValue": True} for name in FIRST]
        cloudformation.update_stack(
            StackName=state.STACK, UsePreviousTemplate=True, Parameters=previous, Tags=[{"Key": "x", "Value": "y"}]
        )
        cloudformation.get_waiter("stack_update_complete").wait(StackName=state.STACK, WaiterConfig={"Delay": 1})
        before = set_by_hand(aws)
        state_stack.deploy(account, OTHER, {})
        assert (values(aws), tagged(aws)) == (before, {"x": "y"})

    @pytest.mark.parametrize("protected", [True, False])
    def test_an_update_that_would_write_a_parameter_is_not_made(
        self, aws: LocalAws, account: Account, monkeypatch: pytest.MonkeyPatch, *, protected: bool
    ) -> None:
        """The change set shows it: this does not rely on the stack policy."""
        with monkeypatch.context() as before_it:
            earlier(before_it, Description="of another version")
            state_stack.deploy(account, FIRST, {})
        if not protected:
            allow_all = json.dumps({"Statement": [PERMIT]})
            aws.client("cloudformation").set_stack_policy(StackName=state.STACK, StackPolicyBody=allow_all)
        before = set_by_hand(aws)
        with pytest.raises(DeployError, match="would write HttpTokens again, and a value set by hand would be lost"):
            state_stack.deploy(account, OTHER, {})
        assert values(aws) == before
        assert aws.client("cloudformation").list_change_sets(StackName=state.STACK)["Summaries"] == []

    def test_a_template_in_which_only_a_description_differs_changes_nothing(
        self, aws: LocalAws, account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """CloudFormation finds no change in it, which is not a failure."""
        state_stack.deploy(account, FIRST, {})
        before = set_by_hand(aws)
        template = {**state.template(), "Description": "another"}
        monkeypatch.setattr(state, "template", lambda: template)
        state_stack.deploy(account, FIRST, {})
        assert values(aws) == before

    def test_a_stack_with_a_pending_operation_is_left_alone(self, aws: LocalAws, account: Account) -> None:
        """In this test the operation is an import that has not been executed."""
        make(aws, state.LOG_GROUP)
        aws.client("cloudformation").create_change_set(
            StackName=state.STACK,
            ChangeSetName="adopt",
            ChangeSetType="IMPORT",
            TemplateBody=json.dumps(state.template_of(["Log"])),
            ResourcesToImport=[
                {
                    "ResourceType": "AWS::Logs::LogGroup",
                    "LogicalResourceId": "Log",
                    "ResourceIdentifier": {"LogGroupName": state.LOG_GROUP},
                }
            ],
        )
        with pytest.raises(DeployError, match="ImdsEnforcerState is REVIEW_IN_PROGRESS; allowed: CREATE_COMPLETE, "):
            state_stack.deploy(account, FIRST, {})


class TestRemoval:
    """`make destroy-state`."""

    def test_nothing_is_left(self, aws: LocalAws, account: Account) -> None:
        """The removal lifts both protections. A second removal does nothing."""
        state_stack.deploy(account, FIRST, {})
        for _ in range(2):
            state_stack.remove(account)
            assert state_stack.find(account) is None
            assert values(aws) == {}
            assert aws.client("dynamodb").list_tables()["TableNames"] == []
            assert aws.client("logs").describe_log_groups()["logGroups"] == []

    def test_an_interrupted_removal_can_be_continued(self, aws: LocalAws, account: Account) -> None:
        """The stack is gone, but a resource is left."""
        state_stack.deploy(account, FIRST, {})
        aws.fail("dynamodb:DeleteTable", "InternalServerError", calls=3)
        with pytest.raises(Exception, match="InternalServerError"):
            state_stack.remove(account)
        assert aws.client("dynamodb").list_tables()["TableNames"] == [state.TABLE]
        aws.clear_faults()
        state_stack.remove(account)
        assert aws.client("dynamodb").list_tables()["TableNames"] == []


PERMIT = {"Effect": "Allow", "Principal": "*", "Action": "Update:*", "Resource": "*"}


def make(aws: LocalAws, name: str) -> None:
    """Create one of the resources by hand."""
    if name == state.TABLE:
        aws.client("dynamodb").create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    elif name == state.LOG_GROUP:
        aws.client("logs").create_log_group(logGroupName=name)
    else:
        value = "required" if name == state.HTTP_TOKENS else "{}"
        aws.client("ssm").put_parameter(Name=name, Value=value, Type="String")


def remove(aws: LocalAws, name: str) -> None:
    """Delete it again."""
    if name == state.TABLE:
        aws.client("dynamodb").delete_table(TableName=name)
    elif name == state.LOG_GROUP:
        aws.client("logs").delete_log_group(logGroupName=name)
    else:
        aws.client("ssm").delete_parameter(Name=name)
