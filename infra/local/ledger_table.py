"""The enforcer's table without its stack, for processes that are run without a deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import GlobalSecondaryIndexTypeDef

    from infra.local.client import LocalAws

INDEXES = {"by-run": "run_id", "by-day": "day", "open": "open"}
"""The indexes by the attribute that each is on; a test holds them against the stack's."""


def create_ledger_table(aws: LocalAws, name: str) -> None:
    """Create the table with the keys and indexes that the stack gives it."""
    indexes: list[GlobalSecondaryIndexTypeDef] = [
        {
            "IndexName": index,
            "KeySchema": [{"AttributeName": attribute, "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "ALL"},
        }
        for index, attribute in INDEXES.items()
    ]
    aws.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": attribute, "AttributeType": "S"} for attribute in ("pk", "sk", *INDEXES.values())
        ],
        GlobalSecondaryIndexes=indexes,
        BillingMode="PAY_PER_REQUEST",
    )
