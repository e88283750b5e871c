"""The Lambda function: its package, its role and its configuration."""

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

    def __init__(  # noqa: PLR0913 - each is something that the function uses
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
            "EC2's three reads and account defaults, GetMetricData and X-Ray's two writes support no narrower resource",
        )
        _acknowledge(
            self.role,
            "IAM5[Resource::arn:<AWS::Partition>:ec2:*:<AWS::AccountId>:instance/*]",
            "The enforcer exists to change every instance of the account, in every region",
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
            # The statements in this module are all that the role may do: the CDK adds none of its own.
            role=self.role.without_policy_updates(),
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            # Asynchronous invocations are sweeps, and the next sweep is the retry.
            retry_attempts=0,
            # After this long, the next scheduled sweep replaces the one that waited. By default, Lambda would keep
            # throttled invocations for six hours (Lambda Developer Guide, "How Lambda handles errors and retries with
            # asynchronous invocation"), and then start them all at once.
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
        # The CDK makes the function depend on its role; the reference to the role's ARN does so already.
        resource = self.function.node.default_child
        assert isinstance(resource, lambda_.CfnFunction)
        resource.add_deletion_override("DependsOn")
        _acknowledge(
            self.function,
            "L1",
            "The tests run the package on python3.13, which AWS supports for as long as python3.14",
        )
        lambda_.EventSourceMapping(
            self,
            "Events",
            target=self.function,
            event_source_arn=queue.queue_arn,
            batch_size=100,
            max_batching_window=Duration.seconds(1),
            report_batch_item_failures=True,
            # Keeps a burst of launches from taking the concurrency of the account's other functions.
            max_concurrency=5,
        )


def _allow(sid: str, actions: list[str], *resources: str) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, actions=actions, resources=[*resources])


def _enforce(floor: str, *, account_defaults: bool) -> list[iam.PolicyStatement]:
    """The permissions to enforce the policy, in every region of the account.

    With the floor `required`, IAM allows only changes that set HttpTokens to `required`, and denies those that omit it
    (EC2 User Guide, "Example policies to control access to the Amazon EC2 API"). AWS documents no condition key for the
    account's defaults: there the code alone keeps to the floor.
    """
    # The defaults of new instances, in every region; EC2 supports no resource for it. Only if the context asks for it.
    defaults = [_allow("ModifyDefaults", ["ec2:ModifyInstanceMetadataDefaults"], "*")] if account_defaults else []
    conditions = {"StringEquals": {"ec2:Attribute/HttpTokens": "required"}} if floor == "required" else None
    return [
        # The policy and the toggle, in one call.
        _allow(
            "ReadPolicy",
            ["ssm:GetParameters"],
            *(_arn("ssm", f"parameter{name}") for name in (state.HTTP_TOKENS, state.POLICY)),
        ),
        # Which regions a sweep has to cover. EC2 supports no resource for it.
        _allow("ListRegions", ["ec2:DescribeRegions"], "*"),
        # The options before and after a change. EC2 supports no resource for it.
        _allow("ReadInstances", ["ec2:DescribeInstances"], "*"),
        # A region's defaults: whether they follow the policy, and whether EC2 would refuse its changes. As above.
        _allow("ReadDefaults", ["ec2:GetInstanceMetadataDefaults"], "*"),
        # Which instances call IMDSv1, before a change and after it. CloudWatch supports no resource for it.
        _allow("ReadMetrics", ["cloudwatch:GetMetricData"], "*"),
        # The change: apart from the defaults, the only call that modifies anything outside this stack.
        iam.PolicyStatement(
            sid="ModifyOptions",
            actions=["ec2:ModifyInstanceMetadataOptions"],
            resources=[f"arn:{Aws.PARTITION}:ec2:*:{Aws.ACCOUNT_ID}:instance/*"],
            conditions=conditions,
        ),
        *defaults,
    ]


def _remember() -> list[iam.PolicyStatement]:
    """The permissions for the ledger and the holds. The function never deletes anything from them."""
    table = _arn("dynamodb", f"table/{state.TABLE}")
    return [
        # The holds, the history of an instance, and recent changes.
        _allow("ReadLedger", ["dynamodb:Query"], table, f"{table}/index/{state.BY_MONTH}"),
        # The changes that a killed run left open. The index has nothing else; the function never scans the table.
        _allow("FindOpenChanges", ["dynamodb:Scan"], f"{table}/index/{state.OPEN}"),
        # Intents, outcomes, and notes of what CloudWatch answered and what was mailed; all in batches.
        _allow("WriteLedger", ["dynamodb:BatchWriteItem"], table),
        # The lease of a sweep, and no other item: it needs a conditional write, which a batch cannot do.
        iam.PolicyStatement(
            sid="TakeLease",
            actions=["dynamodb:PutItem"],
            resources=[table],
            conditions={
                "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["lease"]},
                # ForAllValues also matches a request without the key (IAM User Guide, "Set operators for multivalued
                # context keys").
                "Null": {"dynamodb:LeadingKeys": "false"},
            },
        ),
    ]


def _run(
    queue: sqs.IQueue, lost_invocations: sqs.IQueue, topic: sns.ITopic, key: kms.IKey
) -> list[iam.PolicyStatement]:
    """The permissions to run: receive events, send messages, write logs."""
    return [
        # Lambda polls the queue with this role; the code sets the delay before the next delivery.
        _allow(
            "ConsumeEvents",
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
            queue.queue_arn,
        ),
        # Lambda uses this role to keep asynchronous invocations that expired or failed.
        _allow("KeepLostInvocations", ["sqs:SendMessage"], lost_invocations.queue_arn),
        # Changes of the policy, and the daily digest.
        _allow("Notify", ["sns:Publish"], topic.topic_arn),
        # Reading the queue needs Decrypt; publishing to the topic and sending to the lost invocations need both.
        _allow("UseMessageKey", USE, key.key_arn),
        # The log group outlives the stack, so the role needs no permission to create one.
        _allow(
            "WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], _arn("logs", f"log-group:{state.LOG_GROUP}:*")
        ),
        # Active tracing. X-Ray supports no resources.
        _allow("Trace", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
    ]


def _acknowledge(construct: Construct, finding: str, reason: str) -> None:
    Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions::AwsSolutions-{finding}", reason=reason))


def _arn(service: str, resource: str) -> str:
    return f"arn:{Aws.PARTITION}:{service}:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"
