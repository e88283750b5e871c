"""The installed command with a profile of `aws login`, whose requests are signed with the profile's own key."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from infra.local import operator
from infra.local.client import SECRET, LocalAws

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SESSION = "arn:aws:iam::111122223333:user/ann"
KEY = """
import base64
from awscrt.crypto import EC, ECExportFormat, ECType
print(base64.b64encode(EC.new_generate(ECType.P_256).export_key(ECExportFormat.SEC1)).decode())
"""
"""Makes a key like that of `aws login`."""


class SignIn(HTTPServer):
    """The sign-in service: gives the account's credentials for a refresh token. `proofs` are signatures of the key."""

    def __init__(self, account: str) -> None:
        super().__init__(("127.0.0.1", 0), _SignInRequest)
        self.account = account
        self.proofs: list[str] = []


class _SignInRequest(BaseHTTPRequestHandler):
    server: SignIn

    def do_POST(self) -> None:
        """Answer CreateOAuth2Token."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.proofs.append(self.headers["DPoP"])
        keys = {"accessKeyId": self.server.account, "secretAccessKey": SECRET, "sessionToken": "token"}
        answer = {"accessToken": keys, "tokenType": "aws_sigv4", "expiresIn": 900, "refreshToken": "second"}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Keep the log out of the tests' output."""


@pytest.fixture
def sign_in(aws: LocalAws) -> Iterator[SignIn]:
    """The service, for this account."""
    with SignIn(aws.account) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def profile(aws: LocalAws, sign_in: SignIn, tmp_path: Path) -> dict[str, str]:
    """The environment of an operator who signed in a while ago."""
    key = subprocess.run(  # noqa: S603  # the command's own Python
        [str(operator.COMMAND.with_name("python")), "-c", KEY], capture_output=True, text=True, check=True
    ).stdout.strip()
    token: dict[str, Any] = {
        "accessToken": {
            "accessKeyId": "expired",
            "secretAccessKey": "expired",
            "sessionToken": "expired",
            "accountId": aws.account,
            "expiresAt": "2026-01-01T00:00:00Z",
        },
        "clientId": "arn:aws:signin:::devtools/same-device",
        "refreshToken": "first",
        "dpopKey": f"-----BEGIN EC PRIVATE KEY-----\n{key}\n-----END EC PRIVATE KEY-----\n",
    }
    (tmp_path / f"{sha256(SESSION.encode()).hexdigest()}.json").write_text(json.dumps(token))
    config = tmp_path / "config"
    config.write_text(f"[profile ann]\nregion = {aws.region}\nlogin_session = {SESSION}\n")
    environment = aws.environment() | {
        "AWS_CONFIG_FILE": str(config),
        "AWS_LOGIN_CACHE_DIRECTORY": str(tmp_path),
        "AWS_ENDPOINT_URL_SIGNIN": f"http://127.0.0.1:{sign_in.server_port}",
    }
    del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
    return environment


def test_a_profile_of_aws_login(aws: LocalAws, sign_in: SignIn, profile: dict[str, str]) -> None:
    """The command fetches new credentials with a proof of the key, and works in the profile's account."""
    [instance] = aws.launch(HttpTokens="required")
    done = operator.run(
        aws, "verify", instance, "--version-2-state", "required", "--profile", "ann", environment=profile
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert instance in done.stdout
    [proof] = sign_in.proofs
    header = json.loads(base64.urlsafe_b64decode(proof.partition(".")[0] + "=="))
    assert (header["typ"], header["alg"]) == ("dpop+jwt", "ES256")


def test_without_its_library(aws: LocalAws, sign_in: SignIn, profile: dict[str, str]) -> None:
    """If the library is switched off or missing, one line names what to install."""
    done = operator.run(aws, "status", "--profile", "ann", environment=profile | {"BOTO_DISABLE_CRT": "true"})
    assert (done.returncode, done.stdout, sign_in.proofs) == (2, "", [])
    [line] = done.stderr.splitlines()
    assert line.startswith("imds-enforcer: no credentials from the profile ann: MissingDependencyException: ")
    assert 'pip install "botocore[crt]"' in line
