"""What a strict account requires of a deployment in `make demo-lifecycle`, and the check that the deployment has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from infra.account_rules import BOUNDARY, QUALIFIER
from infra.demo.acts import console, expect
from infra.local.deployment import STACK, STATE

if TYPE_CHECKING:
    from infra.local.client import LocalAws

ROLE, PATH, BOUNDARY_NAME = "imds-enforcer", "/security/", "imds-boundary"
TAGS = {"team": "platform", "cost-center": "42"}
TOOLKIT = "CDKToolkit-strict"


def context(*, tags: dict[str, str] = TAGS, qualifier: str = "", **more: str) -> list[str]:
    """The context as arguments; without a qualifier, for `make template`, which uses no bootstrap."""
    values = {
        "tags": json.dumps(tags),
        "role_name": ROLE,
        "role_path": PATH,
        BOUNDARY: json.dumps({"name": BOUNDARY_NAME}),
        **({QUALIFIER: qualifier} if qualifier else {}),
        **more,
    }
    return [word for key, value in values.items() for word in ("-c", f"{key}={value}")]


def prepare(aws: LocalAws) -> None:
    """Create the policy that bounds every role; here it allows all, as the roles' own policies are narrow."""
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    aws.client("iam").create_policy(PolicyName=BOUNDARY_NAME, PolicyDocument=json.dumps(everything))


def expect_heeded(aws: LocalAws, *, home: dict[str, str] = TAGS, state: dict[str, str] = TAGS) -> None:
    """Check that the stacks and the function's role have the requested tags, name, path and boundary."""
    role = aws.client("iam").get_role(RoleName=ROLE)["Role"]
    arn = f"arn:aws:iam::{aws.account}"
    boundary = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
    console.print(f"  the function's role: {role['Arn']}, within {boundary}")
    expect((role["Arn"], boundary), (f"{arn}:role{PATH}{ROLE}", f"{arn}:policy/{BOUNDARY_NAME}"))
    for stack, tags in ((STACK, home), (STATE, state)):
        [described] = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        found = {each["Key"]: each["Value"] for each in described["Tags"]}
        console.print(f"  tags of {stack}: {found}", markup=False)
        expect(found, tags)
