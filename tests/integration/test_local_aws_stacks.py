"""CloudFormation, as far as resources that outlive a stack depend on it."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from infra.local.client import LocalAws

STACK = "kept"
QUICK = {"Delay": 1, "MaxAttempts": 30}
POLICY = json.dumps(
    {
        "Statement": [
            {"Effect": "Allow", "Action": "Update:*", "Principal": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": "Update:*", "Principal": "*", "Resource": ["LogicalResourceId/Toggle"]},
        ]
    }
)
KEYS: dict[str, Any] = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}


def kept(kind: str, **properties: object) -> dict[str, object]:
    """A resource that outlives its stack, unless the creation of the stack fails."""
    return {
        "Type": kind,
        "DeletionPolicy": "RetainExceptOnCreate",
        "UpdateReplacePolicy": "Retain",
        "Properties": properties,
    }


TOGGLE: dict[str, Any] = kept("AWS::SSM::Parameter", Name="/toggle", Type="String", Value={"Ref": "First"})
LOG = kept("AWS::Logs::LogGroup", LogGroupName="/log")
TABLE = kept("AWS::DynamoDB::Table", TableName="ledger", DeletionProtectionEnabled=True, **KEYS)


def template(**resources: object) -> str:
    """A template with a parameter that has no default."""
    return json.dumps({"Parameters": {"First": {"Type": "String"}}, "Resources": resources})


class Stacks:
    """One stack of an account."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.client = aws.client("cloudformation")

    def create(self, *, body: str = "", **more: object) -> None:
        """Create the stack, by default with the toggle."""
        self.client.create_stack(StackName=STACK, TemplateBody=body or template(Toggle=TOGGLE), **first("a"), **more)
        self.wait("create")

    def update(self, *, body: str = "", **more: object) -> None:
        """Update it."""
        named = {"TemplateBody": body} if body else {"UsePreviousTemplate": True}
        self.client.update_stack(StackName=STACK, **named, **more)
        self.wait("update")

    def wait(self, action: str) -> None:
        """Wait for the end of the operation."""
        self.client.get_waiter(f"stack_{action}_complete").wait(StackName=STACK, WaiterConfig=QUICK)

    def described(self) -> dict[str, Any]:
        """The stack as DescribeStacks shows it."""
        return dict(self.client.describe_stacks(StackName=STACK)["Stacks"][0])

    def toggle(self) -> tuple[str, int]:
        """The parameter's value and version."""
        parameter = self.aws.client("ssm").get_parameter(Name="/toggle")["Parameter"]
        return parameter["Value"], parameter["Version"]

    def turn(self, value: str) -> tuple[str, int]:
        """Change the parameter by hand."""
        self.aws.client("ssm").put_parameter(Name="/toggle", Value=value, Overwrite=True)
        return self.toggle()


@pytest.fixture
def stacks(aws: LocalAws) -> Stacks:
    """An account without a stack."""
    return Stacks(aws)


def first(value: str) -> dict[str, Any]:
    """The template's parameter."""
    return {"Parameters": [{"ParameterKey": "First", "ParameterValue": value}]}


PREVIOUS: dict[str, Any] = {"Parameters": [{"ParameterKey": "First", "UsePreviousValue": True}]}
TAGS = [{"Key": "team", "Value": "x"}]


