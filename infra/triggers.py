"""What invokes the function besides the queue: the schedules, and a change of the toggle or the policy."""

import json
from typing import Any

from aws_cdk import Acknowledgment, Aws, Validations
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import patterns, state
from infra.encryption import USE
from infra.events import PREFIX, admit_rules, dead_letter_queue, rule_arn, target

DAILY = "cron(0 6 * * ? *)"
"""When the function takes the inventory and sends the digest, in UTC."""


class LostInvocations(Construct):
    """The queue of invocations that did not reach the function, expired, or failed."""

    def __init__(self, scope: Construct, construct_id: str, *, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self.queue = dead_letter_queue(self, key)
        Validations.of(self.queue).acknowledge(
            Acknowledgment(
                id="AwsSolutions::AwsSolutions-SQS3",
                reason="It is a dead-letter queue itself, of a rule's target, of two schedules and of the function",
            )
        )


class Triggers(Construct):
    """Two schedules and a rule, which leave the invocations they cannot deliver in `lost_invocations`."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        function: lambda_.IFunction,
        sweep: str,
        lost_invocations: sqs.Queue,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        self.dead_letters = lost_invocations
        self._on_parameter_change(function)
        role = self._scheduler_role(function, key)
        for construct_id_, expression, payload in (
            ("Sweep", sweep, {"trigger": "schedule"}),
            ("Inventory", DAILY, {"inventory": True}),
        ):
            self._schedule(construct_id_, expression, payload, function=function, role=role)

    def _on_parameter_change(self, function: lambda_.IFunction) -> None:
        name = f"{PREFIX}parameter-changed"
        events.CfnRule(
            self,
            "ParameterChanged",
            name=name,
            event_pattern=patterns.parameter_changed(state.HTTP_TOKENS, state.POLICY),
            targets=[target("Function", function.function_arn, dead_letters=self.dead_letters)],
        )
        function.add_permission(
            "ParameterChanged",
            principal=iam.ServicePrincipal("events.amazonaws.com"),
            source_arn=rule_arn(name),
        )
        admit_rules(self.dead_letters, [rule_arn(name)])

    def _scheduler_role(self, function: lambda_.IFunction, key: kms.IKey) -> iam.Role:
        statements = [
            # The one thing the schedules do.
            iam.PolicyStatement(sid="Invoke", actions=["lambda:InvokeFunction"], resources=[function.function_arn]),
            # When that fails, they keep the invocation in an encrypted queue.
            iam.PolicyStatement(
                sid="KeepUndelivered", actions=["sqs:SendMessage"], resources=[self.dead_letters.queue_arn]
            ),
            iam.PolicyStatement(sid="UseMessageKey", actions=USE, resources=[key.key_arn]),
        ]
        return iam.Role(
            self,
            "SchedulerRole",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            ),
            inline_policies={"schedule": iam.PolicyDocument(statements=statements)},
        )

    def _schedule(
        self,
        construct_id: str,
        expression: str,
        payload: dict[str, Any],
        *,
        function: lambda_.IFunction,
        role: iam.IRole,
    ) -> None:
        scheduler.CfnSchedule(
            self,
            construct_id,
            name=PREFIX + construct_id.lower(),
            schedule_expression=expression,
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=function.function_arn,
                role_arn=role.role_arn,
                input=json.dumps(payload),
                # The next run is the retry.
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(maximum_retry_attempts=0),
                dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(arn=self.dead_letters.queue_arn),
            ),
        )
