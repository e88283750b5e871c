"""The answers of an instance's metadata service, and who gets them."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import boto3
import pytest

from infra.local.client import LocalAws
from infra.local.imds import CREDENTIALS, IDENTITY, METADATA, TOKEN, LocalImds
from infra.local.waiting import until
from tests.integration.local_resources import role

AWAY = "us-east-1"


def asked(imds: LocalImds, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Status and text of an answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(imds.endpoint_url + path, method=method, headers=named)  # noqa: S310  # our own
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def token_of(imds: LocalImds, seconds: str = "60") -> str:
    """A token."""
    status, token = asked(imds, TOKEN, "PUT", X_aws_ec2_metadata_token_ttl_seconds=seconds)
    assert status == 200
    return token


def change(aws: LocalAws, instance_id: str, region: str = "", **options: str) -> None:
    """Change options, and wait until they are applied."""
    aws.client("ec2", region).modify_instance_metadata_options(InstanceId=instance_id, **options)
    until(lambda: aws.metadata_options(instance_id, region)["State"] == "applied")


@pytest.fixture
def imds(aws: LocalAws) -> Iterator[LocalImds]:
    """The service of an instance that allows both versions and has a role."""
    role(aws, "web", {"Action": "ec2:DescribeInstances", "Resource": "*"})
    [instance] = aws.launch(AWAY, HttpTokens="optional")
    with LocalImds(aws, instance, AWAY, role="web") as imds:
        yield imds


def test_it_follows_the_options_of_its_instance(aws: LocalAws, imds: LocalImds) -> None:
    """Both versions, IMDSv2 only, and off."""
    token = token_of(imds)
    instance = json.loads(asked(imds, IDENTITY)[1])["instanceId"]
    assert asked(imds, METADATA)[0] == 200
    change(aws, instance, AWAY, HttpTokens="required")
    assert asked(imds, METADATA)[0] == 401
    assert asked(imds, METADATA, X_aws_ec2_metadata_token=token)[0] == 200
    change(aws, instance, AWAY, HttpEndpoint="disabled")
    assert asked(imds, METADATA, X_aws_ec2_metadata_token=token)[0] == 403
    headers = {"X_aws_ec2_metadata_token_ttl_seconds": "60"}
    assert asked(imds, TOKEN, "PUT", **headers)[0] == 403


def test_pending_options_are_not_in_force(aws: LocalAws, imds: LocalImds) -> None:
    """This is why the enforcer waits for `applied`."""
    instance = json.loads(asked(imds, IDENTITY)[1])["instanceId"]
    aws.knobs(apply_seconds=60)
    aws.client("ec2", AWAY).modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
    assert asked(imds, METADATA)[0] == 200
    aws.knobs(apply_seconds=0)
    assert asked(imds, METADATA)[0] == 401


def test_it_describes_its_own_instance(aws: LocalAws, imds: LocalImds) -> None:
    """Its region and account."""
    document = json.loads(asked(imds, IDENTITY)[1])
    assert (document["region"], document["accountId"]) == (AWAY, aws.account)
    assert aws.metadata_options(document["instanceId"], AWAY)["HttpTokens"] == "optional"
    assert asked(imds, f"{METADATA}instance-id")[1] == document["instanceId"]
    assert asked(imds, f"{METADATA}placement/region")[1] == AWAY
    assert asked(imds, "/latest/user-data")[0] == 404


@pytest.mark.parametrize("seconds", ["", "0", "21601", "-1", "soon"])
def test_a_token_request_needs_a_valid_time_to_live(imds: LocalImds, seconds: str) -> None:
    """A missing or invalid number of seconds is refused."""
    assert asked(imds, TOKEN, "PUT", X_aws_ec2_metadata_token_ttl_seconds=seconds)[0] == 400
    assert asked(imds, TOKEN, "PUT")[0] == 400


def test_it_accepts_only_its_own_tokens(aws: LocalAws, imds: LocalImds) -> None:
    """It refuses another instance's token and an expired one, even if it requires none."""
    [instance] = aws.launch(HttpTokens="required")
    with LocalImds(aws, instance) as other:
        assert asked(imds, METADATA, X_aws_ec2_metadata_token=token_of(other))[0] == 401
        assert asked(other, METADATA, X_aws_ec2_metadata_token=token_of(other))[0] == 200
    short = token_of(imds, "1")
    until(lambda: asked(imds, METADATA, X_aws_ec2_metadata_token=short)[0] == 401)


def test_a_proxy_gets_no_token(imds: LocalImds) -> None:
    """A proxy identifies itself with a header."""
    headers = {"X_aws_ec2_metadata_token_ttl_seconds": "60", "X_Forwarded_For": "10.0.0.1"}
    assert asked(imds, TOKEN, "PUT", **headers)[0] == 403


def test_its_credentials_are_a_session_of_its_role(
    aws: LocalAws, imds: LocalImds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 finds them by itself, and they have the role's permissions."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in imds.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    aws.enforce_iam()
    session = boto3.Session(region_name=AWAY)
    instance = json.loads(asked(imds, IDENTITY)[1])["instanceId"]
    arn = session.client("sts").get_caller_identity()["Arn"]
    assert arn == f"arn:aws:sts::{aws.account}:assumed-role/web/{instance}"
    session.client("ec2").describe_instances()
    with pytest.raises(Exception, match="UnauthorizedOperation"):
        session.client("ec2").describe_regions()


def test_an_instance_without_a_role_has_no_credentials(aws: LocalAws) -> None:
    """The answer is EC2's."""
    [instance] = aws.launch(HttpTokens="optional")
    with LocalImds(aws, instance) as imds:
        assert asked(imds, CREDENTIALS)[0] == 404
