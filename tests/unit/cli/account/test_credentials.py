"""Profiles that yield no credentials: each ends with exit code 2 and one line that names the profile."""

from __future__ import annotations

import json
import sys
from hashlib import sha1
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from imds_enforcer_cli.main import app

if TYPE_CHECKING:
    from pathlib import Path

ROLE = "role_arn = arn:aws:iam::111122223333:role/operator"
SSO = "sso_account_id = 111122223333\nsso_role_name = operator\nsso_region = eu-west-1"
NO_CREDENTIALS = "imds-enforcer: no credentials from the profile work: "


@pytest.fixture(autouse=True)
def _no_other_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There are no credentials outside the profile."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The configuration file with the profile `work`."""
    file = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    return file


def said(config: Path, profile: str, *more: str) -> str:
    """The command's one-line error with these settings in the profile."""
    config.write_text("\n".join((f"[profile work]\nregion = eu-west-1\n{profile}", *more)))
    result = CliRunner().invoke(app, ["history", "--profile", "work"], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    return str(line)


def a_process(script: str) -> str:
    """A credential_process that runs this Python script."""
    return f"credential_process = '{sys.executable}' -c {json.dumps(script)}"


def printing(**fields: Any) -> str:
    """A credential_process that prints valid credentials, except for these fields."""
    document = {"Version": 1, "AccessKeyId": "key", "SecretAccessKey": "secret"} | fields
    return a_process(f"print('''{json.dumps(document)}'''.replace('^', chr(34)))").replace('\\"', "^")


NO_JSON = "its credential_process does not print JSON: "


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (a_process("print('hello')"), f"{NO_JSON}Expecting value: line 1 column 1 (char 0)"),
        (a_process("pass"), f"{NO_JSON}Expecting value: line 1 column 1 (char 0)"),
        (a_process("import os; os.write(1, bytes([255]))"), f"{NO_JSON}'utf-8' codec can't decode byte 0xff in "),
        (a_process("print([1])"), "its credential_process prints JSON that is not an object"),
        (a_process("print('null')"), "its credential_process prints JSON that is not an object"),
        (printing(Version=2), "CredentialRetrievalError: Error when retrieving credentials from custom-process: Unsup"),
        (printing(AccessKeyId=5), "its credential_process prints keys that are not text"),
        (printing(Expiration="soon"), "Unknown string format: soon"),
        (printing(Expiration=5), "Parser must be a string or character stream, not int"),
        (a_process("import sys; sys.exit('not\\nsigned in')"), "CredentialRetrievalError: Error when retrieving "),
        (a_process("import sys; sys.exit(3)"), "CredentialRetrievalError: Error when retrieving credentials from cus"),
        ("credential_process = no-such-tool --json", "no-such-tool: No such file or directory"),
        ("credential_process = sh -c 'echo", "No closing quotation"),
    ],
)
def test_a_credential_process_that_fails(config: Path, profile: str, reason: str) -> None:
    """It prints something else than credentials, ends with an error, or does not exist."""
    assert said(config, profile).startswith(NO_CREDENTIALS + reason)


def test_the_message_of_a_credential_process(config: Path) -> None:
    """It is on one line, however many lines the process wrote."""
    line = said(config, a_process("import sys; sys.exit('not\\nsigned in')"))
    assert line.endswith("Error when retrieving credentials from custom-process: not signed in")


def test_the_credential_process_of_another_profile(config: Path) -> None:
    """The error names the profile that the user chose."""
    other = "[profile other]\n" + a_process("print('hello')")
    line = said(config, f"{ROLE}\nsource_profile = other", other)
    assert line.startswith(f"{NO_CREDENTIALS}{NO_JSON}Expecting value")


