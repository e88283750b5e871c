"""Builds the service control policy (SCP) that denies what would bypass a policy.

An SCP binds every user and role of the accounts to which it is attached. It binds neither service-linked roles nor the
management account (Organizations User Guide, "Service control policies").
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from imds_enforcer.model import HttpTokens
from imds_enforcer.policy import Policy, RegionSelection
from imds_enforcer_cli.guardrails.tag_keys import exempting_tag_keys

QUOTA = 10_240
"""How many characters an SCP may have, white space included (Organizations User Guide, "Quotas and service limits")."""

FORMER_QUOTA = 5_120
"""The earlier quota, which may still apply in some places."""

Condition = Mapping[str, Mapping[str, str | Sequence[str]]]

_REQUIRED = "required"


class TooLongError(ValueError):
    """The document is longer than Organizations accepts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The roles that the SCP lets through, as ARNs in which `*` stands for any text."""

    enforcer: str
    operators: Sequence[str]
    deployers: Sequence[str] = ()

    @property
    def partition(self) -> str:
        """The partition of all these ARNs."""
        return self.enforcer.split(":")[1]


@dataclass(frozen=True, slots=True)
class State:
    """The resources that outlive the enforcer's stack, by name."""

    parameters: Sequence[str]
    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement that denies calls, and the reason for it."""

    sid: str
    reason: str
    actions: Sequence[str]
    resources: Sequence[str]
    condition: Condition = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The statement in IAM's JSON, with a list of one value as the value."""
        return {
            "Sid": self.sid,
            "Effect": "Deny",
            "Action": _short(self.actions),
            "Resource": _short(self.resources),
            "Condition": {
                operator: {key: _short(values) for key, values in keys.items()}
                for operator, keys in self.condition.items()
            },
        }


def statements(
    policy: Policy, roles: Roles, state: State, now: datetime, *, role_delivery: bool = False
) -> list[Statement]:
    """The statements for a policy.

    Those about instances apply in the regions that the policy covers. While the toggle is `optional`, no statement
    restricts launches. With `role_delivery`, one denies every call with credentials fetched through IMDSv1.
    """
    launches = _launches(roles.partition) if policy.http_tokens is HttpTokens.REQUIRED else ()
    keys, _ = exempting_tag_keys(policy, now)
    return [
        *(_within(policy.regions, each) for each in (*launches, *_changes(roles, keys))),
        _kept(roles, state),
        *([_ROLE_DELIVERY] if role_delivery else ()),
    ]


def document(found: Sequence[Statement]) -> str:
    """The SCP as JSON: ASCII, one line, no white space.

    Raises:
        TooLongError: if it is longer than an SCP may be.
    """
    policy = {"Version": "2012-10-17", "Statement": [each.as_json() for each in found]}
    text = json.dumps(policy, separators=(",", ":")) + "\n"
    if len(text) > QUOTA:
        raise TooLongError(f"the SCP is {len(text):,} characters long; allowed: {QUOTA:,}")
    return text


def _launches(partition: str) -> Iterator[Statement]:
    """The statements about launches (EC2 User Guide, "Example policies to control access to the Amazon EC2 API").

    Auto Scaling launches with a service-linked role, which no SCP binds: it checks permissions only when someone
    creates or changes a group or a launch configuration. `LaunchTemplateVersionSpecified` is false for `$Latest` and
    `$Default`, whose content may change later (Auto Scaling User Guide, "Control Amazon EC2 launch template usage").
    """
    yield Statement(
        sid="Launches",
        reason="instances can be launched only with HttpTokens=required; a launch that does not set it is denied too",
        actions=["ec2:RunInstances"],
        resources=[_any_instance(partition)],
        condition={"StringNotEquals": {"ec2:MetadataHttpTokens": _REQUIRED}},
    )
    yield Statement(
        sid="LaunchConfigurations",
        reason="launch configurations can be created only with HttpTokens=required",
        actions=["autoscaling:CreateLaunchConfiguration"],
        resources=[f"arn:{partition}:autoscaling:*:*:launchConfiguration:*:launchConfigurationName/*"],
        condition={"StringNotEquals": {"autoscaling:MetadataHttpTokens": _REQUIRED}},
    )
    groups = {
        "actions": ["autoscaling:CreateAutoScalingGroup", "autoscaling:UpdateAutoScalingGroup"],
        "resources": [f"arn:{partition}:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/*"],
    }
    yield Statement(
        sid="TemplateVersions",
        reason="groups must name a version of their launch template by its number: what $Latest and $Default stand "
        "for can change, and an SCP never denies the launches of a group",
        condition={"Bool": {"autoscaling:LaunchTemplateVersionSpecified": "false"}},
        **groups,
    )
    yield Statement(
        sid="NoLaunchConfigurations",
        reason="groups cannot switch to a launch configuration, because an older one may allow IMDSv1",
        condition={"Null": {"autoscaling:LaunchConfigurationName": "false"}},
        **groups,
    )


