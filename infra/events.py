"""How events reach the function: two buses, one queue."""

import re
from collections.abc import Sequence

from aws_cdk import Aws, Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import patterns

BUS_NAME = "imds-enforcer"
"""The bus that forwarders send to: on the default bus, their events would trigger the account's own rules."""

PREFIX = "imds-enforcer-"
"""The prefix of all rule and schedule names. Both are created last, so the policies that admit them need fixed ones."""


class EventQueue(Construct):
    """The queue that turns bursts into batches, and the dead-letter queue for events that always failed."""

    def __init__(self, scope: Construct, construct_id: str, *, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self.dead_letters = dead_letter_queue(self, key)
        self.queue = sqs.Queue(
            self,
            "Queue",
            encryption_master_key=key,
            enforce_ssl=True,
            # Longer than an invocation may take, so that no two invocations process the same message at a time.
            visibility_timeout=Duration.seconds(960),
            # With the growing delays between them, twelve receives take about half an hour.
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=12),
        )


class EventRules(Construct):
    """The same rules on the default bus and on the forwarders' bus, all sending to the event queue."""

    def __init__(self, scope: Construct, construct_id: str, *, to: EventQueue, own_role: iam.IRole) -> None:
        super().__init__(scope, construct_id)
        bus = events.CfnEventBus(self, "Bus", name=BUS_NAME)
        wanted = patterns.instance_events(but_by=own_role.role_arn)
        for prefix, bus_name in (("", None), ("Forwarded", bus.ref)):
            for name, pattern in wanted.items():
                events.CfnRule(
                    self,
                    f"{prefix}{name}",
                    name=_rule_name(name),
                    event_bus_name=bus_name,
                    event_pattern=pattern,
                    targets=[target("EventQueue", to.queue.queue_arn, dead_letters=to.dead_letters)],
                )
        arns = [rule_arn(f"{of_bus}{_rule_name(name)}") for of_bus in ("", f"{BUS_NAME}/") for name in wanted]
        for queue in (to.queue, to.dead_letters):
            admit_rules(queue, arns)


def rule_arn(name: str) -> str:
    """The ARN of a rule; unless it is on the default bus, the name is `bus/rule`."""
    return f"arn:{Aws.PARTITION}:events:{Aws.REGION}:{Aws.ACCOUNT_ID}:rule/{name}"


def _rule_name(of: str) -> str:
    return PREFIX + re.sub(r"(?<=[a-z])(?=[A-Z])", "-", of).lower()


def dead_letter_queue(scope: Construct, key: kms.IKey) -> sqs.Queue:
    """A queue that keeps undelivered messages for as long as SQS can."""
    return sqs.Queue(
        scope, "DeadLetters", encryption_master_key=key, enforce_ssl=True, retention_period=Duration.days(14)
    )


def target(construct_id: str, arn: str, *, dead_letters: sqs.IQueue) -> events.CfnRule.TargetProperty:
    """A rule's target that leaves what it cannot deliver in `dead_letters`."""
    return events.CfnRule.TargetProperty(
        id=construct_id,
        arn=arn,
        dead_letter_config=events.CfnRule.DeadLetterConfigProperty(arn=dead_letters.queue_arn),
    )


def admit_rules(queue: sqs.Queue, arns: Sequence[str]) -> None:
    """Let these rules, and no other source of events, send to the queue."""
    queue.add_to_resource_policy(
        iam.PolicyStatement(
            sid="RulesSend",
            principals=[iam.ServicePrincipal("events.amazonaws.com")],
            actions=["sqs:SendMessage"],
            resources=[queue.queue_arn],
            conditions={"ArnEquals": {"aws:SourceArn": [*arns]}},
        )
    )
