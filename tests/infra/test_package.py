import json
import marshal
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader

from infra import package
from infra.local.client import LocalAws
from infra.local.ledger_table import create_ledger_table
from tests.infra.lambda_runtime import LambdaRuntime

ACCOUNT = "210987654321"


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file of a folder."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


ELSEWHERE = ("target", "prefix", "root")
"""The settings with which pip.conf may name an install location, besides `user`."""


class TestInstalling:
    """How pip is called."""

    @pytest.fixture(autouse=True)
    def _nothing_built(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each test installs the libraries again."""
        monkeypatch.setattr(package, "BUILD", tmp_path / "build")

    def test_a_file_with_another_hash_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """No package is built then."""
        hashes = re.compile(r"(?<=\nsix==)(\S+ \\)(\n +--hash=\S+( \\)?)+")
        text, found = hashes.subn(rf"\1\n    --hash=sha256:{'0' * 64}", package.REQUIREMENTS.read_text())
        assert found == 1
        (tmp_path / "requirements.txt").write_text(text)
        monkeypatch.setattr(package, "ROOT", tmp_path)
        monkeypatch.setattr(package, "REQUIREMENTS", tmp_path / "requirements.txt")
        monkeypatch.setattr(package, "__file__", str(tmp_path / "requirements.txt"))
        with pytest.raises(subprocess.CalledProcessError):
            package.build()
        assert "DO NOT MATCH THE HASHES" in capfd.readouterr().err
        assert list(package.BUILD.iterdir()) == []

    def test_the_users_install_locations_are_ignored(
        self, asset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those in pip.conf and those in variables; settings for indexes are respected."""
        lines = [f"{name} = {tmp_path / name}" for name in ELSEWHERE]
        (tmp_path / "pip.conf").write_text("\n".join(["[install]", "user = true", *lines, ""]))
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
        monkeypatch.setenv("PIP_USER", "1")
        assert contents(package.build()) == contents(asset)
        assert not [name for name in ELSEWHERE if (tmp_path / name).exists()]


class TestByteCode:
    """Byte code of the runtime's Python; in these tests, this Python counts as the runtime's."""

    @pytest.fixture(autouse=True)
    def _runtime(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(package, "RUNTIME", sys.version_info[:2])
        monkeypatch.setattr(package, "BUILD", tmp_path / "build")

    def test_the_same_sources_make_the_same_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Even in another folder and with other string hashes: otherwise each deployment would replace the function.

        Each module is compiled, with its path in Lambda, so that a cold start imports faster.
        """
        monkeypatch.setenv("PYTHONHASHSEED", "1")
        compiled = package.build()
        first = contents(compiled)
        monkeypatch.setattr(package, "BUILD", tmp_path / "elsewhere" / "in" / "another" / "folder")
        monkeypatch.setenv("PYTHONHASHSEED", "2")
        assert contents(package.build()) == first
        assert stems(first, ".pyc") == stems(first, ".py")

        [handler] = (compiled / "imds_enforcer" / "__pycache__").glob("handler.*.pyc")
        code = marshal.loads(handler.read_bytes()[16:])  # noqa: S302  # our own
        assert code.co_filename == "/var/task/imds_enforcer/handler.py"

        shutil.copytree(compiled, tmp_path / "without", ignore=shutil.ignore_patterns("__pycache__"))
        pairs = [(import_seconds(compiled), import_seconds(tmp_path / "without")) for _ in range(3)]
        assert min(fast for fast, _ in pairs) < 0.75 * min(slow for _, slow in pairs)

    def test_the_format_is_in_the_caches_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another Python of the same version may write another format."""
        monkeypatch.setattr(package, "_install", lambda _folder: None)
        before = package.build()
        monkeypatch.setattr(package, "MAGIC_NUMBER", b"another")
        assert package.build() != before

    def test_missing_byte_code_is_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the command that includes it."""
        assert package.byte_code_missing() == ""
        monkeypatch.setattr(package, "RUNTIME", (3, 99))
        assert package.byte_code_missing().endswith(" To include byte code: make PYTHON=python3.99 …\n")


def stems(names: Iterable[str], suffix: str) -> set[str]:
    """The modules among these files."""
    return {Path(name).name.partition(".")[0] for name in names if name.endswith(suffix)}


def import_seconds(folder: Path) -> float:
    """How long a new process takes to import the enforcer from the folder, without writing there."""
    program = (
        "import time; began = time.perf_counter(); import imds_enforcer.application, imds_enforcer.aws.services; "
        "print(time.perf_counter() - began)"
    )
    environment = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    return float(done.stdout)


class TestContents:
    """What is uploaded."""

    def test_it_has_no_machine_code(self, asset: Path) -> None:
        """Pure Python fits every architecture. If this Python is the runtime's, each module has byte code."""
        names = contents(asset)
        assert not [name for name in names if Path(name).suffix in {".so", ".pyd", ".dll", ".dylib"}]
        assert not [name for name in names if "bin" in Path(name).parts]
        assert stems(names, ".pyc") == (stems(names, ".py") if package.has_byte_code() else set())

    def test_it_is_the_enforcer_and_its_libraries(self, asset: Path) -> None:
        """No test tools, and of botocore's data only the models that the function uses and what they share."""
        found = {path.name for path in asset.iterdir() if path.suffix != ".dist-info"} - {"__pycache__"}
        assert found == {
            "aws_lambda_powertools",
            "boto3",
            "botocore",
            "dateutil",
            "fastjsonschema",
            "imds_enforcer",
            "jmespath",
            "s3transfer",
            "six.py",
            "typing_extensions.py",
            "urllib3",
        }
        assert {path.name for path in (asset / "botocore" / "data").iterdir()} == {
            *package.SERVICES,
            "_retry.json",
            "endpoints.json",
            "partitions.json",
            "sdk-default-configuration.json",
        }

    def test_models_are_without_their_documentation(self, asset: Path) -> None:
        """A function never reads it; the rest of each model is botocore's."""
        models = [*(asset / "botocore" / "data").rglob("service-2.json*")]
        assert {model.suffix for model in models} == {".json"}
        assert not [model for model in models if '"documentation":"' in model.read_text()]
        whole = Loader()
        ours = Loader(extra_search_paths=[str(asset / "botocore" / "data")], include_default_search_paths=False)
        for service in package.SERVICES:
            original = without_documentation(whole.load_service_model(service, "service-2"))
            assert ours.load_service_model(service, "service-2") == original

    def test_every_source_is_in_it(self, asset: Path) -> None:
        """Including the policy's schema."""
        packed, sources = (
            {name: digest for name, digest in contents(folder).items() if "__pycache__" not in name}
            for folder in (asset / "imds_enforcer", package.SOURCES)
        )
        assert packed == sources
        assert "policy/schema.json" in packed

    def test_the_same_inputs_make_the_same_package(
        self, asset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A package built from scratch does not differ, so a second deployment changes nothing."""
        monkeypatch.setattr(package, "BUILD", tmp_path)
        assert contents(package.build()) == contents(asset)

    def test_versions_can_still_be_read(self, asset: Path) -> None:
        """Vulnerability scanners find them where pip puts them."""
        found = {f"{d.name.replace('_', '-')}=={d.version}" for d in distributions(path=[str(asset)])}
        assert found == set(re.findall(r"^\S+==\S+", package.REQUIREMENTS.read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def account(local_aws: LocalAws) -> LocalAws:
    """An account with the parameters, a queue and a topic, but no stack."""
    aws = local_aws.in_account(ACCOUNT)
    ssm = aws.client("ssm")
    ssm.put_parameter(Name="/imds-enforcer/http-tokens", Value="required", Type="String")
    ssm.put_parameter(Name="/imds-enforcer/policy", Value="{}", Type="String")
    return aws


@pytest.fixture(scope="module")
def runtime(account: LocalAws, asset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LambdaRuntime]:
    """The package under the real runtime client, with nothing else to import from."""
    create_ledger_table(account, "ledger")
    environment = account.environment() | {
        "HTTP_TOKENS_PARAMETER": "/imds-enforcer/http-tokens",
        "POLICY_PARAMETER": "/imds-enforcer/policy",
        "EVENT_QUEUE_URL": account.client("sqs").create_queue(QueueName="events")["QueueUrl"],
        "NOTIFICATION_TOPIC_ARN": account.client("sns").create_topic(Name="notifications")["TopicArn"],
        "LEDGER_TABLE": "ledger",
    }
    arn = f"arn:aws:lambda:{account.region}:{ACCOUNT}:function:enforcer"
    with LambdaRuntime(asset, tmp_path_factory.mktemp("runtime"), environment, arn) as runtime:
        yield runtime


class TestUnderTheRuntimeClient:
    """The package works without any other library."""

    def test_it_answers_a_batch(self, account: LocalAws, runtime: LambdaRuntime) -> None:
        """The running instance is changed, and the invalid message is returned."""
        (instance,) = account.launch(HttpTokens="optional")
        running = {
            "version": "0",
            "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
            "source": "aws.ec2",
            "detail-type": "EC2 Instance State-change Notification",
            "account": ACCOUNT,
            "region": account.region,
            "time": datetime.now(UTC).isoformat(),
            "detail": {"instance-id": instance, "state": "running"},
        }
        answer = runtime.invoke({"Records": [record("good", json.dumps(running)), record("bad", "{}")]})
        assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
        assert http_tokens(account, instance) == "required"

    def test_it_answers_a_schedule(self, account: LocalAws, runtime: LambdaRuntime) -> None:
        """A sweep finds an instance without an event."""
        (instance,) = account.launch(HttpTokens="optional")
        report = runtime.invoke({"trigger": "schedule"})
        assert report["trigger"] == "schedule"
        assert report["outcomes"]["REMEDIATED"] == 1
        assert http_tokens(account, instance) == "required"


@pytest.mark.parametrize("service", package.SERVICES)
def test_each_service_can_be_called(account: LocalAws, asset: Path, service: str) -> None:
    """The package alone has what botocore needs besides the model."""
    calls = {
        "ec2": "describe_regions",
        "ssm": "describe_parameters",
        "sqs": "list_queues",
        "sns": "list_topics",
        "dynamodb": "list_tables",
        "cloudwatch": "list_metrics",
    }
    program = f"import boto3; print(boto3.__file__); boto3.client({service!r}).{calls[service]}()"
    environment = account.environment() | {"PYTHONPATH": str(asset), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(  # noqa: S603  # this very interpreter
        [sys.executable, "-S", "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(asset)


def without_documentation(model: Any) -> Any:
    """A part of a model without its texts."""
    if isinstance(model, list):
        return [without_documentation(each) for each in model]
    if not isinstance(model, dict):
        return model
    kept = {key: value for key, value in model.items() if key != "documentation" or not isinstance(value, str)}
    return {key: without_documentation(value) for key, value in kept.items()}


def record(message_id: str, body: str) -> dict[str, Any]:
    """A message as Lambda passes it."""
    return {
        "messageId": message_id,
        "receiptHandle": f"{message_id}-receipt",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSource": "aws:sqs",
    }


def http_tokens(account: LocalAws, instance: str) -> str:
    """The instance's current HttpTokens."""
    filters = [{"Name": "instance-id", "Values": [instance]}]
    answer = account.client("ec2").describe_instances(Filters=filters)
    return str(answer["Reservations"][0]["Instances"][0]["MetadataOptions"]["HttpTokens"])
