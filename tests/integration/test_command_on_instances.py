"""`set` and `verify` as they are installed: on instances by id, and on the instance itself."""

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping

import pytest

from infra.local import operator
from infra.local.client import LocalAws
from infra.local.imds import LocalImds
from tests.integration.local_resources import UNKNOWN, role

AWAY = "us-east-1"
MODIFY = "ec2:ModifyInstanceMetadataOptions"
MAY_SET = ("ec2:DescribeInstances", MODIFY)
MAY_ASK = ("cloudformation:DescribeStacks", "ec2:DescribeRegions", "ssm:GetParameters")


def installed(
    aws: LocalAws, *arguments: str, exit_code: int = 0, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What the installed command wrote; it ends with this code."""
    done = operator.run(aws, *arguments, environment=environment)
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def refusal(aws: LocalAws, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """The one line that it says where it does nothing."""
    done = installed(aws, *arguments, exit_code=2, environment=environment)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


def put_policy(aws: LocalAws, tokens: str, **policy: object) -> None:
    """A policy in force, as the stack's parameters hold it."""
    for name, value in (("http-tokens", tokens), ("policy", json.dumps(policy))):
        aws.client("ssm").put_parameter(Name=f"/imds-enforcer/{name}", Value=value, Type="String", Overwrite=True)


@pytest.fixture
def instance(aws: LocalAws) -> str:
    """An instance that allows IMDSv1."""
    [instance] = aws.launch(HttpTokens="optional", HttpPutResponseHopLimit=2)
    return instance


@pytest.fixture
def imds(aws: LocalAws) -> Iterator[LocalImds]:
    """The metadata service of an instance in another region than home, whose role may set its options."""
    role(aws, "web", {"Action": [*MAY_SET, *MAY_ASK], "Resource": "*"})
    [instance] = aws.launch(AWAY, HttpTokens="optional", HttpPutResponseHopLimit=2)
    aws.enforce_iam()
    with LocalImds(aws, instance, AWAY, role="web") as imds:
        yield imds


def test_both_states_of_an_instance_by_its_id(aws: LocalAws, instance: str) -> None:
    """EC2's answer is data; before and after are told aside, the latter as it was read back."""
    for state, before in (("required", "optional"), ("optional", "required")):
        done = installed(aws, "set", "--version-2-state", state, "--instance-id", instance)
        answer = json.loads(done.stdout)
        assert answer["InstanceId"] == instance
        assert answer["InstanceMetadataOptions"].items() >= {"HttpTokens": state, "State": "pending"}.items()
        old, new = done.stderr.splitlines()
        assert old.startswith(f"{instance} in {aws.region} before: HttpTokens {before}, HttpEndpoint enabled, ")
        assert new.startswith(f"{instance} in {aws.region} after: HttpTokens {state}, HttpEndpoint enabled, ")
        assert (old.endswith("State applied"), new.endswith("State applied")) == (True, True)
        shown = aws.metadata_options(instance)
        assert (shown["HttpTokens"], shown["HttpPutResponseHopLimit"], shown["State"]) == (state, 2, "applied")
        installed(aws, "verify", "--instance-id", instance, "--version-2-state", state)
        installed(aws, "verify", "--instance-id", instance, "--version-2-state", before, exit_code=1)


def test_several_regions_and_one_that_fails(aws: LocalAws, instance: str) -> None:
    """EC2's code is named, and the rest is done."""
    [other] = aws.launch(AWAY, HttpTokens="optional")
    aws.fail(MODIFY, "UnsupportedOperation", status=400, message="not here", instance_id=instance)
    done = installed(aws, "set", "--version-2-state", "required", "--instance-id", instance, other, exit_code=1)
    assert [json.loads(line)["InstanceId"] for line in done.stdout.splitlines()] == [other]
    assert f"{instance} in {aws.region} failed: UnsupportedOperation: not here" in done.stderr
    assert aws.metadata_options(other, AWAY)["HttpTokens"] == "required"


def test_a_dry_run_is_ec2s_own(aws: LocalAws, instance: str) -> None:
    """It says what would change, and changes nothing."""
    done = installed(aws, "set", "--version-2-state", "required", "--instance-id", instance, "--dry-run")
    assert json.loads(done.stdout)["WouldChange"] == {"HttpTokens": {"now": "optional", "then": "required"}}
    assert aws.calls(MODIFY, error="DryRunOperation") == aws.calls(MODIFY) == 1
    assert aws.metadata_options(instance)["HttpTokens"] == "optional"


def test_a_service_that_is_off_stays_off(aws: LocalAws) -> None:
    """Nothing is sent."""
    [instance] = aws.launch(HttpTokens="optional", HttpEndpoint="disabled")
    done = installed(aws, "set", "--version-2-state", "required", "--instance-id", instance, exit_code=1)
    assert "its metadata service is off, and any change would switch it on" in done.stderr
    assert aws.calls(MODIFY) == 0


def test_the_policy_binds_whoever_sets(aws: LocalAws, instance: str) -> None:
    """And where it cannot be used nothing is changed."""
    exemption = {"match": {"instance_id": instance}, "reason": "legacy SDK", "owner": "billing"}
    put_policy(aws, "required", exemptions=[exemption])
    arguments = ("set", "--version-2-state", "required", "--instance-id", instance)
    assert "exempt: legacy SDK, owner billing" in installed(aws, *arguments, exit_code=1).stderr
    aws.client("ssm").delete_parameter(Name="/imds-enforcer/http-tokens")
    assert "the policy cannot be read, so nothing is changed: http-tokens is missing" in refusal(aws, *arguments)
    assert aws.calls(MODIFY) == 0


def test_the_instance_sets_itself_and_proves_it(aws: LocalAws, imds: LocalImds) -> None:
    """With its own role and in its own region, which it knows through IMDSv2 alone; in both states."""
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


def test_a_proof_that_fails(aws: LocalAws, imds: LocalImds) -> None:
    """Where IMDSv1 is still served."""
    done = installed(aws, "verify", "--probe", environment=imds.environment(), exit_code=1)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[-1] for row in rows] == ["FAILED", "FAILED", "PASSED", "PASSED"]


