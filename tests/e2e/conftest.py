"""The real stacks, deployed once by the real CDK CLI to a local AWS, and brought back to their first state for
each test.

IAM is enforced from the deployment on, in every test: whatever passes here passes with the policies that the
stacks give their roles, and with no more. (The deployment itself runs before that: with IAM enforced, the local
AWS refuses the CLI's upload of assets.)
"""

import json
from collections.abc import Iterator, Mapping

import pytest

from infra.local.client import LocalAws
from infra.local.deployment import deploy
from tests.e2e.stage import FORWARDED, HOME, Stage
from tests.integration.local_resources import assumed, role


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of this folder."""
    config.addinivalue_line("markers", "policy(document): the policy in force when the test begins; {} without it")


@pytest.fixture(scope="session")
def deployed() -> Iterator[Stage]:
    """The one local AWS with the home stack and one forwarder."""
    with LocalAws(HOME) as aws:
        deploy(aws, "-c", f"regions={FORWARDED}")
        yield Stage(aws)


@pytest.fixture
def stage(deployed: Stage, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The enforcer, clean and settled, under the policy that the test's marker names."""
    marker = request.node.get_closest_marker("policy")
    deployed.prepare(marker.args[0] if marker else {})
    failed = request.session.testsfailed
    yield deployed
    if request.session.testsfailed > failed:
        deployed.spoil()
        print(deployed.aws.log()[-5000:])  # noqa: T201  # pytest shows it beside the failure


@pytest.fixture(scope="session")
def principals(deployed: Stage) -> Mapping[str, Mapping[str, str] | None]:
    """People who may change instances: the keys of each. Root and users have no session, roles have."""
    aws = deployed.aws
    allowed = {"Action": "ec2:*", "Resource": "*"}
    iam = aws.client("iam")
    iam.create_user(UserName="operator")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **allowed}]}
    iam.put_user_policy(UserName="operator", PolicyName="may", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="operator")["AccessKey"]
    return {
        "root": None,
        "user": {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]},
        "role": assumed(aws, role(aws, "operators", allowed)),
    }
