import json
import re
import subprocess
import sys
from collections.abc import Iterator
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
    """Every file of a folder and what is in it, as a digest."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


ELSEWHERE = ("target", "prefix", "root")
"""Where pip.conf may send what is installed, beside the user's own folder."""


class TestInstalling:
    """What pip is asked for."""

    @pytest.fixture(autouse=True)
    def _nothing_built(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The libraries are installed anew."""
        monkeypatch.setattr(package, "BUILD", tmp_path / "build")

    def test_a_file_with_another_hash_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """There is no package then."""
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

    def test_the_users_own_places_do_not_count(
        self, asset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither those in pip.conf nor those in variables; what it says of indexes does."""
        lines = [f"{name} = {tmp_path / name}" for name in ELSEWHERE]
        (tmp_path / "pip.conf").write_text("\n".join(["[install]", "user = true", *lines, ""]))
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
        monkeypatch.setenv("PIP_USER", "1")
        assert contents(package.build()) == contents(asset)
        assert not [name for name in ELSEWHERE if (tmp_path / name).exists()]


class TestContents:
    """What is uploaded."""

    def test_nothing_is_compiled(self, asset: Path) -> None:
        """Pure Python fits every architecture, and byte code would differ from build to build."""
        names = contents(asset)
        assert not [name for name in names if Path(name).suffix in {".pyc", ".so", ".pyd", ".dll", ".dylib"}]
        assert not [name for name in names if {"__pycache__", "bin"} & {*Path(name).parts}]

    def test_it_is_the_enforcer_and_its_libraries(self, asset: Path) -> None:
        """No test tools, and of botocore's models only those that the function uses, with what all of them need."""
        assert {path.name for path in asset.iterdir() if path.suffix != ".dist-info"} == {
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
        """Which nobody reads there; all that clients are made of is as botocore has it."""
        models = [*(asset / "botocore" / "data").rglob("service-2.json*")]
        assert {model.suffix for model in models} == {".json"}
        assert not [model for model in models if '"documentation":"' in model.read_text()]
        whole = Loader()
        ours = Loader(extra_search_paths=[str(asset / "botocore" / "data")], include_default_search_paths=False)
        for service in package.SERVICES:
            original = without_documentation(whole.load_service_model(service, "service-2"))
            assert ours.load_service_model(service, "service-2") == original

    def test_every_source_is_in_it(self, asset: Path) -> None:
        """The schema of the policy included."""
        packed = contents(asset / "imds_enforcer")
        sources = {name: digest for name, digest in contents(package.SOURCES).items() if "__pycache__" not in name}
        assert packed == sources
        assert "policy/schema.json" in packed

    def test_the_same_inputs_make_the_same_package(
        self, asset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Built again from nothing it does not differ, so that a second deployment changes nothing."""
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
    """The package does its work on its own."""

    def test_it_answers_a_batch(self, account: LocalAws, runtime: LambdaRuntime) -> None:
        """The instance that runs is changed, and the message that makes no sense comes back."""
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
        """A sweep finds what no event told of."""
        (instance,) = account.launch(HttpTokens="optional")
        report = runtime.invoke({"trigger": "schedule"})
        assert report["trigger"] == "schedule"
        assert report["outcomes"]["REMEDIATED"] == 1
        assert http_tokens(account, instance) == "required"


@pytest.mark.parametrize("service", package.SERVICES)
def test_each_service_can_be_called(account: LocalAws, asset: Path, service: str) -> None:
    """From the package alone: what botocore needs besides the model is in it too."""
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
    """A message as Lambda hands it over."""
    return {
        "messageId": message_id,
        "receiptHandle": f"{message_id}-receipt",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSource": "aws:sqs",
    }


def http_tokens(account: LocalAws, instance: str) -> str:
    """The toggle of an instance, as EC2 has it now."""
    filters = [{"Name": "instance-id", "Values": [instance]}]
    answer = account.client("ec2").describe_instances(Filters=filters)
    return str(answer["Reservations"][0]["Instances"][0]["MetadataOptions"]["HttpTokens"])
