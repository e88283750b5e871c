"""The table of what was changed, and of the instances that people hold back."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

BY_RUN = "by-run"
BY_MONTH = "by-month"
OPEN = "open"
"""The index of intents that nobody has completed: only they carry its key, whose value is the region."""


class LedgerTable(Construct):
    """Ledger and holds, in one table, with the three other ways in which the ledger is read."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.table = dynamodb.TableV2(
            self,
            "Table",
            partition_key=_text("pk"),
            sort_key=_text("sk"),
            global_secondary_indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(index_name=name, partition_key=_text(key), sort_key=_text("sk"))
                for name, key in ((BY_RUN, "run_id"), (BY_MONTH, "month"), (OPEN, "open"))
            ],
            billing=dynamodb.Billing.on_demand(),
            encryption=dynamodb.TableEncryptionV2.aws_managed_key(),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            # Ledger items carry it, holds never: those end when a person says so.
            time_to_live_attribute="expires_at",
            # The options from before each change are nowhere else: without the table there is no way back. So it
            # outlives the stack, and somebody who means to delete it has to say so twice.
            deletion_protection=True,
            removal_policy=RemovalPolicy.RETAIN,
        )

    def index_arn(self, name: str) -> str:
        """The ARN of one index, which IAM knows as a resource of its own."""
        return f"{self.table.table_arn}/index/{name}"


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