def _changes(roles: Roles, tag_keys: Sequence[str]) -> Iterator[Statement]:
    """The statements about changes of instances, and of the tags that exempt them."""
    yield Statement(
        sid="Options",
        reason="only the enforcer and its operators can change metadata options and the regions' defaults for them",
        actions=["ec2:ModifyInstanceMetadataOptions", "ec2:ModifyInstanceMetadataDefaults"],
        resources=["*"],  # the defaults have no resource of their own
        condition=_unless_by(roles.enforcer, *roles.operators),
    )
    if tag_keys:
        yield Statement(
            sid="ExemptingTags",
            reason="only operators can set and remove the tags that exempt an instance, at its launch too",
            actions=["ec2:CreateTags", "ec2:DeleteTags"],
            resources=[_any_instance(roles.partition)],
            condition={"ForAnyValue:StringLike": {"aws:TagKeys": tag_keys}, **_unless_by(*roles.operators)},
        )


def _kept(roles: Roles, state: State) -> Statement:
    """The statement that protects the policy and the ledger. Anyone can still read them."""
    parameters = [f"arn:{roles.partition}:ssm:*:*:parameter{name}" for name in state.parameters]
    return Statement(
        sid="State",
        reason="only the enforcer, its operators and its deployment can change the toggle, the policy and the ledger",
        actions=[
            *("ssm:PutParameter", "ssm:DeleteParameter*"),
            *("dynamodb:BatchWriteItem", "dynamodb:Put*", "dynamodb:Update*", "dynamodb:Delete*"),
            *("dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:PartiQLDelete"),
        ],
        resources=[*parameters, f"arn:{roles.partition}:dynamodb:*:*:table/{state.table}"],
        condition=_unless_by(roles.enforcer, *roles.operators, *roles.deployers),
    )


_ROLE_DELIVERY = Statement(
    sid="RoleDelivery",
    reason="credentials fetched through IMDSv1 are denied every call",
    actions=["*"],
    resources=["*"],  # whatever the call is for (EC2 User Guide, as above)
    condition={"NumericLessThan": {"ec2:RoleDelivery": "2.0"}},
)


def _within(regions: RegionSelection, statement: Statement) -> Statement:
    """Limit the statement to the regions that the policy covers: the enforcer changes nothing in the others."""
    condition = {operator: dict(keys) for operator, keys in statement.condition.items()}
    for operator, names in (("StringEquals", regions.include), ("StringNotEquals", regions.exclude)):
        if names:
            condition.setdefault(operator, {})["aws:RequestedRegion"] = names
    return replace(statement, condition=condition)


def _unless_by(*roles: str) -> Condition:
    """For a role's session, aws:PrincipalArn is the role's ARN (IAM User Guide, "aws:PrincipalArn")."""
    return {"ArnNotLike": {"aws:PrincipalArn": roles}}


def _any_instance(partition: str) -> str:
    return f"arn:{partition}:ec2:*:*:instance/*"


def _short(values: str | Sequence[str]) -> str | list[str]:
    if isinstance(values, str):
        return values
    return values[0] if len(values) == 1 else [*values]