class TestUpdates:
    """Which updates write a parameter again."""

    def test_a_changed_property_writes_the_value_again(self, stacks: Stacks) -> None:
        """CloudFormation User Guide, AWS::SSM::Parameter: an update without interruption, which puts all properties."""
        stacks.create()
        stacks.turn("b")
        described = {**TOGGLE, "Properties": {**TOGGLE["Properties"], "Description": "new"}}
        stacks.update(body=template(Toggle=described), **PREVIOUS)
        assert stacks.toggle()[0] == "a"

    def test_a_tag_of_the_stack_writes_the_value_again(self, stacks: Stacks) -> None:
        """CloudFormation adds tags of the stack to its resources."""
        stacks.create()
        stacks.turn("b")
        stacks.update(Tags=TAGS, **PREVIOUS)
        assert stacks.toggle()[0] == "a"
        assert stacks.described()["Tags"] == TAGS

    def test_a_policy_does_not_stop_a_tag(self, stacks: Stacks) -> None:
        """The documents do not say whether it does, so nothing may rely on it."""
        stacks.create(StackPolicyBody=POLICY)
        stacks.turn("b")
        stacks.update(Tags=TAGS, **PREVIOUS)
        assert stacks.toggle()[0] == "a"

    def test_tags_that_are_left_out_stay(self, stacks: Stacks) -> None:
        """API reference, UpdateStack: without the parameter they stay; an empty list removes them."""
        stacks.create(Tags=TAGS)
        turned = stacks.turn("b")
        stacks.update(body=template(Toggle=TOGGLE, Log=LOG), **PREVIOUS)
        assert (stacks.described()["Tags"], stacks.toggle()) == (TAGS, turned)
        stacks.update(Tags=[], **PREVIOUS)
        assert (stacks.described()["Tags"], stacks.toggle()[0]) == ([], "a")

    def test_an_update_without_values_is_refused(self, stacks: Stacks) -> None:
        """Each parameter without a default needs a value, or UsePreviousValue."""
        stacks.create()
        with pytest.raises(ClientError, match="ValidationError"):
            stacks.update(Tags=TAGS)

    def test_reverting_drift_writes_the_value_again(self, stacks: Stacks) -> None:
        """User Guide, drift-aware change sets: DeploymentMode REVERT_DRIFT brings resources in line."""
        stacks.create()
        stacks.turn("b")
        for mode, expected in (({}, "b"), ({"DeploymentMode": "REVERT_DRIFT"}, "a")):
            answer = stacks.client.create_change_set(
                StackName=STACK, ChangeSetName="drift", UsePreviousTemplate=True, **PREVIOUS, **mode
            )
            described = stacks.client.describe_change_set(ChangeSetName=answer["Id"])
            if mode:
                assert [each["ResourceChange"]["LogicalResourceId"] for each in described["Changes"]] == ["Toggle"]
                stacks.client.execute_change_set(ChangeSetName=answer["Id"])
                stacks.wait("update")
            else:
                assert described["Status"] == "FAILED"
                stacks.client.delete_change_set(ChangeSetName=answer["Id"])
            assert stacks.toggle()[0] == expected


