"""The enforcer's table without its stack, for processes that run without a deployment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

    from mypy_boto3_dynamodb.type_defs import GlobalSecondaryIndexTypeDef

    from infra.local.client import LocalAws

INDEXES = {"by-run": "run_id", "by-month": "month", "open": "open"}
"""The partition key of each index; a test compares them with the stack's."""


def create_ledger_table(aws: LocalAws, name: str) -> None:
    """Create the table with the same keys and indexes as in the stack."""
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


def empty_table(aws: LocalAws, name: str) -> None:
    """Delete everything in it."""
    client = aws.client("dynamodb")
    pages = client.get_paginator("scan").paginate(TableName=name)
    for item in [item for page in pages for item in page["Items"]]:
        client.delete_item(TableName=name, Key={"pk": item["pk"], "sk": item["sk"]})


def age_entries(aws: LocalAws, name: str, by: timedelta) -> None:
    """Make every entry of the ledger older by this much, instead of waiting that long."""
    client = aws.client("dynamodb")
    pages = client.get_paginator("scan").paginate(TableName=name)
    for item in [item for page in pages for item in page["Items"] if "run_id" in item]:
        moment, run_id = item["sk"]["S"].split("#")
        earlier = datetime.fromisoformat(moment) - by
        older = {"sk": {"S": f"{earlier.isoformat(timespec='microseconds')}#{run_id}"}}
        client.put_item(TableName=name, Item={**item, **older, "month": {"S": f"{earlier:%Y-%m}"}})
        client.delete_item(TableName=name, Key={"pk": item["pk"], "sk": item["sk"]})
