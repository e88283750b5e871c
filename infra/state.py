"""The stack that outlives the others: toggle, policy, ledger and log, by names that everything else refers to.

Its template is plain CloudFormation, written down here and not made by the CDK. CloudFormation writes a
parameter's value again whenever one of its properties changes, a tag of the stack included, and what was set by
hand is lost. So this template must be the same in every version, and no `cdk deploy` may reach it: it is not in
the CDK app, and `infra.state_stack` alone deploys it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

STACK = "ImdsEnforcerState"
HTTP_TOKENS = "/imds-enforcer/http-tokens"
POLICY = "/imds-enforcer/policy"
TABLE = "imds-enforcer-ledger"
LOG_GROUP = "/imds-enforcer/function"

BY_RUN = "by-run"
BY_MONTH = "by-month"
OPEN = "open"
"""The index of intents without an outcome: only they carry its key, whose value is the region."""

Template = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """One resource of the stack: what it is called there and in AWS, and how an import names it."""

    logical_id: str
    kind: str
    name: str
    identifier: str


RESOURCES = (
    Kept("HttpTokens", "AWS::SSM::Parameter", HTTP_TOKENS, "Name"),
    Kept("Policy", "AWS::SSM::Parameter", POLICY, "Name"),
    Kept("Ledger", "AWS::DynamoDB::Table", TABLE, "TableName"),
    Kept("Log", "AWS::Logs::LogGroup", LOG_GROUP, "LogGroupName"),
)
PARAMETERS = frozenset({"HttpTokens", "Policy"})
"""The logical ids of the two that people change by hand."""

PROTECTION = {
    "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "Update:*", "Resource": "*"},
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "Update:*",
            "Resource": [f"LogicalResourceId/{each}" for each in sorted(PARAMETERS)],
        },
    ]
}
"""The stack policy. Whether it stops a change of tags alone is open (User Guide, 'Prevent updates to stack
resources'), so nothing relies on it alone."""


def template() -> Template:
    """The whole template. Its parameters have no defaults: an update that forgets them is refused."""
    return {
        "Description": "Outlives the stack ImdsEnforcer: toggle, policy, ledger, log. Update it with previous values.",
        "Parameters": {
            "FirstHttpTokens": {
                "Type": "String",
                "AllowedValues": ["required", "optional"],
                "Description": f"First value of {HTTP_TOKENS}, when the stack is created",
            },
            "FirstPolicy": {"Type": "String", "Description": f"First value of {POLICY}, when the stack is created"},
        },
        "Resources": {each.logical_id: _resource(each) for each in RESOURCES},
    }


def template_of(logical_ids: Iterable[str]) -> Template:
    """The template with these resources only, for the import of what exists."""
    chosen = {*logical_ids}
    whole = template()
    whole["Resources"] = {name: resource for name, resource in whole["Resources"].items() if name in chosen}
    if "Ledger" in chosen:
        whole["Resources"]["Ledger"]["DependsOn"] = sorted(chosen & {*whole["Resources"]["Ledger"]["DependsOn"]})
    whole["Parameters"] = {f"First{name}": whole["Parameters"][f"First{name}"] for name in sorted(PARAMETERS & chosen)}
    return {section: content for section, content in whole.items() if content}


def first_values(*, http_tokens: str, mode: str) -> dict[str, str]:
    """The template's parameters at its creation."""
    policy = {} if mode == "enforce" else {"mode": mode}
    return {"FirstHttpTokens": http_tokens, "FirstPolicy": json.dumps(policy)}


def _resource(kept: Kept) -> Template:
    dependencies: Mapping[str, Any] = {}
    if kept.logical_id == "Ledger":
        # Its deletion protection holds in a rollback too, so it is created when nothing else can fail any more.
        dependencies = {"DependsOn": [each.logical_id for each in RESOURCES if each.logical_id != kept.logical_id]}
    return {
        "Type": kept.kind,
        # A creation that rolls back leaves nothing that would be in the way of the next.
        "DeletionPolicy": "RetainExceptOnCreate",
        "UpdateReplacePolicy": "Retain",
        **dependencies,
        "Properties": {kept.identifier: kept.name, **_PROPERTIES[kept.logical_id]},
    }


def _keys(partition: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]


_INDEXES = {BY_RUN: "run_id", BY_MONTH: "month", OPEN: "open"}
_PROPERTIES: Mapping[str, Mapping[str, Any]] = {
    "HttpTokens": {
        "Type": "String",
        "Value": {"Ref": "FirstHttpTokens"},
        "AllowedPattern": "^(required|optional)$",
    },
    # Standard up to 4 KB, advanced up to 8 KB: the tier follows the size of the policy by itself.
    "Policy": {"Type": "String", "Value": {"Ref": "FirstPolicy"}, "Tier": "Intelligent-Tiering"},
    "Log": {"RetentionInDays": 90},
    # The ledger and the holds, with the three other ways in which the ledger is read. The options from before each
    # change are nowhere else: without the table there is no way back.
    "Ledger": {
        "KeySchema": _keys("pk"),
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", *_INDEXES.values())
        ],
        "GlobalSecondaryIndexes": [
            {"IndexName": name, "KeySchema": _keys(key), "Projection": {"ProjectionType": "ALL"}}
            for name, key in _INDEXES.items()
        ],
        "BillingMode": "PAY_PER_REQUEST",
        "SSESpecification": {"SSEEnabled": True},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        # Ledger items carry it, holds never: those end when a person says so.
        "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
        "DeletionProtectionEnabled": True,
    },
}
