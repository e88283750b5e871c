"""An account whose instances allow IMDSv1, some of which must not be changed, and the events about them."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from imds_enforcer.settings import Settings
from infra.local.deployment import HTTP_TOKENS, POLICY
from infra.local.ledger_table import create_ledger_table
from tests.fakes import example_events
from tests.integration.local_resources import Queue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.local.client import LocalAws

HOME = "eu-west-1"
AWAY = "us-east-1"
REGIONS = (HOME, AWAY)
MODIFY = "ec2:ModifyInstanceMetadataOptions"
DESCRIBE = "ec2:DescribeInstances"

TRIPWIRE = "WrittenToProtected"
"""The code with which the local AWS refuses every attempt to change a protected instance."""

QUEUE = "events"
TABLE = "ledger"
TOPIC = "topic"
APPLY_SECONDS = 0.05


def settings(aws: LocalAws) -> Settings:
    """The function's settings in this account, with short waits because changes are soon applied here."""
    return Settings(
        http_tokens_parameter=HTTP_TOKENS,
        policy_parameter=POLICY,
        event_queue_url=f"{aws.endpoint_url}/{aws.account}/{QUEUE}",
        notification_topic_arn=f"arn:aws:sns:{aws.region}:{aws.account}:{TOPIC}",
        ledger_table=TABLE,
        batch_deadline_seconds=30,
        sweep_deadline_seconds=30,
        verify_timeout_seconds=5,
    )


class Fleet:
    """In each of two regions, instances that must follow the policy, and one of each protected kind.

    The account also has a policy that requires tokens, the event queue and the topic.
    """

    def __init__(self, aws: LocalAws, healthy: int = 3) -> None:
        self.aws = aws
        document = {
            "regions": {"include": REGIONS},
            "exemptions": [{"match": {"tag": {"key": "imds", "value": "v1"}}, "reason": "vendor appliance"}],
        }
        for name, value in ((HTTP_TOKENS, "required"), (POLICY, json.dumps(document))):
            aws.client("ssm").put_parameter(Name=name, Type="String", Value=value)
        aws.client("sns").create_topic(Name=TOPIC)
        create_ledger_table(aws, TABLE)
        self._queue = Queue(aws, QUEUE)
        # The account shows managed instances, so that sweeps see them too.
        aws.knobs(apply_seconds=APPLY_SECONDS, managed_visible=True)
        self.healthy = {region: aws.launch(region, healthy, HttpTokens="optional") for region in REGIONS}
        self.protected = {region: self._launch_protected(region) for region in REGIONS}
        self._as_launched = self._protected_options()
        self.clear_faults()

    @property
    def ids(self) -> set[str]:
        """The instances of both regions that must follow the policy."""
        return {*itertools.chain.from_iterable(self.healthy.values())}

    def clear_faults(self) -> None:
        """Remove all faults but the tripwires, which take precedence over a test's own faults."""
        self.aws.clear_faults()
        for instance in itertools.chain.from_iterable(self.protected.values()):
            self.aws.fail(MODIFY, TRIPWIRE, status=400, instance_id=instance)

    def lagging(self) -> set[str]:
        """Those of `ids` that do not follow the policy yet, or whose change EC2 has not applied."""
        shown = [(i, self.aws.metadata_options(i, region)) for region in REGIONS for i in self.healthy[region]]
        return {i for i, options in shown if (options["HttpTokens"], options["State"]) != ("required", "applied")}

    def violated(self) -> list[str]:
        """Changes of protected instances, and attempts to change them."""
        attempts = self.aws.calls(MODIFY, error=TRIPWIRE)
        changed = [i for i, options in self._protected_options().items() if options != self._as_launched[i]]
        return changed + [TRIPWIRE] * attempts

    def events(self) -> list[dict[str, Any]]:
        """An event for each instance, protected ones included, that it runs."""
        return [
            self.event(example_events.running, instance, region=region)
            for region in REGIONS
            for instance in (*self.healthy[region], *self.protected[region])
        ]

    def event(self, kind: Any, *instances: str, **fields: str) -> dict[str, Any]:
        """One of the `example_events`, with this account and the current time."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return dict(kind(*instances, **{"account": self.aws.account, "time": now, **fields}))

    def records(self, *events: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Send the events through the queue, in this order; returns the records that Lambda passes to the function."""
        records: list[dict[str, Any]] = []
        for event in events:
            self._queue.send(json.dumps(event))
            [message] = self._queue.sqs.receive_message(
                QueueUrl=self._queue.url, AttributeNames=["ApproximateReceiveCount"], VisibilityTimeout=600
            )["Messages"]
            records.append(
                {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                    "eventSource": "aws:sqs",
                }
            )
        return records

    def _launch_protected(self, region: str) -> list[str]:
        return [
            *self.aws.launch(region, tags={"imds": "v1"}, HttpTokens="optional"),
            *self.aws.launch(region, HttpEndpoint="disabled", HttpTokens="optional"),
            *self.aws.launch(region, managed_by="eks.amazonaws.com", HttpTokens="optional"),
        ]

    def _protected_options(self) -> dict[str, Any]:
        places = ((i, region) for region, ids in self.protected.items() for i in ids)
        # Only "State" changes by itself, from pending to applied after the launch.
        return {i: {**self.aws.metadata_options(i, region), "State": None} for i, region in places}