class TestPolicies:
    """User Guide, 'Prevent updates to stack resources': a denied update fails, and rolls the stack back."""

    @pytest.mark.parametrize(
        "resources",
        [
            {"Toggle": {**TOGGLE, "Properties": {**TOGGLE["Properties"], "Description": "x"}}},
            {"Log": LOG},
        ],
        ids=["changed", "removed"],
    )
    def test_a_denied_update_changes_nothing(self, stacks: Stacks, resources: dict[str, object]) -> None:
        """A change or removal is denied from the first update on."""
        stacks.create(StackPolicyBody=POLICY)
        turned = stacks.turn("b")
        with pytest.raises(WaiterError):
            stacks.update(body=template(**resources), **PREVIOUS)
        assert stacks.described()["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
        assert stacks.toggle() == turned

    def test_the_rest_may_change(self, stacks: Stacks) -> None:
        """The same holds for a policy that is set later."""
        stacks.create()
        stacks.client.set_stack_policy(StackName=STACK, StackPolicyBody=POLICY)
        assert json.loads(stacks.client.get_stack_policy(StackName=STACK)["StackPolicyBody"]) == json.loads(POLICY)
        turned = stacks.turn("b")
        stacks.update(body=template(Toggle=TOGGLE, Log=LOG), **PREVIOUS)
        assert stacks.toggle() == turned
        assert stacks.aws.client("logs").describe_log_groups(logGroupNamePrefix="/log")["logGroups"]

    def test_an_update_may_have_its_own_policy(self, stacks: Stacks) -> None:
        """API reference, UpdateStack, StackPolicyDuringUpdateBody: for this update alone."""
        stacks.create(StackPolicyBody=POLICY)
        allow_all = json.dumps({"Statement": json.loads(POLICY)["Statement"][:1]})
        stacks.update(**first("b"), StackPolicyDuringUpdateBody=allow_all)
        assert stacks.toggle()[0] == "b"
        with pytest.raises(WaiterError):
            stacks.update(**first("c"))
        assert stacks.toggle()[0] == "b"


class TestCreations:
    """What a failed creation leaves behind."""

    @pytest.mark.parametrize(
        ("existing", "resource"),
        [
            ("table", TABLE),
            ("log group", LOG),
            ("rule", {"Type": "AWS::Events::Rule", "Properties": {"Name": "r", "EventPattern": {"source": ["x"]}}}),
            (
                "schedule",
                {
                    "Type": "AWS::Scheduler::Schedule",
                    "Properties": {
                        "Name": "s",
                        "ScheduleExpression": "rate(1 day)",
                        "FlexibleTimeWindow": {"Mode": "OFF"},
                        "Target": {"Arn": "arn:aws:sqs:eu-west-1:000000000000:q", "RoleArn": "arn:aws:iam::0:role/r"},
                    },
                },
            ),
        ],
    )
    def test_an_existing_name_fails_and_what_was_created_is_deleted(
        self, stacks: Stacks, existing: str, resource: dict[str, Any]
    ) -> None:
        """User Guide, DeletionPolicy: RetainExceptOnCreate does not keep what a failed creation made."""
        make(stacks.aws, existing)
        body = template(Toggle=TOGGLE, Late={**resource, "DependsOn": "Toggle"})
        with pytest.raises(WaiterError):
            stacks.create(body=body)
        assert stacks.described()["StackStatus"] == "ROLLBACK_COMPLETE"
        with pytest.raises(ClientError, match="ParameterNotFound"):
            stacks.toggle()

    def test_a_protected_table_blocks_the_rollback(self, stacks: Stacks) -> None:
        """DynamoDB refuses every request to delete it."""
        make(stacks.aws, "log group")
        with pytest.raises(WaiterError):
            stacks.create(body=template(Ledger=TABLE, Late={**LOG, "DependsOn": "Ledger"}))
        assert stacks.described()["StackStatus"] == "ROLLBACK_FAILED"


class TestEnds:
    """Deleting the stack, and importing the retained resources into another."""

    def test_termination_protection_refuses(self, stacks: Stacks) -> None:
        """Until it is disabled."""
        stacks.create(EnableTerminationProtection=True)
        assert stacks.described()["EnableTerminationProtection"]
        with pytest.raises(ClientError, match="TerminationProtection is enabled"):
            stacks.client.delete_stack(StackName=STACK)
        stacks.client.update_termination_protection(StackName=STACK, EnableTerminationProtection=False)
        stacks.client.delete_stack(StackName=STACK)
        stacks.wait("delete")

    def test_retained_resources_outlive_the_stack_and_are_imported_unchanged(self, stacks: Stacks) -> None:
        """User Guide, 'Import AWS resources': an import changes no resource, even if the template's values differ."""
        everything = {"Toggle": TOGGLE, "Log": LOG, "Ledger": TABLE}
        stacks.create(body=template(**everything))
        turned = stacks.turn("b")
        stacks.client.delete_stack(StackName=STACK)
        stacks.wait("delete")
        with pytest.raises(WaiterError):
            stacks.create(body=template(**everything))
        stacks.client.delete_stack(StackName=STACK)
        stacks.wait("delete")
        names = {"Toggle": ("Name", "/toggle"), "Log": ("LogGroupName", "/log"), "Ledger": ("TableName", "ledger")}
        stacks.client.create_change_set(
            StackName=STACK,
            ChangeSetName="adopt",
            ChangeSetType="IMPORT",
            TemplateBody=template(**everything),
            ResourcesToImport=[
                {"ResourceType": everything[each]["Type"], "LogicalResourceId": each, "ResourceIdentifier": {key: name}}
                for each, (key, name) in names.items()
            ],
            **first("c"),
        )
        stacks.client.execute_change_set(StackName=STACK, ChangeSetName="adopt")
        stacks.client.get_waiter("stack_import_complete").wait(StackName=STACK, WaiterConfig=QUICK)
        assert stacks.toggle() == turned


def make(aws: LocalAws, what: str) -> None:
    """Create a resource by hand with the name of one in a template."""
    match what:
        case "table":
            aws.client("dynamodb").create_table(TableName="ledger", **KEYS)
        case "log group":
            aws.client("logs").create_log_group(logGroupName="/log")
        case "rule":
            aws.client("events").put_rule(Name="r", EventPattern='{"source": ["y"]}')
        case _:
            aws.client("scheduler").create_schedule(
                Name="s",
                ScheduleExpression="rate(1 day)",
                FlexibleTimeWindow={"Mode": "OFF"},
                Target={"Arn": "arn:aws:sqs:eu-west-1:000000000000:q", "RoleArn": "arn:aws:iam::0:role/r"},
            )
