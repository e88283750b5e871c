"""The Lambda function: its package, its role and what it is told."""

from aws_cdk import Acknowledgment, Aws, Duration, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import state
from infra.account_rules import AccountRules
from infra.encryption import USE


class EnforcerFunction(Construct):
    """The function, fed by the event queue; its role allows what the code calls and nothing else."""

    def __init__(  # noqa: PLR0913 - each is something that it works with
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: lambda_.Code,
        queue: sqs.IQueue,
        lost_invocations: sqs.IQueue,
        topic: sns.ITopic,
        key: kms.IKey,
        floor: str,
        rules: AccountRules,
        account_defaults: bool,
    ) -> None:
        super().__init__(scope, construct_id)
        log_group = logs.LogGroup.from_log_group_name(self, "Logs", state.LOG_GROUP)
        self.role = iam.Role(
            self,
            "Role",
            role_name=rules.role_name,
            path=rules.role_path,
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            inline_policies={
                "enforce": iam.PolicyDocument(statements=_enforce(floor, account_defaults=account_defaults)),
                "remember": iam.PolicyDocument(statements=_remember()),
                "run": iam.PolicyDocument(statements=_run(queue, lost_invocations, topic, key)),
            },
        )
        _acknowledge(
            self.role,
            "IAM5[Resource::*]",
            "EC2's three reads, its account defaults, GetMetricData and X-Ray's two writes take no narrower resource",
        )
        _acknowledge(
            self.role,
            "IAM5[Resource::arn:<AWS::Partition>:ec2:*:<AWS::AccountId>:instance/*]",
            "Every instance of the account, in every region, is what the enforcer is for",
        )
        _acknowledge(
            self.role,
            f"IAM5[Resource::arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group:{state.LOG_GROUP}:*]",
            "The streams of one log group",
        )
        self.function = lambda_.Function(
            self,
            "Function",
            code=code,
            handler="imds_enforcer.handler.handler",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            memory_size=1024,
            timeout=Duration.minutes(15),
            # Everything it may do is written down below: nothing of CDK's own joins that.
            role=self.role.without_policy_updates(),
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            # Asynchronous invocations are sweeps, and the next sweep is the retry.
            retry_attempts=0,
            # One that waited as long as a sweep's schedule has been overtaken by the next. Lambda keeps throttled ones
            # for six hours otherwise (Lambda Developer Guide, "How Lambda handles errors and retries with asynchronous
            # invocation"), and would then start them all at once.
            max_event_age=Duration.minutes(15),
            on_failure=destinations.SqsDestination(lost_invocations),
            environment={
                "HTTP_TOKENS_PARAMETER": state.HTTP_TOKENS,
                "POLICY_PARAMETER": state.POLICY,
                "EVENT_QUEUE_URL": queue.queue_url,
                "NOTIFICATION_TOPIC_ARN": topic.topic_arn,
                "LEDGER_TABLE": state.TABLE,
                "HTTP_TOKENS_FLOOR": floor,
                "ACCOUNT_DEFAULTS": "true" if account_defaults else "false",
                "BATCH_DEADLINE_SECONDS": "60",
                "SWEEP_DEADLINE_SECONDS": "720",
                "GONE_AFTER_SECONDS": "600",
                "VERIFY_TIMEOUT_SECONDS": "20",
                "POWERTOOLS_LOG_LEVEL": "INFO",
            },
        )
        # CDK has the function wait for its role, which it does anyway for the role's ARN.
        resource = self.function.node.default_child
        assert isinstance(resource, lambda_.CfnFunction)
        resource.add_deletion_override("DependsOn")
        _acknowledge(
            self.function,
            "L1",
            "python3.13 is what the tests run the package on; it is supported for as long as python3.14",
        )
        lambda_.EventSourceMapping(
            self,
            "Events",
            target=self.function,
            event_source_arn=queue.queue_arn,
            batch_size=100,
            max_batching_window=Duration.seconds(1),
            report_batch_item_failures=True,
            # Keeps a burst of launches away from the account's other functions.
            max_concurrency=5,
        )


def _allow(sid: str, actions: list[str], *resources: str) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, actions=actions, resources=[*resources])


