from typing import Any

import pytest

from imds_enforcer_cli.account import connection
from imds_enforcer_cli.account.parameters import TOKENS_PATTERN
from infra import state
from infra.local.ledger_table import INDEXES
from tests.infra.synthesized import Synthesize

RETAINED = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
TEMPLATE: dict[str, Any] = {
    "Description": "Outlives the stack ImdsEnforcer: toggle, policy, ledger, log. Update it with previous values.",
    "Parameters": {
        "FirstHttpTokens": {
            "Type": "String",
            "AllowedValues": ["required", "optional"],
            "Description": "First value of /imds-enforcer/http-tokens, when the stack is created",
        },
        "FirstPolicy": {
            "Type": "String",
            "Description": "First value of /imds-enforcer/policy, when the stack is created",
        },
    },
    "Resources": {
        "HttpTokens": {
            "Type": "AWS::SSM::Parameter",
            **RETAINED,
            "Properties": {
                "Name": "/imds-enforcer/http-tokens",
                "Type": "String",
                "Value": {"Ref": "FirstHttpTokens"},
                "AllowedPattern": "^(required|optional)$",
            },
        },
        "Policy": {
            "Type": "AWS::SSM::Parameter",
            **RETAINED,
            "Properties": {
                "Name": "/imds-enforcer/policy",
                "Type": "String",
                "Value": {"Ref": "FirstPolicy"},
                "Tier": "Intelligent-Tiering",
            },
        },
        "Ledger": {
            "Type": "AWS::DynamoDB::Table",
            **RETAINED,
            "DependsOn": ["HttpTokens", "Policy", "Log"],
            "Properties": {
                "TableName": "imds-enforcer-ledger",
                "KeySchema": [
                    {"AttributeName": "pk", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                "AttributeDefinitions": [
                    {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "run_id", "month", "open")
                ],
                "GlobalSecondaryIndexes": [
                    {
                        "IndexName": name,
                        "KeySchema": [
                            {"AttributeName": key, "KeyType": "HASH"},
                            {"AttributeName": "sk", "KeyType": "RANGE"},
                        ],
                        "Projection": {"ProjectionType": "ALL"},
                    }
                    for name, key in (("by-run", "run_id"), ("by-month", "month"), ("open", "open"))
                ],
                "BillingMode": "PAY_PER_REQUEST",
                "SSESpecification": {"SSEEnabled": True},
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
                "DeletionProtectionEnabled": True,
            },
        },
        "Log": {
            "Type": "AWS::Logs::LogGroup",
            **RETAINED,
            "Properties": {"LogGroupName": "/imds-enforcer/function", "RetentionInDays": 90},
        },
    },
}


def test_the_template_is_frozen() -> None:
    """CloudFormation resets a value set by hand when any property changes: this template must stay as it is.

    Its parameters have no defaults, so that CloudFormation refuses an update without them. The table is created last,
    when nothing else can fail, because its deletion protection also holds in a rollback.
    """
    assert state.template() == TEMPLATE


def test_the_stack_policy_denies_every_update_of_both_parameters() -> None:
    """It denies nothing else."""
    assert state.PROTECTION == {
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "Update:*", "Resource": "*"},
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "Update:*",
                "Resource": ["LogicalResourceId/HttpTokens", "LogicalResourceId/Policy"],
            },
        ]
    }


def test_the_command_keeps_the_toggles_allowed_pattern() -> None:
    """Its writes send the same pattern."""
    assert TEMPLATE["Resources"]["HttpTokens"]["Properties"]["AllowedPattern"] == TOKENS_PATTERN


def test_the_command_knows_the_names_of_stack_and_table() -> None:
    """It finds them without the home stack."""
    assert (connection.STATE_STACK, connection.LEDGER_TABLE) == (state.STACK, state.TABLE)


def test_the_table_without_a_stack_has_the_same_indexes() -> None:
    """Tests and benchmarks that need no deployment work on a table like the deployed one."""
    indexes = TEMPLATE["Resources"]["Ledger"]["Properties"]["GlobalSecondaryIndexes"]
    assert {index["IndexName"]: index["KeySchema"][0]["AttributeName"] for index in indexes} == INDEXES


@pytest.mark.parametrize(
    ("http_tokens", "mode", "policy"), [("required", "enforce", "{}"), ("optional", "audit", '{"mode": "audit"}')]
)
def test_the_first_values(http_tokens: str, mode: str, policy: str) -> None:
    """Each of the template's parameters has a first value."""
    values = state.first_values(http_tokens=http_tokens, mode=mode)
    assert values == {"FirstHttpTokens": http_tokens, "FirstPolicy": policy}
    assert values.keys() == TEMPLATE["Parameters"].keys()


def test_no_stack_of_the_app_has_its_resources(synthesize: Synthesize) -> None:
    """So no argument, file or variable of the CDK CLI can reach them; the app only refers to their names."""
    assembly = synthesize(regions=["us-east-1"])
    assert state.STACK not in {stack.stack_name for stack in assembly.stacks}
    kinds = {resource["Type"] for stack in assembly.stacks for resource in stack.template["Resources"].values()}
    assert kinds.isdisjoint(each.kind for each in state.RESOURCES)


def test_first_values_change_no_template_of_the_app(synthesize: Synthesize) -> None:
    """They concern only the state stack."""
    plain, audited = synthesize(), synthesize(http_tokens="optional", mode="audit")
    assert plain.get_stack_by_name("ImdsEnforcer").template == audited.get_stack_by_name("ImdsEnforcer").template


class TestTemplateOf:
    """A part of the template, to import existing resources."""

    def test_a_part_has_the_parameters_it_needs(self) -> None:
        """Its dependencies are within the part."""
        part = state.template_of(["Ledger", "Policy"])
        assert part["Resources"].keys() == {"Ledger", "Policy"}
        assert part["Parameters"].keys() == {"FirstPolicy"}
        assert part["Resources"]["Ledger"]["DependsOn"] == ["Policy"]

    def test_a_part_without_parameters_has_no_such_section(self) -> None:
        """CloudFormation rejects an empty one."""
        assert {*state.template_of(["Log"])} == {"Description", "Resources"}

    def test_all_of_it_is_the_template(self) -> None:
        """A part with every resource is the deployed template."""
        whole = state.template_of(each.logical_id for each in state.RESOURCES)
        assert whole["Resources"]["Ledger"].pop("DependsOn") == ["HttpTokens", "Log", "Policy"]
        expected = state.template()
        del expected["Resources"]["Ledger"]["DependsOn"]
        assert whole == expected
