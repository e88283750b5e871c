"""A request under the SCP of a policy, and the principals and resources of the test cases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imds_enforcer_cli.guardrails.scp import Roles, State, document, statements
from tests.fakes.clock import START
from tests.fakes.examples import (
    ACCOUNT,
    HOME,
    OTHER_ACCOUNT,
    POLICY_PARAMETER,
    TOKENS_PARAMETER,
    a_policy,
    an_id,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imds_enforcer.policy import Policy
    from tests.fakes.scp_evaluator import Request

TABLE_NAME = "imds-enforcer-ledger"
STATE = State((TOKENS_PARAMETER, POLICY_PARAMETER), TABLE_NAME)
ROLES = Roles(
    enforcer="arn:aws:iam::*:role/security/imds-enforcer",
    operators=[f"arn:aws:iam::{ACCOUNT}:role/operators", "arn:aws:iam::*:role/sso/AWSReservedSSO_ops_*"],
    deployers=["arn:aws:iam::*:role/cdk-hnb659fds-cfn-exec-role-*"],
)


def a_role(name: str, account: str = ACCOUNT) -> str:
    """The ARN of a role."""
    return f"arn:aws:iam::{account}:role/{name}"


ENFORCER = a_role("security/imds-enforcer")
OPERATOR = a_role("operators")
OPERATOR_ELSEWHERE = a_role("sso/AWSReservedSSO_ops_0123456789abcdef", OTHER_ACCOUNT)
DEPLOYER = a_role(f"cdk-hnb659fds-cfn-exec-role-{ACCOUNT}-{HOME}")
STRANGER = a_role("developers")
IMPOSTORS = (a_role("imds-enforcer"), a_role("operators", OTHER_ACCOUNT), f"arn:aws:iam::{ACCOUNT}:user/operators")
"""Principals that share a name with an allowed one, but have another path, account or type."""

INSTANCE = f"arn:aws:ec2:{HOME}:{ACCOUNT}:instance/{an_id()}"
NEW_INSTANCE = f"arn:aws:ec2:{HOME}:{ACCOUNT}:instance/*"
CONFIGURATION = f"arn:aws:autoscaling:{HOME}:{ACCOUNT}:launchConfiguration:1:launchConfigurationName/web"
GROUP = f"arn:aws:autoscaling:{HOME}:{ACCOUNT}:autoScalingGroup:1:autoScalingGroupName/web"
TABLE = f"arn:aws:dynamodb:{HOME}:{ACCOUNT}:table/{TABLE_NAME}"
PARAMETERS = [f"arn:aws:ssm:{HOME}:{ACCOUNT}:parameter{name}" for name in STATE.parameters]

MODIFY, DEFAULTS = "ec2:ModifyInstanceMetadataOptions", "ec2:ModifyInstanceMetadataDefaults"
TOKENS, DELIVERY = "ec2:MetadataHttpTokens", "ec2:RoleDelivery"
VERSION_SPECIFIED = "autoscaling:LaunchTemplateVersionSpecified"
BY_CONFIGURATION = {"autoscaling:LaunchConfigurationName": "web"}
ANY_POLICY = a_policy()


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request under a policy, and the ids of the statements that deny it."""

    what: str
    action: str
    resource: str
    by: str = STRANGER
    keys: Mapping[str, str | list[str]] = field(default_factory=dict)
    region: str = HOME
    policy: Policy = ANY_POLICY
    role_delivery: bool = False
    refused: tuple[str, ...] = ()

    @property
    def scp(self) -> str:
        """The SCP of the policy."""
        return an_scp(self.policy, role_delivery=self.role_delivery)

    @property
    def request(self) -> Request:
        """The request with its principal."""
        keys = {"aws:PrincipalArn": self.by, "aws:RequestedRegion": self.region, **self.keys}
        return {"action": self.action, "resource": self.resource, "context": keys}

    def __str__(self) -> str:
        return self.what


def an_scp(policy: Policy, roles: Roles = ROLES, **options: Any) -> str:
    """The SCP of a policy."""
    return document(statements(policy, roles, STATE, START, **options))
