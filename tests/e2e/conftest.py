"""The real stacks, deployed once to a local AWS and reset to their first state for each test.

The real CDK CLI deploys them or, with DEPLOYED_BY=templates, CloudFormation's API alone, from the files of
`make template`. Without DEPLOYED_BY, tests marked `however_deployed` run on both.

From the deployment on, IAM is enforced in every test: what passes here passes with the policies that the stacks give
their roles, and with no more. The SCP of `imds-enforcer guardrails scp` binds the function's role in every test, and
the operators' role, with which the command runs.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache, partial

import pytest

from infra.local import operator
from infra.local.client import LocalAws
from infra.local.deployment import deploy
from infra.local.templates import deploy_templates
from tests.e2e.organization import OPERATORS, attach, function_role, scp
from tests.e2e.stage import FORWARDED, HOME, Stage
from tests.integration.local_resources import assumed, role

CONTEXT = ("-c", "account_defaults=true")
WAYS: Mapping[str, Callable[[LocalAws], object]] = {
    "cdk": lambda aws: deploy(aws, "-c", f"regions={FORWARDED}", *CONTEXT),
    "templates": lambda aws: deploy_templates(aws, *CONTEXT, regions=[FORWARDED]),
}
"""How the home stack and one forwarder are deployed, or deployed again."""
CHOSEN = os.environ.get("DEPLOYED_BY")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of this folder."""
    config.addinivalue_line("markers", "policy(document): the policy in force when the test begins; by default {}")
    config.addinivalue_line("markers", "however_deployed: runs on each kind of deployment")
    if CHOSEN not in (None, *WAYS):
        raise pytest.UsageError(f"DEPLOYED_BY is {CHOSEN!r}; allowed: {' | '.join(WAYS)}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests marked `however_deployed` on each kind of deployment, one kind after the other."""
    if not CHOSEN and metafunc.definition.get_closest_marker("however_deployed"):
        metafunc.parametrize("way", WAYS, scope="session")


@pytest.fixture(scope="session")
def way() -> str:
    """One of `WAYS`."""
    return CHOSEN or "cdk"


@pytest.fixture(scope="session")
def stages() -> Iterator[Callable[[str], Stage]]:
    """A local AWS for each way of deployment, made when first needed."""
    with ExitStack() as running:

        @cache
        def stage(way: str) -> Stage:
            aws = running.enter_context(LocalAws(HOME))
            WAYS[way](aws)
            deployed = Stage(aws, WAYS[way])
            role(aws, OPERATORS, {"Action": "*", "Resource": "*"})
            attach(aws, scp(deployed), function_role(deployed), OPERATORS)
            return deployed

        yield stage


@pytest.fixture
def stage(stages: Callable[[str], Stage], way: str, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The enforcer, clean and idle, under the policy in the test's marker."""
    deployed = stages(way)
    marker = request.node.get_closest_marker("policy")
    deployed.prepare(marker.args[0] if marker else {})
    failed = request.session.testsfailed
    yield deployed
    if request.session.testsfailed > failed:
        deployed.spoil()
        print(deployed.aws.log()[-5000:])  # noqa: T201  # pytest shows it beside the failure


@pytest.fixture
def operators(stage: Stage) -> Mapping[str, str]:
    """Keys of an operator, whose role allows everything that the SCP does not deny."""
    return assumed(stage.aws, f"arn:aws:iam::{stage.aws.account}:role/{OPERATORS}")


@pytest.fixture(autouse=True)
def _as_an_operator(stage: Stage, operators: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command as an operator unless a test names other keys."""
    environment = stage.aws.environment() | {name.upper(): value for name, value in operators.items()}
    monkeypatch.setattr(operator, "run", partial(operator.run, environment=environment))


@pytest.fixture
def principals(stage: Stage, operators: Mapping[str, str]) -> Mapping[str, Mapping[str, str] | None]:
    """Keys of people who may change instances. A role has a session; root and users do not."""
    return {"root": None, "user": _user(stage.aws), "role": operators}


@cache
def _user(aws: LocalAws) -> Mapping[str, str]:
    allowed = {"Action": "ec2:*", "Resource": "*"}
    iam = aws.client("iam")
    iam.create_user(UserName="operator")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **allowed}]}
    iam.put_user_policy(UserName="operator", PolicyName="may", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="operator")["AccessKey"]
    return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
