"""The home stack: everything but the forwarders, and what outlives it (`infra.state`)."""

import tomllib
from pathlib import Path

from aws_cdk import CfnOutput, Environment, Stack
from constructs import Construct

from infra import state
from infra.context import Context
from infra.encryption import MessageKey
from infra.events import EventQueue, EventRules
from infra.function import EnforcerFunction
from infra.monitoring import Alarms, Dashboard
from infra.notifications import Notifications
from infra.triggers import Triggers

_VERSION = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]["version"]


class HomeStack(Stack):
    """The enforcer of one account, in the region from which it covers all others."""

    def __init__(self, scope: Construct, construct_id: str, *, context: Context, env: Environment) -> None:
        super().__init__(scope, construct_id, env=env, description="Enforces IMDSv2 on every EC2 instance")
        key = MessageKey(self, "Key")
        topic = Notifications(self, "Notifications", key=key, email=context.notification_email).topic
        events = EventQueue(self, "Events", key=key)
        enforcer = EnforcerFunction(self, "Enforcer", queue=events.queue, topic=topic, key=key)
        EventRules(self, "Rules", to=events, own_role=enforcer.role)
        triggers = Triggers(self, "Triggers", function=enforcer.function, sweep=context.schedule, key=key)
        Alarms(
            self,
            "Alarms",
            function=enforcer.function,
            queue=events.queue,
            lost_events=events.dead_letters,
            lost_invocations=triggers.dead_letters,
            topic=topic,
            sweep_period=context.period,
        )
        Dashboard(self, "Overview", function=enforcer.function, queue=events.queue)
        for name, value in {
            "FunctionName": enforcer.function.function_name,
            "EventQueueUrl": events.queue.queue_url,
            "DeadLetterQueueUrl": events.dead_letters.queue_url,
            "NotificationTopicArn": topic.topic_arn,
            "LogGroupName": state.LOG_GROUP,
            "LedgerTableName": state.TABLE,
            "Version": _VERSION,
        }.items():
            CfnOutput(self, name, value=value)
