"""The installed `set` and `verify`: on instances by id, and on the instance itself."""

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping

import pytest

from infra.local import operator
from infra.local.client import LocalAws
from infra.local.imds import LocalImds
from tests.integration.local_resources import role

AWAY = "us-east-1"
MODIFY = "ec2:ModifyInstanceMetadataOptions"
MAY_SET = ("ec2:DescribeInstances", MODIFY)
MAY_ASK = ("cloudformation:DescribeStacks", "ec2:DescribeRegions", "ssm:GetParameters")


def installed(
    aws: LocalAws, *arguments: str, exit_code: int = 0, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The output of the installed command, which must end with this exit code."""
    done = operator.run(aws, *arguments, environment=environment)
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def refusal(aws: LocalAws, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """The one line with which it refuses to do anything."""
    done = installed(aws, *arguments, exit_code=2, environment=environment)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


def put_policy(aws: LocalAws, tokens: str, **policy: object) -> None:
    """Store a policy in the stack's parameters."""
    for name, value in (("http-tokens", tokens), ("policy", json.dumps(policy))):
        aws.client("ssm").put_parameter(Name=f"/imds-enforcer/{name}", Value=value, Type="String", Overwrite=True)


@pytest.fixture
def instance(aws: LocalAws) -> str:
    """An instance that allows IMDSv1."""
    [instance] = aws.launch(HttpTokens="optional", HttpPutResponseHopLimit=2)
    return instance


@pytest.fixture
def imds(aws: LocalAws) -> Iterator[LocalImds]:
    """The metadata service of an instance outside the home region, whose role may set its options."""
    role(aws, "web", {"Action": [*MAY_SET, *MAY_ASK], "Resource": "*"})
    [instance] = aws.launch(AWAY, HttpTokens="optional", HttpPutResponseHopLimit=2)
    aws.enforce_iam()
    with LocalImds(aws, instance, AWAY, role="web") as imds:
        yield imds


def test_instances_of_two_regions_by_their_ids(aws: LocalAws, instance: str) -> None:
    """Standard output has EC2's answer; standard error shows the options before and, as read back, after."""
    [other] = aws.launch(AWAY, HttpTokens="optional", HttpPutResponseHopLimit=2)
    ids = {instance: aws.region, other: AWAY}
    done = installed(aws, "set", "--version-2-state", "required", "--instance-id", *ids)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["InstanceId"] for answer in answers] == [*ids]
    said = done.stderr.splitlines()
    assert said.pop(2).startswith("The ledger gets no entry, so `imds-enforcer revert` cannot undo this: ")
    for (each, region), answer, old, new in zip(ids.items(), answers, said[:2], said[2:], strict=True):
        assert answer["InstanceMetadataOptions"].items() >= {"HttpTokens": "required", "State": "pending"}.items()
        assert old.startswith(f"{each} in {region} before: HttpTokens optional, HttpEndpoint enabled, ")
        assert new.startswith(f"{each} in {region} after: HttpTokens required, HttpEndpoint enabled, ")
        assert (old.endswith("State applied"), new.endswith("State applied")) == (True, True)
        shown = aws.metadata_options(each, region)
        assert (shown["HttpTokens"], shown["HttpPutResponseHopLimit"], shown["State"]) == ("required", 2, "applied")
    installed(aws, "verify", "--instance-id", *ids, "--version-2-state", "required")
    installed(aws, "verify", "--instance-id", *ids, "--version-2-state", "optional", exit_code=1)


def test_a_hidden_managed_instance_is_found_and_left(aws: LocalAws) -> None:
    """The command says who manages it, not that it does not exist."""
    [managed] = aws.launch(AWAY, HttpTokens="optional", managed_by="eks.amazonaws.com")
    named, why = ("--instance-id", managed), "managed by eks.amazonaws.com: the account cannot change it"
    done = installed(aws, "set", "--version-2-state", "required", *named, exit_code=1)
    assert f"{managed} in {AWAY} was not changed (SKIPPED): {why}" in done.stderr
    assert f"{managed} is {why}.\n" in installed(aws, "verify", *named, exit_code=1).stderr
    assert aws.calls(MODIFY) == 0


