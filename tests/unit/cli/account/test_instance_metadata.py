"""The endpoint of the metadata service, and how long the command waits for an answer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ProfileNotFound

from imds_enforcer_cli.account import instance_metadata
from imds_enforcer_cli.account.instance_metadata import Answer, InstanceMetadata
from imds_enforcer_cli.console.errors import CommandError

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own configuration only; changes to `no_proxy` do not outlive the test."""
    for name in ("AWS_EC2_METADATA_DISABLED", ENDPOINT, "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("no_proxy", "example.com")


@pytest.mark.parametrize(
    ("environment", "host"),
    [
        ({}, "169.254.169.254"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, "[fd00:ec2::254]"),
        ({ENDPOINT: "http://127.0.0.1:4567/"}, "127.0.0.1"),
        ({ENDPOINT: "http://[::1]:4567", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv6"}, "[::1]"),
    ],
)
def test_the_endpoint_is_that_of_boto3(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], host: str) -> None:
    """boto3 asks the same endpoint for the role's credentials, without a proxy."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert instance_metadata.here(None).host == host
    assert os.environ["no_proxy"] == f"example.com,{host}"


def test_a_profile_may_name_the_endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """boto3 reads the same setting."""
    (tmp_path / "config").write_text("[profile box]\nec2_metadata_service_endpoint = http://127.0.0.2\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert instance_metadata.here("box").host == "127.0.0.2"
    with pytest.raises(ProfileNotFound):
        instance_metadata.here("missing")


@pytest.mark.parametrize(
    "endpoint",
    ["localhost:80", "https://127.0.0.1", "http://", "http://[::1", "http://127.0.0.1:port", "http://127.0.0.1:0"],
)
def test_an_invalid_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """The error names the value received and the values allowed."""
    monkeypatch.setenv(ENDPOINT, endpoint)
    with pytest.raises(CommandError) as refusal:
        instance_metadata.here(None)
    assert refusal.value.message == (
        f"the endpoint of the instance metadata service is {endpoint!r} ({ENDPOINT}); "
        "allowed: an http URL such as http://169.254.169.254"
    )


@pytest.mark.parametrize("name", ["AWS_METADATA_SERVICE_TIMEOUT", "AWS_METADATA_SERVICE_NUM_ATTEMPTS"])
@pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5"])
def test_an_invalid_timeout_or_number_of_attempts(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """boto3 itself ends with a traceback."""
    monkeypatch.setenv(name, value)
    with pytest.raises(CommandError, match=f"^{name} is invalid; allowed: a whole number, 1 or more$"):
        instance_metadata.here(None)


def test_a_disabled_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 respects the same variable."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "True")
    with pytest.raises(CommandError, match="AWS_EC2_METADATA_DISABLED is true"):
        instance_metadata.here(None)


def test_the_number_of_attempts() -> None:
    """The service of an instance that has just started may be slow."""

    class Slow(InstanceMetadata):
        asked = 0

        def send(self, *_: object) -> Answer:
            self.asked += 1
            if self.asked < 3:
                raise TimeoutError
            return Answer(200, "token")

    assert Slow("http://169.254.169.254", attempts=3).token() == Answer(200, "token")
    with pytest.raises(CommandError, match=r"no answer .* \(TimeoutError\)"):
        Slow("http://169.254.169.254", attempts=2).token()
