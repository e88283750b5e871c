"""The home stack: everything except the forwarders and the state stack (`infra.state`)."""

import tomllib
from pathlib import Path

from aws_cdk import CfnOutput, CfnParameter, CfnResource, CfnWaitConditionHandle, Environment, Stack, Tags
from aws_cdk import aws_events as events
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from constructs import Construct

from infra import state
from infra.context import Context
from infra.encryption import MessageKey
from infra.events import EventQueue, EventRules
from infra.function import EnforcerFunction
from infra.monitoring import Alarms, Dashboard
from infra.notifications import Notifications
from infra.triggers import LostInvocations, Triggers

_VERSION = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]["version"]


class HomeStack(Stack):
    """The enforcer of one account, in the region from which it covers all others.

    Args:
        scope: the app.
        construct_id: the stack's name.
        context: the deployment's settings.
        code: the function's package; without one, the template has parameters for its location in S3.
        env: account and region, if known.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        context: Context,
        code: lambda_.Code | None = None,
        env: Environment | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            env=env,
            description="Enforces IMDSv2 on every EC2 instance",
            tags=context.rules.tags,
            termination_protection=context.rules.termination_protection,
        )
        # The stack's tags above are not in the template; these are, so that plain CloudFormation applies them too.
        for tag, text in context.rules.tags.items():
            Tags.of(self).add(tag, text)
        key = MessageKey(self, "Key")
        topic = Notifications(self, "Notifications", key=key, email=context.notification_email).topic
        queues = EventQueue(self, "Events", key=key)
        lost_invocations = LostInvocations(self, "LostInvocations", key=key).queue
        enforcer = EnforcerFunction(
            self,
            "Enforcer",
            code=code or self._code_in_s3(),
            queue=queues.queue,
            lost_invocations=lost_invocations,
            topic=topic,
            key=key,
            floor=context.floor,
            rules=context.rules,
            account_defaults=context.account_defaults,
        )
        EventRules(self, "Rules", to=queues, own_role=enforcer.role)
        Triggers(
            self,
            "Triggers",
            function=enforcer.function,
            sweep=context.schedule,
            lost_invocations=lost_invocations,
            key=key,
        )
        Alarms(
            self,
            "Alarms",
            function=enforcer.function,
            queue=queues.queue,
            lost_events=queues.dead_letters,
            lost_invocations=lost_invocations,
            topic=topic,
            sweep_period=context.period,
        )
        Dashboard(self, "Overview", function=enforcer.function, queue=queues.queue)
        for name, value in {
            "FunctionName": enforcer.function.function_name,
            "EventQueueUrl": queues.queue.queue_url,
            "DeadLetterQueueUrl": queues.dead_letters.queue_url,
            "LostInvocationsQueueUrl": lost_invocations.queue_url,
            "NotificationTopicArn": topic.topic_arn,
            "LogGroupName": state.LOG_GROUP,
            "LedgerTableName": state.TABLE,
            "Version": _VERSION,
        }.items():
            CfnOutput(self, name, value=value)
        self._begin_last()

    def _code_in_s3(self) -> lambda_.Code:
        return lambda_.Code.from_cfn_parameters(
            bucket_name_param=CfnParameter(
                self, "CodeBucket", description="The bucket, in this region, that has the function's zip"
            ),
            # The zip is named after its content, so its key identifies it without an object version.
            object_key_param=CfnParameter(self, "CodeKey", description="The zip's key; each version has its own"),
        )

    def _begin_last(self) -> None:
        """Create rules and schedules after everything else: then a stack that rolls back has changed no instance.

        The sweep's schedule comes last of all, as it starts a sweep at once (EventBridge Scheduler User Guide,
        'Schedule types': a rate begins when the schedule is created).
        """
        resources = [each for each in self.node.find_all() if isinstance(each, CfnResource)]
        sweep = self.node.find_child("Triggers").node.find_child("Sweep")
        assert isinstance(sweep, scheduler.CfnSchedule)
        acting = [each for each in resources if isinstance(each, (events.CfnRule, scheduler.CfnSchedule))]
        # Nothing waits for this handle, so it is created at once; it holds the dependencies of all in one place.
        ready = CfnWaitConditionHandle(self, "Ready")
        for resource in resources:
            if resource not in acting:
                ready.add_dependency(resource)
        for resource in acting:
            resource.add_dependency(ready)
            if resource is not sweep:
                sweep.add_dependency(resource)
