"""A deployer who may only assume the bootstrap's roles, with IAM enforced."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from infra import deploy
from infra.local.client import LocalAws
from tests.infra.synthesized import FORWARDED
from tests.infra.test_deploy import refusal, run, stacks

NAME = "deployer"
REGIONS = ("-c", f"regions={FORWARDED}")
DELETES = {
    "ssm": ["ssm:DeleteParameters"],
    "logs": ["logs:DeleteLogGroup"],
    "dynamodb": ["dynamodb:DescribeTable", "dynamodb:UpdateTable", "dynamodb:DeleteTable"],
}
"""The permissions to delete the resources that outlive their stack."""


@pytest.fixture
def aws(local_aws: LocalAws, tmp_path: Path) -> Iterator[LocalAws]:
    """An account that others have bootstrapped."""
    aws = local_aws.in_account("380987654321")
    environment = deploy.tool_environment() | aws.environment()
    bootstrap = ["bootstrap", f"aws://{aws.account}/{aws.region}", "--ci", "--no-notices"]
    assert deploy._cli(bootstrap, environment, tmp_path) == 0  # noqa: SLF001  # as `make deploy` runs it
    aws.enforce_iam()
    yield aws
    aws.reset()


@pytest.fixture
def deployer(aws: LocalAws) -> Mapping[str, str]:
    """The deployer's environment."""
    aws.client("iam").create_user(UserName=NAME)
    permit(aws, "deploy", "sts:AssumeRole", resource=f"arn:aws:iam::{aws.account}:role/cdk-*")
    key = aws.client("iam").create_access_key(UserName=NAME)["AccessKey"]
    keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return {**aws.environment(), **keys, "BOOTSTRAP": "no", "CONFIRM": "ImdsEnforcerState"}


def permit(aws: LocalAws, name: str, *actions: str, resource: str = "*") -> None:
    """Give the deployer these permissions as well."""
    statement = {"Effect": "Allow", "Action": actions, "Resource": resource}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    aws.client("iam").put_user_policy(UserName=NAME, PolicyName=name, PolicyDocument=policy)


def test_it_deploys_updates_and_destroys(aws: LocalAws, deployer: Mapping[str, str]) -> None:
    """One line reports each denied check, and none stops a command; deleting the state needs more permissions."""
    aws.reset_calls()
    said = run("deploy", *REGIONS, environment=deployer)
    assert [line.split(":")[0] for line in said.splitlines() if "An error occurred" in line] == [
        "Whether imds-enforcer-ledger exists was not checked",
        "Whether /imds-enforcer/function exists was not checked",
        "/imds-enforcer/policy was not checked for removed fields, which make the function reject it",
        "The stack policy of ImdsEnforcerState was not set",
    ]
    assert aws.calls("s3:PutObject", caller=f"role/cdk-hnb659fds-file-publishing-role-{aws.account}-{aws.region}") > 0
    assert stacks(aws) == {"CDKToolkit", "ImdsEnforcer", "ImdsEnforcerState"}
    assert stacks(aws, FORWARDED) == {f"ImdsEnforcerForwarder-{FORWARDED}"}

    assert "UPDATE_COMPLETE" in run("deploy", "-c", "schedule=rate(1 hour)", *REGIONS, environment=deployer)
    assert "cannot be compared with the stored value" in refusal("deploy", "-c", "mode=audit", environment=deployer)
    run("destroy", *REGIONS, environment=deployer)
    assert (stacks(aws), stacks(aws, FORWARDED)) == ({"CDKToolkit", "ImdsEnforcerState"}, set())
    own = {row["action"] for row in aws.call_rows() if row["caller"] == f"user/{NAME}" and not row["error"]}
    assert own <= {"sts:GetCallerIdentity", "sts:AssumeRole"}

    said = refusal("destroy-state", environment=deployer)
    assert f"deleted in {aws.region}: ImdsEnforcerState. Denied with these credentials:" in said
    for first, *_ in DELETES.values():
        assert f"is not authorized to perform: {first} " in said
    for service, actions in DELETES.items():
        permit(aws, service, *actions)
    rest = "/imds-enforcer/http-tokens, /imds-enforcer/policy, /imds-enforcer/function, imds-enforcer-ledger"
    said = run("destroy-state", environment=deployer)
    assert said == f"Deleted in {aws.region} in account {aws.account}: {rest}.\n"
    assert aws.client("dynamodb").list_tables()["TableNames"] == []
    assert aws.client("logs").describe_log_groups()["logGroups"] == []
    assert stacks(aws) == {"CDKToolkit"}
