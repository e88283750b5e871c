"""The key that encrypts the messages in the queues and the topic."""

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

USE = ["kms:Decrypt", "kms:GenerateDataKey"]
"""The permissions that a sender to an encrypted queue or topic needs."""


class MessageKey(kms.Key):
    """A customer managed key: the policies of AWS managed keys admit neither rules nor alarms.

    Besides the two statements below, the key's policy has the CDK's default one, which leaves the rest to IAM.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(
            scope,
            construct_id,
            description="Events and notifications of the IMDS enforcer",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.DESTROY,
            pending_window=Duration.days(7),
        )
        # No condition: EventBridge sends none of the aws:Source* keys to KMS, and a condition on them would
        # silently drop every event. The queues' policies name the rules instead.
        self.add_to_resource_policy(
            iam.PolicyStatement(
                sid="RulesSendToQueues",
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                actions=USE,
                resources=["*"],
            )
        )
        self.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsPublishToTopic",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=USE,
                resources=["*"],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