def _enforce(floor: str, *, account_defaults: bool) -> list[iam.PolicyStatement]:
    """What the job itself needs, in every region of the account.

    With the floor `required` every change has to set that: no other value, and none left out, is allowed (EC2 User
    Guide, "Example policies to control access to the Amazon EC2 API"). Which key would say so of the account's defaults
    is not documented: there the code alone keeps to the floor.
    """
    # What new instances start with, in every region; EC2 knows no resource for it. Only where it is wanted.
    defaults = [_allow("ModifyDefaults", ["ec2:ModifyInstanceMetadataDefaults"], "*")] if account_defaults else []
    conditions = {"StringEquals": {"ec2:Attribute/HttpTokens": "required"}} if floor == "required" else None
    return [
        # The policy and the toggle, in one call.
        _allow(
            "ReadPolicy",
            ["ssm:GetParameters"],
            *(_arn("ssm", f"parameter{name}") for name in (state.HTTP_TOKENS, state.POLICY)),
        ),
        # Which regions a sweep has to cover. EC2 knows no resource for it.
        _allow("ListRegions", ["ec2:DescribeRegions"], "*"),
        # The options as they are, before and after a change. EC2 knows no resource for it.
        _allow("ReadInstances", ["ec2:DescribeInstances"], "*"),
        # What a region's defaults are: whether it would refuse the policy anyway, and whether they follow it. As above.
        _allow("ReadDefaults", ["ec2:GetInstanceMetadataDefaults"], "*"),
        # Who still calls IMDSv1, before a change and after it. CloudWatch knows no resource for it.
        _allow("ReadMetrics", ["cloudwatch:GetMetricData"], "*"),
        # The change: but for the defaults, the only call that alters anything outside this stack.
        iam.PolicyStatement(
            sid="ModifyOptions",
            actions=["ec2:ModifyInstanceMetadataOptions"],
            resources=[f"arn:{Aws.PARTITION}:ec2:*:{Aws.ACCOUNT_ID}:instance/*"],
            conditions=conditions,
        ),
        *defaults,
    ]


def _remember() -> list[iam.PolicyStatement]:
    """What the ledger and the holds need. Nothing in them is ever deleted from here."""
    table = _arn("dynamodb", f"table/{state.TABLE}")
    return [
        # The holds, the history of an instance, and what was changed lately.
        _allow("ReadLedger", ["dynamodb:Query"], table, f"{table}/index/{state.BY_MONTH}"),
        # The changes that a killed run left open. Small, as the index holds nothing else; the table is never scanned.
        _allow("FindOpenChanges", ["dynamodb:Scan"], f"{table}/index/{state.OPEN}"),
        # What is about to change and what became of it, and the notes of what was asked and told; all in batches.
        _allow("WriteLedger", ["dynamodb:BatchWriteItem"], table),
        # The lease of the run that sweeps, which is written on a condition, as batches cannot be. Of no other item.
        iam.PolicyStatement(
            sid="TakeLease",
            actions=["dynamodb:PutItem"],
            resources=[table],
            conditions={
                "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["lease"]},
                # Without a key all of none would be equal (IAM User Guide, "Set operators for multivalued context
                # keys").
                "Null": {"dynamodb:LeadingKeys": "false"},
            },
        ),
    ]


def _run(
    queue: sqs.IQueue, lost_invocations: sqs.IQueue, topic: sns.ITopic, key: kms.IKey
) -> list[iam.PolicyStatement]:
    """What running needs: events in, messages and logs out."""
    return [
        # Lambda polls the queue with this role; the code sets the delay before the next delivery.
        _allow(
            "ConsumeEvents",
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
            queue.queue_arn,
        ),
        # Lambda sends with this role what it drops: asynchronous invocations that grew too old, or that failed.
        _allow("KeepLostInvocations", ["sqs:SendMessage"], lost_invocations.queue_arn),
        # Changes of the policy, and the daily digest.
        _allow("Notify", ["sns:Publish"], topic.topic_arn),
        # Decrypt to read the queue, both to publish to the topic and to send to the queue of lost invocations.
        _allow("UseMessageKey", USE, key.key_arn),
        # The group outlives the stack, so no permission to create one.
        _allow(
            "WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], _arn("logs", f"log-group:{state.LOG_GROUP}:*")
        ),
        # Active tracing. X-Ray knows no resources.
        _allow("Trace", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
    ]


def _acknowledge(construct: Construct, finding: str, reason: str) -> None:
    Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions::AwsSolutions-{finding}", reason=reason))


def _arn(service: str, resource: str) -> str:
    return f"arn:{Aws.PARTITION}:{service}:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"
