"""The deployed enforcer as a test uses it: clean at the start, with control over everything around it."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from infra.local.client import LocalAws
from infra.local.deployment import HTTP_TOKENS, POLICY, Deployment
from infra.local.ledger_table import empty_table
from infra.local.waiting import until

HOME = "eu-west-1"
FORWARDED = "us-east-1"
REGIONS = (HOME, FORWARDED)
MODIFY = "ec2:ModifyInstanceMetadataOptions"

SET_DEFAULTS = "ec2:ModifyInstanceMetadataDefaults"
NO_PREFERENCE: Mapping[str, Any] = {
    "HttpTokens": "no-preference",
    "HttpPutResponseHopLimit": -1,
    "InstanceMetadataTags": "no-preference",
}

BATCHING_WINDOW_SECONDS = 0.2
"""Replaces the event source's second, on which no test depends but for which each would wait."""


PATIENCE_SECONDS = 60
"""How long a test waits for anything; a cold start on a busy machine has taken 15 s."""


class Stage(Deployment):
    """The stacks on a local AWS, seen from outside; `deploy_again` deploys them once more."""

    def __init__(self, aws: LocalAws, deploy_again: Callable[[LocalAws], object]) -> None:
        super().__init__(aws)
        self.deploy_again = deploy_again
        self.mailbox = Mailbox(aws, self.outputs["NotificationTopicArn"])
        self._sqs = aws.client("sqs")
        self._deployed_environment = self._function()["Environment"]["Variables"]
        self._restarts = 0
        self._left_at: Mapping[str, int] | None = None

    def prepare(self, policy: Mapping[str, Any]) -> None:
        """Set the state in which every test begins: IAM enforced, `required` and this policy, nothing under way.

        It does not set up again what the previous test left unchanged: a sweep and a cold start take long.
        """
        self.aws.reset()
        self.aws.enforce_iam()
        self.aws.knobs(batching_window_seconds=BATCHING_WINDOW_SECONDS)
        for region in REGIONS:
            self._terminate_all(region)
        wanted = {HTTP_TOKENS: "required", POLICY: json.dumps(policy)}
        values, versions = self._parameters()
        if values != wanted or versions != self._left_at or self.messages("EventQueueUrl"):
            self._sqs.purge_queue(QueueUrl=self.outputs["EventQueueUrl"])
            if values[HTTP_TOKENS] != wanted[HTTP_TOKENS]:
                self.settle(http_tokens=self.set_http_tokens(wanted[HTTP_TOKENS]))
            if values[POLICY] != wanted[POLICY]:
                self.settle(policy=self.set_policy(wanted[POLICY]))
            if values == wanted and self._left_at is not None and versions != self._left_at:
                self._end_sweeps(versions)
            self.restart()
        for output in ("DeadLetterQueueUrl", "LostInvocationsQueueUrl"):
            self._sqs.purge_queue(QueueUrl=self.outputs[output])
        empty_table(self.aws, self.outputs["LedgerTableName"])
        self.mailbox.empty()
        self.forget_log()
        self.aws.reset_calls()
        self._left_at = self._parameters()[1]

    def _end_sweeps(self, versions: Mapping[str, int]) -> None:
        """Let the sweeps that the last change started end: a restart would kill them, and Lambda would retry them."""
        # The previous test may have kept them from starting or ending.
        with suppress(TimeoutError):
            self.settle(http_tokens=versions[HTTP_TOKENS], policy=versions[POLICY])

    def spoil(self) -> None:
        """Trust nothing of the current state: the next test sets everything up again."""
        self._left_at = None

    def restart(self, **variables: str) -> None:
        """Start the function in new workers and end the old ones, as a change of its environment does.

        A warm worker may decide a batch by a policy up to 2 s old. Call this before a change of the policy that the
        next batch must follow: a new worker reads it first. `variables` are in its environment until the next restart.
        """
        self._restarts += 1
        self._lambda.update_function_configuration(
            FunctionName=self.outputs["FunctionName"],
            Environment={"Variables": {**self._deployed_environment, **variables, "RESTARTS": str(self._restarts)}},
        )

    def warm_up(self) -> None:
        """Start a worker that has read the policy."""
        self.invoke({"Records": []})

    def writes(self) -> int:
        """How often the enforcer tried to change an instance."""
        return self.calls()[MODIFY]

    def defaults(self, region: str) -> dict[str, Any]:
        """The account defaults in a region, without their manager."""
        found = self.aws.client("ec2", region).get_instance_metadata_defaults()["AccountLevel"]
        return {name: value for name, value in found.items() if not name.startswith("Managed")}

    def prefer(self, region: str = HOME, **defaults: Any) -> None:
        """Set account defaults by hand, as root."""
        self.aws.client("ec2", region).modify_instance_metadata_defaults(**defaults)

    def prefer_nothing(self) -> None:
        """Remove the account defaults in both regions."""
        for region in REGIONS:
            self.prefer(region, HttpTokensEnforced="no-preference", **NO_PREFERENCE)

    def send(self, *events: Mapping[str, Any] | str) -> None:
        """Put events on the event queue as its rules do; a text goes as it is."""
        for event in events:
            body = event if isinstance(event, str) else json.dumps(event)
            self._sqs.send_message(QueueUrl=self.outputs["EventQueueUrl"], MessageBody=body)

    def dead_letters(self, count: int) -> list[str]:
        """The messages of the dead-letter queue, once it has this many."""
        return self._bodies("DeadLetterQueueUrl", count)

    def lost_invocations(self, count: int) -> list[Any]:
        """The events of the lost invocations, once there are this many."""
        return [json.loads(body)["requestPayload"] for body in self._bodies("LostInvocationsQueueUrl", count)]

    def _bodies(self, output: str, count: int) -> list[str]:
        until(lambda: self.messages(output), lambda found: found >= count, seconds=PATIENCE_SECONDS)
        url, bodies = self.outputs[output], []
        while messages := self._sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            bodies += [message["Body"] for message in messages]
        return bodies

    def wait_for_lines(self, count: int = 1, **fields: object) -> list[dict[str, Any]]:
        """The log lines with these fields, once there are this many."""
        return until(lambda: self.log_lines(**fields), lambda lines: len(lines) >= count, seconds=PATIENCE_SECONDS)

    def outcomes(self, instance_id: str) -> list[tuple[str, str]]:
        """Trigger and outcome of each log line about an instance, oldest first."""
        return [(line["trigger"], line["outcome"]) for line in self.log_lines(instance_id=instance_id)]

    def metric(self, name: str, region: str = "") -> float:
        """The sum of one of the enforcer's metrics since the deployment: in total, or of one region."""
        return self._sum("ImdsEnforcer", name, {"Region": region} if region else {})

    def lambda_metric(self, name: str) -> float:
        """The sum of one of Lambda's metrics about the function since the deployment."""
        return self._sum("AWS/Lambda", name, {"FunctionName": self.outputs["FunctionName"]})

    def _sum(self, namespace: str, name: str, dimensions: Mapping[str, str]) -> float:
        now = time.time()
        points = self.aws.client("cloudwatch").get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=[{"Name": each, "Value": value} for each, value in dimensions.items()],
            StartTime=now - 3 * 3600,
            EndTime=now + 60,
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    def begin_sweep(self, schedule: str = "sweep") -> None:
        """Fire a schedule; does not wait for the sweep that it starts."""
        self.aws.fire_schedule(f"imds-enforcer-{schedule}")

    def drift(self, instance_id: str, region: str = HOME, *, keys: Mapping[str, str] | None = None) -> None:
        """Allow IMDSv1 by hand, as root or with these keys."""
        self.aws.client("ec2", region, keys=keys).modify_instance_metadata_options(
            InstanceId=instance_id, HttpTokens="optional", HttpEndpoint="enabled"
        )

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Meanwhile nothing sends an event, so that all is left to the sweep."""
        self.aws.knobs(state_change_events=False, cloudtrail_events=False)
        yield
        self.aws.knobs(state_change_events=True, cloudtrail_events=True)

    def _function(self) -> dict[str, Any]:
        return dict(self._lambda.get_function_configuration(FunctionName=self.outputs["FunctionName"]))

    def _parameters(self) -> tuple[dict[str, str], dict[str, int]]:
        found = self._ssm.get_parameters(Names=[HTTP_TOKENS, POLICY])["Parameters"]
        return {each["Name"]: each["Value"] for each in found}, {each["Name"]: each["Version"] for each in found}

    def _terminate_all(self, region: str) -> None:
        ec2 = self.aws.client("ec2", region)
        live = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
        pages = ec2.get_paginator("describe_instances").paginate(Filters=live, IncludeManagedResources=True)
        ids = [i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]]
        if ids:
            ec2.terminate_instances(InstanceIds=ids)


class Mailbox:
    """A subscriber of the notification topic."""

    def __init__(self, aws: LocalAws, topic: str) -> None:
        self._sqs = aws.client("sqs")
        self._url = self._sqs.create_queue(QueueName="mailbox")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": json.dumps(policy)})
        aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        self._mails: list[tuple[str, str]] = []

    def empty(self) -> None:
        """Delete all mails."""
        self._sqs.purge_queue(QueueUrl=self._url)
        self._mails = []

    def mails(self) -> list[tuple[str, str]]:
        """Subject and text of every mail so far."""
        answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, VisibilityTimeout=600)
        for message in answer.get("Messages", []):
            mail = json.loads(message["Body"])
            self._mails.append((mail["Subject"], mail["Message"]))
        return self._mails

    def wait_for(self, subject: str, words: str = "") -> str:
        """The text of the first mail with these words in its subject and these in its text."""

        def found() -> list[str]:
            return [text for about, text in self.mails() if subject in about and words in text]

        return until(found, seconds=PATIENCE_SECONDS)[0]
