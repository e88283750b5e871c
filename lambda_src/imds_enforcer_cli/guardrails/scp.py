"""The service control policy (SCP) that fits a policy: what would go past the policy is refused.

An SCP binds every user and role of the accounts that it is attached to. It binds neither service-linked roles nor the
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
"""Characters of an SCP at most, white space included (Organizations User Guide, "Quotas and service limits")."""

FORMER_QUOTA = 5_120
"""What it was before, and may still be elsewhere."""

Condition = Mapping[str, Mapping[str, str | Sequence[str]]]

_REQUIRED = "required"


class TooLongError(ValueError):
    """The document is longer than Organizations takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who is let through: ARNs of roles, in which `*` stands for any text."""

    enforcer: str
    operators: Sequence[str]
    deployers: Sequence[str] = ()

    @property
    def partition(self) -> str:
        """That of all of them."""
        return self.enforcer.split(":")[1]


@dataclass(frozen=True, slots=True)
class State:
    """What outlives the enforcer's stack, by name."""

    parameters: Sequence[str]
    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement that denies, and why it is there."""

    sid: str
    reason: str
    actions: Sequence[str]
    resources: Sequence[str]
    condition: Condition = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The statement as IAM reads it, a list of one as the one."""
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

    Those about instances hold in the regions that the policy covers. While the toggle is `optional`, none is about
    launches. With `role_delivery` one refuses whatever is called with credentials that were fetched through IMDSv1.
    """
    launches = _launches(roles.partition) if policy.http_tokens is HttpTokens.REQUIRED else ()
    keys, _ = exempting_tag_keys(policy, now)
    return [
        *(_within(policy.regions, each) for each in (*launches, *_changes(roles, keys))),
        _kept(roles, state),
        *([_ROLE_DELIVERY] if role_delivery else ()),
    ]


def document(found: Sequence[Statement]) -> str:
    """The SCP as JSON in ASCII, in one line and without other white space.

    Raises:
        TooLongError: if it is longer than an SCP may be.
    """
    policy = {"Version": "2012-10-17", "Statement": [each.as_json() for each in found]}
    text = json.dumps(policy, separators=(",", ":")) + "\n"
    if len(text) > QUOTA:
        raise TooLongError(f"the SCP is {len(text):,} characters long; allowed: {QUOTA:,}")
    return text


def _launches(partition: str) -> Iterator[Statement]:
    """What is launched (EC2 User Guide, "Example policies to control access to the Amazon EC2 API").

    Auto Scaling launches with a service-linked role, which no SCP binds: it asks for permissions only when a group or a
    launch configuration is made or changed. `LaunchTemplateVersionSpecified` is false for `$Latest` and `$Default`,
    whose content changes later (Auto Scaling User Guide, "Control Amazon EC2 launch template usage").
    """
    yield Statement(
        sid="Launches",
        reason="instances are launched with HttpTokens=required only; a launch that does not say so is refused too",
        actions=["ec2:RunInstances"],
        resources=[_any_instance(partition)],
        condition={"StringNotEquals": {"ec2:MetadataHttpTokens": _REQUIRED}},
    )
    yield Statement(
        sid="LaunchConfigurations",
        reason="launch configurations are created with HttpTokens=required only",
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
        reason="groups name a version of their launch template by its number: what $Latest and $Default stand for "
        "can change, and the launches of a group are never refused",
        condition={"Bool": {"autoscaling:LaunchTemplateVersionSpecified": "false"}},
        **groups,
    )
    yield Statement(
        sid="NoLaunchConfigurations",
        reason="groups are not moved to a launch configuration, as an older one may allow IMDSv1",
        condition={"Null": {"autoscaling:LaunchConfigurationName": "false"}},
        **groups,
    )


def _changes(roles: Roles, tag_keys: Sequence[str]) -> Iterator[Statement]:
    """What is changed about instances, and what exempts them."""
    yield Statement(
        sid="Options",
        reason="metadata options and the regions' defaults for them are changed by the enforcer and its operators only",
        actions=["ec2:ModifyInstanceMetadataOptions", "ec2:ModifyInstanceMetadataDefaults"],
        resources=["*"],  # the defaults have no other
        condition=_unless_by(roles.enforcer, *roles.operators),
    )
    if tag_keys:
        yield Statement(
            sid="ExemptingTags",
            reason="the tags that exempt an instance are set, at its launch too, and removed by operators only",
            actions=["ec2:CreateTags", "ec2:DeleteTags"],
            resources=[_any_instance(roles.partition)],
            condition={"ForAnyValue:StringLike": {"aws:TagKeys": tag_keys}, **_unless_by(*roles.operators)},
        )


def _kept(roles: Roles, state: State) -> Statement:
    """The policy and the ledger. Anyone may still read them."""
    parameters = [f"arn:{roles.partition}:ssm:*:*:parameter{name}" for name in state.parameters]
    return Statement(
        sid="State",
        reason="toggle, policy and ledger are changed by the enforcer, its operators and its deployment only",
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
    reason="credentials that were fetched through IMDSv1 open nothing",
    actions=["*"],
    resources=["*"],  # whatever they are used for (EC2 User Guide, as above)
    condition={"NumericLessThan": {"ec2:RoleDelivery": "2.0"}},
)


def _within(regions: RegionSelection, statement: Statement) -> Statement:
    """The statement for the regions that the policy covers: in the others the enforcer changes nothing."""
    condition = {operator: dict(keys) for operator, keys in statement.condition.items()}
    for operator, names in (("StringEquals", regions.include), ("StringNotEquals", regions.exclude)):
        if names:
            condition.setdefault(operator, {})["aws:RequestedRegion"] = names
    return replace(statement, condition=condition)


def _unless_by(*roles: str) -> Condition:
    """The principal of a role's session is the role (IAM User Guide, "aws:PrincipalArn")."""
    return {"ArnNotLike": {"aws:PrincipalArn": roles}}


def _any_instance(partition: str) -> str:
    return f"arn:{partition}:ec2:*:*:instance/*"


def _short(values: str | Sequence[str]) -> str | list[str]:
    if isinstance(values, str):
        return values
    return values[0] if len(values) == 1 else [*values]