def test_the_default_profile(config: Path) -> None:
    """The error calls it `default`."""
    config.write_text("[default]\nregion = eu-west-1\ncredential_process = no-such-tool\n")
    result = CliRunner().invoke(app, ["history"], catch_exceptions=False)
    said = "imds-enforcer: no credentials from the profile default: no-such-tool: No such file or directory\n"
    assert (result.exit_code, result.stderr) == (2, said)


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (
            f"{ROLE}\nsource_profile = gone",
            'The source_profile "gone" referenced in the profile "work" does not exist.',
        ),
        (ROLE, "Partial credentials found in assume-role, missing: source_profile or credential_source"),
        (
            f"{ROLE}\ncredential_source = Moon",
            'The credential source "Moon" referenced in profile "work" is not valid.',
        ),
        (f"{ROLE}\nweb_identity_token_file = /gone", "/gone: No such file or directory"),
        ("aws_access_key_id = key", "Partial credentials found in config-file, missing: aws_secret_access_key"),
        (f"sso_session = gone\n{SSO}", 'The specified sso-session does not exist: "gone"'),
        (
            f"sso_start_url = https://example.awsapps.com/start\n{SSO}",
            "Token for https://example.awsapps.com/start does not exist; sign in with: aws sso login --profile work",
        ),
        ("login_session = arn:aws:iam::111122223333:user/ann", "Please reauthenticate with 'aws login'."),
    ],
)
def test_an_incomplete_profile(config: Path, monkeypatch: pytest.MonkeyPatch, profile: str, reason: str) -> None:
    """The message is botocore's."""
    monkeypatch.setattr("botocore.credentials.EC", object())
    line = said(config, profile)
    assert line.startswith(NO_CREDENTIALS)
    assert line.endswith(reason)


@pytest.mark.parametrize("provider", ["tokens.SSOTokenProvider", "credentials.SSOProvider"])
def test_an_sso_session_that_has_expired(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """The error says how to sign in again, both for a profile with a session and for one with the older settings."""
    start_url = "https://example.awsapps.com/start"
    monkeypatch.setattr(f"botocore.{provider}._SSO_TOKEN_CACHE_DIR", str(tmp_path))
    token = json.dumps({"accessToken": "token", "expiresAt": "2020-01-01T00:00:00Z"})
    for name in ("office", start_url):
        (tmp_path / f"{sha1(name.encode()).hexdigest()}.json").write_text(token)  # noqa: S324  # as botocore does it
    if provider.startswith("tokens"):
        session = f"[sso-session office]\nsso_start_url = {start_url}\nsso_region = eu-west-1"
        line = said(config, f"sso_session = office\n{SSO}", session)
        assert line.endswith("Token has expired and refresh failed; sign in with: aws sso login --profile work")
    else:
        line = said(config, f"sso_start_url = {start_url}\n{SSO}")
        assert "has expired or is otherwise invalid. To refresh this SSO session run aws sso login" in line
    assert line.startswith(NO_CREDENTIALS)


def test_aws_login_without_its_library(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setattr("botocore.credentials.EC", None)
    line = said(config, "login_session = arn:aws:iam::111122223333:user/ann")
    assert line.startswith(f"{NO_CREDENTIALS}MissingDependencyException: ")
    assert 'pip install "botocore[crt]"' in line


def test_an_mfa_code_without_a_terminal(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is neither read from a pipe nor echoed."""
    monkeypatch.setattr("os.open", _no_terminal)
    source = "[profile other]\naws_access_key_id = key\naws_secret_access_key = secret"
    line = said(config, f"{ROLE}\nsource_profile = other\nmfa_serial = arn:aws:iam::111122223333:mfa/ann", source)
    assert line == f"{NO_CREDENTIALS}the profile needs an MFA code, but there is no terminal where you can enter it"


def _no_terminal(*_: object) -> int:
    """Replaces the function that opens /dev/tty."""
    raise OSError(6, "No such device or address", "/dev/tty")


@pytest.mark.parametrize("content", ["[profile work\n", "[profile work]\nregion\n", "[profile work]\nregion = \xff\n"])
def test_a_file_that_cannot_be_parsed(config: Path, content: str) -> None:
    """The error names the file."""
    config.write_bytes(content.encode("latin-1"))
    result = CliRunner().invoke(app, ["history", "--profile", "work"], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (2, f"imds-enforcer: Unable to parse config file: {config}\n")
