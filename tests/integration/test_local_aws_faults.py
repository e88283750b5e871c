import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, HTTPClientError
from botocore.parsers import ResponseParserError

from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.integration.local_resources import UNKNOWN, outcome, refused

EXPIRED = "The security token included in the request is expired"
INVALID = "The security token included in the request is invalid."
REFUSED_KEY = "AWS was not able to validate the provided access credentials"


def test_each_action_account_and_region_has_its_own_bucket(aws: LocalAws, local_aws: LocalAws) -> None:
    """The other bucket of the action, and those of other regions and accounts, stay full."""
    aws.knobs(request_buckets={"ec2:DescribeInstances": [2, 0.001]})
    ec2, wanted = aws.client("ec2"), [{"Name": "instance-id", "Values": [UNKNOWN]}]
    ec2.describe_instances(Filters=wanted)
    ec2.describe_instances(Filters=wanted)
    with pytest.raises(ClientError) as raised:
        ec2.describe_instances(Filters=wanted)
    assert raised.value.response["Error"]["Code"] == "RequestLimitExceeded"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    ec2.describe_instances()  # without filters and pages, it uses another bucket
    aws.client("ec2", "us-east-1").describe_instances(Filters=wanted)
    local_aws.client("ec2").describe_instances(Filters=wanted)


def test_the_published_buckets_allow_a_hundred_changes_at_once(aws: LocalAws) -> None:
    """After them, five a second."""
    aws.knobs(request_buckets="published")
    [instance] = aws.launch()
    modify = aws.client("ec2").modify_instance_metadata_options
    for _ in range(100):
        modify(InstanceId=instance, HttpTokens="required")
    assert "RequestLimitExceeded" in [outcome(modify, InstanceId=instance, HttpTokens="required") for _ in range(30)]


def test_a_fault_is_for_an_action_an_instance_and_a_number_of_calls(aws: LocalAws) -> None:
    """Only the second call for one instance fails."""
    one, two = aws.launch(count=2)
    aws.fail("ec2:ModifyInstanceMetadataOptions", "InternalError", instance_id=one, first=2, calls=1)
    modify = aws.client("ec2").modify_instance_metadata_options
    modify(InstanceId=one, HttpTokens="required")
    modify(InstanceId=two, HttpTokens="required")
    assert refused(modify, InstanceId=one, HttpTokens="required") == "InternalError"
    modify(InstanceId=one, HttpTokens="required")
    assert aws.calls("ec2:ModifyInstanceMetadataOptions") == 4
    assert aws.calls("ec2:ModifyInstanceMetadataOptions", error="InternalError") == 1


def test_a_service_control_policy_denies_an_action_in_a_region(aws: LocalAws) -> None:
    """EC2 names the kind of policy (IAM User Guide, "Troubleshoot access denied error messages")."""
    aws.deny("ec2:DescribeInstances", region="us-east-1")
    with pytest.raises(ClientError) as raised:
        aws.client("ec2", "us-east-1").describe_instances()
    error, answer = raised.value.response["Error"], raised.value.response["ResponseMetadata"]
    assert (error["Code"], answer["HTTPStatusCode"]) == ("UnauthorizedOperation", 403)
    assert error["Message"].endswith(
        "is not authorized to perform: ec2:DescribeInstances with an explicit deny in a service control policy"
    )
    aws.client("ec2", "us-east-1").describe_regions()
    aws.client("ec2").describe_instances()
    aws.clear_faults()
    aws.client("ec2", "us-east-1").describe_instances()


def test_an_endpoint_can_reject_an_unknown_parameter(aws: LocalAws) -> None:
    """With EC2's code; the same call without it succeeds (EC2 API Reference, "Error codes")."""
    aws.fail("ec2:DescribeInstances", "UnknownParameter", status=400, parameters={"IncludeManagedResources": "true"})
    describe = aws.client("ec2").describe_instances
    assert refused(describe, IncludeManagedResources=True) == "UnknownParameter"
    describe()


def test_only_calls_with_these_parameters_are_slow(aws: LocalAws) -> None:
    """A client that waits long enough gets the answer."""
    aws.launch()
    aws.fail("ec2:DescribeInstances", kind="hang", seconds=0.5, parameters={"MaxResults": "1000"})
    ec2, began = aws.client("ec2"), time.monotonic()
    assert ec2.describe_instances(MaxResults=1000)["Reservations"]
    assert time.monotonic() - began >= 0.5
    assert ec2.describe_instances(MaxResults=500)["Reservations"]
    aws.clear_faults()
    aws.fail("ec2:DescribeInstances", parameters={"MaxResults": "1000"})
    assert refused(ec2.describe_instances, MaxResults=1000) == "InternalError"
    assert outcome(ec2.describe_instances, MaxResults=500) == ""