def test_no_proxy_gets_to_see_the_token(aws: LocalAws, imds: LocalImds) -> None:
    """Nor the credentials: an instance behind a proxy asks its metadata service directly."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0)
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        aws_itself = aws.endpoint_url.removeprefix("http://")
        environment = {**imds.environment(), "HTTP_PROXY": url, "http_proxy": url, "NO_PROXY": aws_itself}
        environment.pop("no_proxy", None)
        installed(aws, "verify", "--version-2-state", "optional", environment=environment)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_role_that_may_not_read_the_policy(aws: LocalAws, imds: LocalImds) -> None:
    """It is refused, unless whoever wrote the user data says that it may go on."""
    aws.client("iam").delete_role_policy(RoleName="web", PolicyName="may")
    statement = {"Effect": "Allow", "Action": MAY_SET, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    aws.client("iam").put_role_policy(RoleName="web", PolicyName="may", PolicyDocument=policy)
    arguments = ("set", "--version-2-state", "required")
    said = refusal(aws, *arguments, environment=imds.environment())
    assert said.startswith("imds-enforcer: AccessDenied")
    assert said.endswith("--no-policy goes on without them")
    assert aws.calls(MODIFY) == 0
    done = installed(aws, *arguments, "--no-policy", environment=imds.environment())
    assert json.loads(done.stdout)["InstanceMetadataOptions"]["HttpTokens"] == "required"


def test_what_one_line_says(aws: LocalAws, instance: str) -> None:
    """Unknown ids, no region, no credentials, wrong ones, and no instance."""
    arguments = ("set", "--version-2-state", "required")
    by_id = (*arguments, "--instance-id", instance)
    assert refusal(aws, *arguments, "--instance-id", UNKNOWN).endswith(f"no instance of this account: {UNKNOWN}")
    environment = aws.environment()
    without_region = {name: value for name, value in environment.items() if not name.endswith("REGION")}
    assert "no region; name the home region with --region" in refusal(aws, *by_id, environment=without_region)
    without_keys = {name: value for name, value in environment.items() if "ACCESS_KEY" not in name}
    assert refusal(aws, *by_id, environment=without_keys).endswith("NoCredentialsError: Unable to locate credentials")
    aws.enforce_iam()
    nobody = {**environment, "AWS_ACCESS_KEY_ID": "AKIANOBODY", "AWS_SECRET_ACCESS_KEY": "none"}
    assert refusal(aws, *by_id, environment=nobody).startswith("imds-enforcer: ")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        nowhere = {
            **environment,
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint,
        }
        said = refusal(aws, *arguments, environment=nowhere)
    assert f"no answer from the instance metadata service at {endpoint} (timed out)" in said
    assert aws.calls(MODIFY) == 0