def test_instances_that_must_not_be_set_stay(aws: LocalAws, instance: str) -> None:
    """A disabled service, an exempt instance, and every instance under an unreadable policy: nothing is sent."""
    [off] = aws.launch(HttpTokens="optional", HttpEndpoint="disabled")
    exemption = {"match": {"instance_id": instance}, "reason": "legacy SDK", "owner": "billing"}
    put_policy(aws, "required", exemptions=[exemption])
    arguments = ("set", "--version-2-state", "required", "--instance-id", instance, off)
    said = installed(aws, *arguments, exit_code=1).stderr
    assert "exempt: legacy SDK, owner billing" in said
    assert "its metadata service is off, and any change would turn it on" in said
    aws.client("ssm").delete_parameter(Name="/imds-enforcer/http-tokens")
    assert "the policy cannot be read, so nothing is changed: http-tokens is missing" in refusal(aws, *arguments)
    assert aws.calls(MODIFY) == 0


def test_an_instance_sets_and_verifies_itself(aws: LocalAws, imds: LocalImds) -> None:
    """With its own role, and in its own region, which it learns through IMDSv2 alone; in both states."""
    on_it = imds.environment()
    for state, without in (("required", 401), ("optional", 200)):
        done = installed(aws, "set", "--version-2-state", state, environment=on_it)
        answer = json.loads(done.stdout)
        assert answer["InstanceMetadataOptions"]["HttpTokens"] == state
        assert all(has_token for method, _, _, has_token in imds.requests if method == "GET")
        assert aws.metadata_options(answer["InstanceId"], AWAY)["HttpTokens"] == state
        probe = ("verify", "--probe", "--version-2-state", state, "--output", "json")
        imds.requests.clear()
        done = installed(aws, *probe, environment=on_it)
        [document] = json.loads(done.stdout)
        assert [(each["check"], each["found"]) for each in document["checks"][1:]] == [
            ("GET without a token", str(without)),
            ("PUT for a token", "200"),
            ("GET with the token", "200"),
        ]
        steps = [(method, status) for method, _, status, _ in imds.requests[-3:]]
        assert steps == [("GET", without), ("PUT", 200), ("GET", 200)]
        metric = "MetadataNoTokenRejected" if state == "required" else "MetadataNoToken"
        assert f"({metric})" in done.stderr
        imds.requests.clear()
    assert aws.calls(MODIFY, region=AWAY, caller="role/web") == 2


def test_no_proxy_sees_the_token(aws: LocalAws, imds: LocalImds) -> None:
    """Nor the credentials: an instance behind a proxy calls its metadata service directly."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0)
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        aws_itself = aws.endpoint_url.removeprefix("http://")
        environment = {**imds.environment(), "HTTP_PROXY": url, "http_proxy": url, "NO_PROXY": aws_itself}
        environment.pop("no_proxy", None)
        installed(aws, "verify", "--version-2-state", "optional", environment=environment)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_role_without_permission_to_read_the_policy(aws: LocalAws, imds: LocalImds) -> None:
    """The command refuses, unless the user data has the option to go on."""
    aws.client("iam").delete_role_policy(RoleName="web", PolicyName="may")
    statement = {"Effect": "Allow", "Action": MAY_SET, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    aws.client("iam").put_role_policy(RoleName="web", PolicyName="may", PolicyDocument=policy)
    arguments = ("set", "--version-2-state", "required")
    said = refusal(aws, *arguments, environment=imds.environment())
    assert said.startswith("imds-enforcer: AccessDenied")
    assert said.endswith("--no-policy goes on without the policy and the holds")
    assert aws.calls(MODIFY) == 0
    done = installed(aws, *arguments, "--no-policy", environment=imds.environment())
    assert json.loads(done.stdout)["InstanceMetadataOptions"]["HttpTokens"] == "required"