@pytest.mark.parametrize("service", ["ssm", "sqs", "sns", "lambda", "cloudwatch", "dynamodb"])
def test_every_protocol_carries_the_error(aws: LocalAws, service: str) -> None:
    """boto3 reads the same code from XML and JSON."""
    actions: dict[str, tuple[str, str]] = {
        "ssm": ("ssm:DescribeParameters", "describe_parameters"),
        "sqs": ("sqs:ListQueues", "list_queues"),
        "sns": ("sns:ListTopics", "list_topics"),
        "lambda": ("lambda:ListFunctions", "list_functions"),
        "cloudwatch": ("cloudwatch:ListMetrics", "list_metrics"),
        "dynamodb": ("dynamodb:ListTables", "list_tables"),
    }
    action, method = actions[service]
    aws.fail(action, "ServiceUnavailable", status=503, calls=1)
    call = getattr(aws.client(service), method)
    assert refused(call) == "ServiceUnavailable"
    call()


@pytest.mark.parametrize(
    ("code", "service", "answered"),
    [
        ("ExpiredTokenException", "ec2", ("RequestExpired", 400, "Request has expired.")),
        ("ExpiredTokenException", "ssm", ("ExpiredTokenException", 400, EXPIRED)),
        ("ExpiredTokenException", "sns", ("ExpiredToken", 403, EXPIRED)),
        ("UnrecognizedClientException", "ec2", ("AuthFailure", 401, REFUSED_KEY)),
        ("UnrecognizedClientException", "ssm", ("UnrecognizedClientException", 400, INVALID)),
        ("UnrecognizedClientException", "sns", ("InvalidClientTokenId", 403, INVALID)),
        ("ExpiredToken", "ec2", ("ExpiredToken", 403, EXPIRED)),
        ("AuthFailure", "ec2", ("AuthFailure", 401, REFUSED_KEY)),
    ],
)
def test_each_service_refuses_credentials_with_its_own_code(
    aws: LocalAws, code: str, service: str, answered: tuple[str, int, str]
) -> None:
    """Every call from a given one on is refused, until the fault is cleared."""
    call = {
        "ec2": aws.client("ec2").describe_regions,
        "ssm": aws.client("ssm").describe_parameters,
        "sns": aws.client("sns").list_topics,
    }[service]
    aws.fail("*:*", code, first=2)
    call()
    with pytest.raises(ClientError) as raised:
        call()
    error, metadata = raised.value.response["Error"], raised.value.response["ResponseMetadata"]
    assert (error["Code"], metadata["HTTPStatusCode"], error["Message"]) == answered
    aws.clear_faults()
    call()


def test_a_fault_can_break_connections(aws: LocalAws) -> None:
    """Before an answer, or in the middle of one."""
    ec2 = aws.client("ec2")
    for kind, wanted in (("reset", HTTPClientError), ("truncate", ResponseParserError)):
        aws.fail("ec2:DescribeRegions", kind=kind, calls=1)
        with pytest.raises(wanted):
            ec2.describe_regions()
        assert ec2.describe_regions()["Regions"]
        aws.clear_faults()


def test_calls_are_counted_by_action_region_and_caller(aws: LocalAws) -> None:
    """So a test can assert that there was no write call at all."""
    aws.client("ec2", "us-east-1").describe_instances()
    aws.client("ec2").describe_instances()
    assert aws.calls("ec2:DescribeInstances") == 2
    assert aws.calls("ec2:DescribeInstances", region="us-east-1", caller="root") == 1
    aws.reset_calls()
    assert aws.calls() == 0


def test_latency_is_added_to_each_call(aws: LocalAws) -> None:
    """It stands for a distant endpoint."""
    ec2 = aws.client("ec2")
    aws.knobs(latency_seconds=0.2)
    began = time.monotonic()
    ec2.describe_regions()
    assert time.monotonic() - began >= 0.2


def test_the_table_has_a_latency_of_its_own(aws: LocalAws) -> None:
    """It applies to DynamoDB alone, and only if it is set."""
    dynamodb = aws.client("dynamodb")

    def took() -> float:
        began = time.monotonic()
        dynamodb.list_tables()
        return time.monotonic() - began

    aws.knobs(latency_seconds=0.2)
    assert took() >= 0.2
    aws.knobs(latency_seconds=0, table_latency_seconds=0.2)
    assert took() >= 0.2
    aws.knobs(latency_seconds=5, table_latency_seconds=0)
    assert took() < 5


def test_errors_about_knobs_and_faults_name_the_valid_ones(aws: LocalAws) -> None:
    """A misspelled knob is an error."""
    with pytest.raises(ValueError, match=r"the knob is 'apply'; allowed: .*apply_seconds"):
        aws.knobs(apply=1)
    with pytest.raises(ValueError, match=r"knob apply_seconds is 'soon'; allowed: a number, 0 or more"):
        aws.knobs(apply_seconds="soon")
    with pytest.raises(ValueError, match="action is 'DescribeInstances'; allowed: service:Action"):
        aws.fail("DescribeInstances")


def test_the_process_ends_with_the_program_that_started_it(tmp_path: Path) -> None:
    """Even a program that is killed leaves no process or folder behind."""
    script = """
        import os, signal
        from infra.local.client import LocalAws
        with LocalAws() as aws:
            print(aws._running._folder, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    started = subprocess.run(  # noqa: S603  # this very interpreter
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        env={"TMPDIR": str(tmp_path), "PYTHONPATH": ".", "PATH": ""},
    )
    folder = Path(started.stdout.strip())
    assert folder.parent == tmp_path
    until(lambda: not folder.exists())
